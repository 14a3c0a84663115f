"""What may be sent to a queue and asked of it.

Source: SQS API reference, "SendMessage", "SendMessageBatch", "ReceiveMessage"; Developer Guide, "Message quotas" and
"Amazon SQS message metadata".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lambent_platform.contracts.queue_errors import (
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    InvalidBatchEntryId,
    InvalidMessageContents,
    MissingParameter,
    QueueParameterInvalid,
    TooManyEntriesInBatchRequest,
)
from lambent_platform.contracts.queues import (
    BATCH_BYTES_MAX,
    BATCH_ENTRIES_MAX,
    DELAY_S_MAX,
    VISIBILITY_S_MAX,
    WAIT_S_MAX,
    NewMessage,
    QueueRecord,
)
from lambent_platform.core.queue_messages import TRACE_HEADER

ATTRIBUTES_MAX: Final = 10
RECEIVE_COUNT_MAX: Final = 10
_ID: Final = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
_ENTRY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_NOT_ALLOWED: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE_NAME: Final = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_RESERVED: Final = ("aws.", "amazon.")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_WRONG_TYPE: Final = "The request includes a parameter that is not valid for this queue type."


def check_message(queue: QueueRecord, message: NewMessage) -> int:
    """Check a message for a queue; returns its size in bytes.

    Raises:
        MissingParameter, InvalidMessageContents, QueueParameterInvalid: it cannot be sent.
    """
    if not message.body:
        raise MissingParameter.of("MessageBody")
    _check_text(message.body, "message body")
    size = len(message.body.encode()) + _check_attributes(message.message_attributes)
    if size > queue.message_bytes_max:
        raise QueueParameterInvalid(
            f"One or more parameters are invalid. Reason: Message must be shorter than {queue.message_bytes_max} bytes."
        )
    _check_delay(queue, message)
    _check_ids(queue, message)
    return size


def _check_text(text: str, where: str) -> None:
    found = _NOT_ALLOWED.search(text)
    if found is not None:
        raise InvalidMessageContents(
            f"Invalid binary character '#x{ord(found[0]):X}' was found in the {where}, "
            "the set of allowed characters is #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]"
        )


def _check_delay(queue: QueueRecord, message: NewMessage) -> None:
    delay_s = message.delay_s
    if delay_s is None:
        return
    if not 0 <= delay_s <= DELAY_S_MAX:
        reason = f"DelaySeconds must be >= 0 and <= {DELAY_S_MAX}."
        raise QueueParameterInvalid.of(delay_s, "DelaySeconds", reason)
    if queue.fifo and delay_s:
        raise QueueParameterInvalid.of(delay_s, "DelaySeconds", _WRONG_TYPE)


def _check_ids(queue: QueueRecord, message: NewMessage) -> None:
    for name, value in (("MessageGroupId", message.group_id), ("MessageDeduplicationId", message.deduplication_id)):
        if value and _ID.fullmatch(value) is None:
            reason = f"{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            raise QueueParameterInvalid.of(value[:256], name, reason)
    if not queue.fifo:
        if message.deduplication_id:
            raise QueueParameterInvalid.of(message.deduplication_id, "MessageDeduplicationId", _WRONG_TYPE)
        return
    if not message.group_id:
        raise MissingParameter.of("MessageGroupId")
    if not message.deduplication_id and not queue.content_based_deduplication:
        raise QueueParameterInvalid(
            "The queue should either have ContentBasedDeduplication enabled or "
            "MessageDeduplicationId provided explicitly"
        )


def _check_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> int:
    if len(attributes) > ATTRIBUTES_MAX:
        raise QueueParameterInvalid(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [{ATTRIBUTES_MAX}]."
        )
    return sum(_check_attribute(name, value) for name, value in attributes.items())


def _check_attribute(name: str, value: Mapping[str, Any]) -> int:
    if _ATTRIBUTE_NAME.fullmatch(name) is None or name.lower().startswith(_RESERVED):
        raise QueueParameterInvalid(f"The message attribute name '{name[:256]}' is invalid.")
    kind = str(value.get("DataType") or "")
    if not kind:
        raise QueueParameterInvalid(f"The message attribute '{name}' must contain non-empty message attribute type.")
    base = kind.partition(".")[0]
    if base not in ("String", "Number", "Binary") or len(kind) > 256:
        raise QueueParameterInvalid(
            f"The type of message (user) attribute '{name}' is invalid. You must use only the following supported type "
            "prefixes: Binary, Number, String."
        )
    _check_text(kind, f"type of message attribute '{name}'")
    member = "BinaryValue" if base == "Binary" else "StringValue"
    data = value.get(member)
    if not data or any(value.get(other) for other in ("StringValue", "BinaryValue") if other != member):
        raise QueueParameterInvalid(f"The message attribute '{name}' with type '{base}' must use field '{member}'.")
    if value.get("StringListValues") or value.get("BinaryListValues"):
        raise QueueParameterInvalid("Message attribute list values in SendMessage operation are not supported.")
    if isinstance(data, str):
        _check_text(data, f"message attribute '{name}'")
        if base == "Number" and _NUMBER.fullmatch(data) is None:
            raise QueueParameterInvalid(f"Can't cast the value of message (user) attribute '{name}' to a number.")
        data = data.encode()
    return len(name.encode()) + len(kind.encode()) + len(data)


def system_values(attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the system attributes of a message to be sent as plain text.

    Raises:
        QueueParameterInvalid: there is another than the trace header, or it is no text.
    """
    for name, value in attributes.items():
        if name != TRACE_HEADER:
            raise QueueParameterInvalid(f"Message system attribute name '{name[:256]}' is invalid.")
        if value.get("DataType") != "String" or not value.get("StringValue"):
            raise QueueParameterInvalid(f"The message system attribute '{name}' must be a String with a StringValue.")
    return {name: str(value["StringValue"]) for name, value in attributes.items()}


def check_entries(entries: Sequence[Mapping[str, Any]], kind: str) -> None:
    """Check the number of a batch's entries and their ids; `kind` is the name of the entry's shape.

    Raises:
        EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId, BatchEntryIdsNotDistinct: as they say.
    """
    if not entries:
        raise EmptyBatchRequest(f"There should be at least one {kind} in the request.")
    if len(entries) > BATCH_ENTRIES_MAX:
        raise TooManyEntriesInBatchRequest(
            f"Maximum number of entries per request are {BATCH_ENTRIES_MAX}. You have sent {len(entries)}."
        )
    seen: set[str] = set()
    for at, entry in enumerate(entries, start=1):
        if "Id" not in entry:
            raise MissingParameter.of(f"{kind}.{at}.Id")
        entry_id = entry["Id"]
        if _ENTRY_ID.fullmatch(entry_id) is None:
            raise InvalidBatchEntryId(
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
                "It can be at most 80 letters long."
            )
        if entry_id in seen:
            raise BatchEntryIdsNotDistinct(f"Id {entry_id} repeated.")
        seen.add(entry_id)


def check_batch_bytes(size: int) -> None:
    """Check what the messages of a batch are together.

    Raises:
        BatchRequestTooLong: too much.
    """
    if size > BATCH_BYTES_MAX:
        raise BatchRequestTooLong(
            f"Batch requests cannot be longer than {BATCH_BYTES_MAX} bytes. You have sent {size} bytes."
        )


def check_receive(
    queue: QueueRecord, *, count: int, wait_s: int | None, visibility_s: int | None, attempt_id: str | None
) -> None:
    """Check what a receive asks for.

    Raises:
        QueueParameterInvalid: it may not.
    """
    if not 1 <= count <= RECEIVE_COUNT_MAX:
        reason = f"Must be between 1 and {RECEIVE_COUNT_MAX}, if provided."
        raise QueueParameterInvalid.of(count, "MaxNumberOfMessages", reason)
    if wait_s is not None and not 0 <= wait_s <= WAIT_S_MAX:
        raise QueueParameterInvalid.of(wait_s, "WaitTimeSeconds", f"Must be >= 0 and <= {WAIT_S_MAX}, if provided.")
    if visibility_s is not None:
        check_visibility(visibility_s)
    if attempt_id is not None:
        if not queue.fifo:
            raise QueueParameterInvalid.of(attempt_id[:256], "ReceiveRequestAttemptId", _WRONG_TYPE)
        if _ID.fullmatch(attempt_id) is None:
            reason = (
                "ReceiveRequestAttemptId can only include alphanumeric and punctuation characters. 1 to 128 in length."
            )
            raise QueueParameterInvalid.of(attempt_id[:256], "ReceiveRequestAttemptId", reason)


def check_visibility(visibility_s: int) -> None:
    """Check a visibility timeout.

    Raises:
        QueueParameterInvalid: it is out of range.
    """
    if not 0 <= visibility_s <= VISIBILITY_S_MAX:
        reason = f"VisibilityTimeout must be an integer between 0 and {VISIBILITY_S_MAX}."
        raise QueueParameterInvalid.of(visibility_s, "VisibilityTimeout", reason)


def chosen(names: Sequence[str], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message attributes that a receive asks for: by name, `All`, `.*`, or `prefix.*`."""
    if not names or not attributes:
        return {}
    if "All" in names or ".*" in names:
        return dict(attributes)
    prefixes = tuple(name[:-2] for name in names if name.endswith(".*"))
    return {
        name: value for name, value in attributes.items() if name in names or (prefixes and name.startswith(prefixes))
    }
