"""The event that a function gets of a queue's messages, and what its answer says of them.

Source: Lambda Developer Guide, "Using Lambda with Amazon SQS" (example event), "Implementing partial batch responses"
(which answers mean success, and which failure).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_platform.contracts.queues import Message, QueueRecord

_HEAD: Final = b'{"Records":['
_TAIL: Final = b"]}"
RECORDS_BYTES_MAX: Final = SYNC_PAYLOAD_BYTES - len(_HEAD) - len(_TAIL)
"""What the records of one event may take, with a comma for each."""


def record_of(message: Message, queue: QueueRecord) -> dict[str, Any]:
    """Return a message as its record in the event."""
    record: dict[str, Any] = {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": message.attributes,
        "messageAttributes": {name: _attribute(value) for name, value in message.message_attributes.items()},
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": queue.region,
    }
    if message.md5_of_message_attributes:
        record["md5OfMessageAttributes"] = message.md5_of_message_attributes
    return record


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if value.get("StringValue") is not None:
        shown["stringValue"] = value["StringValue"]
    if (binary := value.get("BinaryValue")) is not None:
        shown["binaryValue"] = base64.b64encode(binary).decode()
    return {**shown, "stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Write one record as JSON."""
    return orjson.dumps(record)


def encode_event(records: Iterable[bytes]) -> bytes:
    """Write the event of records that are JSON already."""
    return b"%b%b%b" % (_HEAD, b",".join(records), _TAIL)


def failed_items(answer: bytes, ids: Sequence[str]) -> frozenset[str]:
    """Return which of a batch's messages failed, as a function says that reports them (`ReportBatchItemFailures`).

    Nothing, an object without failures, or an empty list of them is success. What cannot be read, or names a message
    that was not in the batch, says nothing about any: all failed.
    """
    everything = frozenset(ids)
    if not answer:
        return frozenset()
    try:
        said = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return everything
    if said is None:
        return frozenset()
    if not isinstance(said, dict):
        return everything
    failures = said.get("batchItemFailures")
    if failures is None:
        return frozenset()
    if not isinstance(failures, list):
        return everything
    named: set[str] = set()
    for one in failures:
        name = one.get("itemIdentifier") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in everything:
            return everything
        named.add(name)
    return frozenset(named)


def kept_in_order(messages: Sequence[Message], failed: frozenset[str]) -> frozenset[str]:
    """Return which messages of a FIFO queue's batch must stay, given those that failed: they, and what follows them.

    What comes behind a failed message in its group would otherwise be gone when that one is tried again, and the
    group's order with it.
    """
    stopped: set[str] = set()
    staying: set[str] = set()
    for message in messages:
        group = message.attributes.get("MessageGroupId", "")
        if message.id in failed:
            stopped.add(group)
        if group in stopped:
            staying.add(message.id)
    return frozenset(staying)
