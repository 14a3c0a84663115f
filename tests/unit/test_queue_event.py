"""The event of a queue's messages, what a function's answer says of them, and how they are made into batches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambent_platform.contracts.queues import Message, QueueRecord
from lambent_platform.core.queue_event import (
    RECORDS_BYTES_MAX,
    encode_event,
    encode_record,
    failed_items,
    kept_in_order,
    record_of,
)
from lambent_platform.scheduler.pollers.queue_batches import Batch, Held, gather

QUEUE = QueueRecord(account="000000000000", region="eu-west-1", name="jobs")


def message(name: str = "m1", *, group: str = "", **more: Any) -> Message:
    """A received message."""
    given: dict[str, Any] = {
        "id": name,
        "receipt_handle": f"handle-{name}",
        "body": "hello",
        "md5_of_body": "5d41402abc4b2a76b9719d911017c592",
        "attributes": {"ApproximateReceiveCount": "1", **({"MessageGroupId": group} if group else {})},
        "message_attributes": {},
    }
    return Message(**{**given, **more})


def test_a_record_is_lambdas() -> None:
    """A message has the members of Lambda's SQS event, in its spelling."""
    attributes = {
        "text": {"DataType": "String.custom", "StringValue": "ä"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        "n": {"DataType": "Number", "StringValue": "1.5"},
    }
    one = message(message_attributes=attributes, md5_of_message_attributes="abc")
    assert json.loads(encode_event([encode_record(record_of(one, QUEUE))])) == {
        "Records": [
            {
                "messageId": "m1",
                "receiptHandle": "handle-m1",
                "body": "hello",
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {
                    "text": {
                        "stringValue": "ä",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "String.custom",
                    },
                    "raw": {
                        "binaryValue": "AP8=",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "Binary",
                    },
                    "n": {"stringValue": "1.5", "stringListValues": [], "binaryListValues": [], "dataType": "Number"},
                },
                "md5OfBody": "5d41402abc4b2a76b9719d911017c592",
                "md5OfMessageAttributes": "abc",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:jobs",
                "awsRegion": "eu-west-1",
            }
        ]
    }
    assert "md5OfMessageAttributes" not in record_of(message(), QUEUE)


ALL, NONE = frozenset({"a", "b"}), frozenset[str]()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", NONE),
        (b"null", NONE),
        (b"{}", NONE),
        (b'{"statusCode": 200}', NONE),
        (b'{"batchItemFailures": null}', NONE),
        (b'{"batchItemFailures": []}', NONE),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}]}', frozenset({"b"})),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "b"}]}', frozenset({"b"})),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "other"}]}', ALL),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', ALL),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', ALL),
        (b'{"batchItemFailures": [{"itemIdentifier": ["a"]}]}', ALL),
        (b'{"batchItemFailures": [{"id": "a"}]}', ALL),
        (b'{"batchItemFailures": ["a"]}', ALL),
        (b'{"batchItemFailures": {"itemIdentifier": "a"}}', ALL),
        (b'"fine"', ALL),
        (b"[]", ALL),
        (b"{no json", ALL),
    ],
)
def test_answers(answer: bytes, expected: frozenset[str]) -> None:
    """What names failures is believed; what says nothing is success; what cannot be understood fails everything."""
    assert failed_items(answer, ["a", "b"]) == expected


def test_groups_keep_their_order() -> None:
    """What follows a failed message in its group stays with it; other groups are untouched."""
    batch = [message(name, group=name[0]) for name in ("a1", "b1", "a2", "b2", "a3")]
    assert kept_in_order(batch, frozenset({"a2"})) == {"a2", "a3"}
    assert kept_in_order(batch, frozenset({"a1", "b2"})) == {"a1", "a2", "a3", "b2"}
    assert kept_in_order(batch, frozenset()) == frozenset()


def held(name: str, size: int = 10) -> Held:
    """A message in hand whose record has so many bytes."""
    return Held(message(name), b"x" * size)


def sizes(batches: list[Batch]) -> list[int]:
    """How many messages each batch has."""
    return [len(batch.held) for batch in batches]


def test_batches_by_count() -> None:
    """Messages fill up what was gathered first, then batches of their own; all stay in their order."""
    begin = Batch(due_ms=7)
    [first] = gather(None, [held("m0"), held("m1")], batch_size=3, begin=begin)
    batches = gather(first, [held(f"m{n}") for n in range(2, 8)], batch_size=3, begin=Batch(due_ms=9))
    assert sizes(batches) == [3, 3, 2]
    assert [batch.due_ms for batch in batches] == [7, 9, 9]
    assert [name for batch in batches for name in batch.ids] == [f"m{n}" for n in range(8)]


def test_batches_by_size() -> None:
    """A batch never has more than fits into one call; a message that alone is too large goes alone."""
    half = RECORDS_BYTES_MAX // 2
    many = [held("a", half), held("b", half), held("c", half), held("d", RECORDS_BYTES_MAX), held("e", 1)]
    batches = gather(None, many, batch_size=10, begin=Batch())
    assert [batch.ids for batch in batches] == [["a"], ["b"], ["c"], ["d"], ["e"]]
    exact = RECORDS_BYTES_MAX // 4 - 1
    [one] = gather(None, [held(str(n), exact) for n in range(4)], batch_size=10, begin=Batch())
    assert len(encode_event([each.record for each in one.held])) <= 6_291_556
