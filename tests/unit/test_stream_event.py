"""The event of Redis streams, their ARNs, and the settings of their mappings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambent_platform.contracts.errors import InvalidParameterValue
from lambent_platform.contracts.mappings import MappingRecord
from lambent_platform.contracts.streams import RESERVED_PREFIXES, StreamEntry, StreamRef, entry_order
from lambent_platform.core.mapping_sources import STREAM, source_rules
from lambent_platform.core.stream_event import GivenUp, dead_entry, envelope, read_fields, record
from lambent_platform.store.keys import Keys

ARN = "arn:aws:redis-streams:us-east-1:000000000000:stream/orders"
STREAM_REF = StreamRef("orders")
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"


def entry(entry_id: str = "1700000000123-4", **fields: bytes) -> StreamEntry:
    """An entry as Redis gives it."""
    return StreamEntry(entry_id, tuple((name.encode(), value) for name, value in fields.items()))


@pytest.mark.parametrize(
    ("arn", "key"),
    [
        (ARN, "orders"),
        (f"{ARN}:eu/{{x}} y", "orders:eu/{x} y"),
        ("arn:aws:redis-streams:us-east-1:000000000000:stream/", None),
        ("arn:aws:redis-streams:us-east-1::stream/x", None),
        ("arn:aws:redis-streams:us-east-1:000000000000:queue/x", None),
        ("arn:aws:kinesis:us-east-1:000000000000:stream/x", None),
        ("arn:aws:redis-streams:us-east-1:000000000000:stream/" + "x" * 1025, None),
        ("arn:aws:redis-streams:us-east-1:000000000000:stream/l1:{p0}:fn:a", None),
        ("arn:aws:redis-streams:us-east-1:000000000000:stream/rq:jobs", None),
    ],
)
def test_arns(arn: str, key: str | None) -> None:
    """The key is what stands behind `stream/`, and never one of the platform's own."""
    found = StreamRef.parse(arn)
    assert (found.key if found else None) == key
    if found:
        assert found.arn == arn


def test_own_keys_are_reserved() -> None:
    """Every key of the platform begins with a prefix that no stream may have."""
    assert all(prefix.startswith(RESERVED_PREFIXES) for prefix in Keys(3).prefixes)


def test_record() -> None:
    """A record has Lambda's members, and what Redis has: id, time and fields, bytes as base64, repeats as arrays."""
    raw = StreamEntry("1700000000123-4", ((b"kind", b"made"), (b"photo", b"\xff\x00"), (b"tag", b"a"), (b"tag", b"b")))
    fields = read_fields(raw)
    assert record(STREAM_REF, raw, fields, role_arn="arn:role") == {
        "eventID": "shardId-000000000000:1700000000123-4",
        "eventName": "lambent:redis-streams:record",
        "eventVersion": "1.0",
        "eventSource": "lambent:redis-streams",
        "eventSourceARN": ARN,
        "awsRegion": "us-east-1",
        "invokeIdentityArn": "arn:role",
        "redis": {
            "redisSchemaVersion": "1.0",
            "sequenceNumber": "1700000000123-4",
            "approximateArrivalTimestamp": 1700000000.123,
            "fields": {"kind": "made", "photo": "/wA=", "tag": ["a", "b"]},
            "binaryFields": ("photo",),
        },
    }
    assert fields.texts == {"kind": "made", "tag": ["a", "b"]}


def test_names_that_are_no_text_are_escaped() -> None:
    """A field's name that is not UTF-8 does not make the entry unreadable."""
    assert read_fields(StreamEntry("1-0", ((b"\xffx", b"y"),))).values == {"\\xffx": "y"}


def given_up(**more: Any) -> GivenUp:
    """A batch of two that was given up."""
    values: dict[str, Any] = {
        "stream": STREAM_REF,
        "function_arn": f"{FUNCTION}:$LATEST",
        "condition": "RetryAttemptsExhausted",
        "entries": (entry("1700000000000-0", kind=b"a"), entry("1700000001000-7", kind=b"b")),
        "request_id": "r",
        "invokes": 3,
        "executed_version": "$LATEST",
        "function_error": "Unhandled",
    }
    return GivenUp(**{**values, **more})


def test_envelope() -> None:
    """A destination is told where the entries are and how the last attempt ended, in the form of Lambda's streams."""
    assert envelope(given_up(), now_ms=1_700_000_002_500) == {
        "requestContext": {
            "requestId": "r",
            "functionArn": f"{FUNCTION}:$LATEST",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 3,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2023-11-14T22:13:22.500Z",
        "RedisStreamBatchInfo": {
            "shardId": "shardId-000000000000",
            "startSequenceNumber": "1700000000000-0",
            "endSequenceNumber": "1700000001000-7",
            "approximateArrivalOfFirstRecord": "2023-11-14T22:13:20.000Z",
            "approximateArrivalOfLastRecord": "2023-11-14T22:13:21.000Z",
            "batchSize": 2,
            "streamArn": ARN,
        },
    }


def test_envelope_of_entries_that_were_never_tried() -> None:
    """Without an attempt there is no response, and an id that is no time does no harm."""
    never = given_up(executed_version="", entries=(entry("18446744073709551615-1", a=b"b"),))
    body = envelope(never, now_ms=0)
    assert "responseContext" not in body
    assert body["RedisStreamBatchInfo"]["approximateArrivalOfFirstRecord"] == "18446744073709551615"
    json.dumps(body)


def test_dead_entry() -> None:
    """A dead-letter stream gets the entry's own fields to the byte, and why it is there."""
    fields = dict(dead_entry(given_up(), entry("1-2", kind=b"\xff")))
    assert fields == {
        b"kind": b"\xff",
        b"lambent:stream": b"orders",
        b"lambent:id": b"1-2",
        b"lambent:function": f"{FUNCTION}:$LATEST".encode(),
        b"lambent:condition": b"RetryAttemptsExhausted",
        b"lambent:invokes": b"3",
        b"lambent:request-id": b"r",
    }


def test_order_of_ids() -> None:
    """Ids are ordered by their numbers, not as text."""
    assert sorted(["10-0", "9-10", "9-9", "9"], key=entry_order) == ["9", "9-9", "9-10", "10-0"]


def mapping(**more: Any) -> MappingRecord:
    """A mapping of a stream."""
    values: dict[str, Any] = {
        "uuid": "1b2c3d4e-0000-4000-8000-000000000001", "account": "000000000000", "region": "us-east-1",
        "source_arn": ARN, "function_arn": FUNCTION, "batch_size": 100, "starting_position": "LATEST",
    }  # fmt: skip
    return MappingRecord(**{**values, **more})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ""),
        ({"batch_size": 10_000}, ""),
        ({"starting_position": "TRIM_HORIZON"}, ""),
        ({"starting_position": "AT_TIMESTAMP", "starting_position_ms": 5}, ""),
        ({"record_age_max_s": 60}, ""),
        ({"on_failure_arn": "arn:aws:sqs:us-east-1:000000000000:dead"}, ""),
        ({"on_failure_arn": FUNCTION}, ""),
        ({"on_failure_arn": f"{ARN}-dead"}, ""),
        ({"source_arn": f"{ARN[:-6]}l1:{{p0}}:x"}, "Unrecognized event source"),
        ({"starting_position": ""}, "Value null at 'startingPosition'"),
        ({"starting_position": "AT_TIMESTAMP"}, "StartingPositionTimestamp"),
        ({"starting_position_ms": 5}, "StartingPositionTimestamp"),
        ({"starting_position": "AT_TIMESTAMP", "starting_position_ms": -1}, "before 1970"),
        ({"record_age_max_s": 59}, "at least 60"),
        ({"record_age_max_s": 0}, "at least 60"),
        ({"tumbling_window_s": 1}, "TumblingWindowInSeconds"),
        ({"on_failure_arn": ARN}, "its own records"),
        ({"on_failure_arn": ARN.replace("us-east-1", "eu-west-1")}, "its own records"),
        ({"on_failure_arn": "arn:aws:sqs:us-east-1:000000000000:dead.fifo"}, "on-failure destination"),
        ({"on_failure_arn": "arn:aws:sns:us-east-1:000000000000:topic"}, "on-failure destination"),
        ({"on_failure_arn": f"{ARN[:-6]}rq:x"}, "on-failure destination"),
        ({"on_failure_arn": "kafka://x"}, "on-failure destination"),
    ],
)
def test_settings(more: dict[str, Any], words: str) -> None:
    """Settings of streams are checked when they are given."""
    if not words:
        STREAM.check(mapping(**more))
        return
    with pytest.raises(InvalidParameterValue, match=words):
        STREAM.check(mapping(**more))


def test_shown_settings() -> None:
    """A mapping of a stream is shown with Lambda's members and defaults."""
    assert source_rules(ARN) is STREAM
    assert STREAM.shown(mapping(on_failure_arn=FUNCTION)) == {
        "StartingPosition": "LATEST",
        "StartingPositionTimestamp": None,
        "ParallelizationFactor": 1,
        "BisectBatchOnFunctionError": False,
        "MaximumRetryAttempts": -1,
        "MaximumRecordAgeInSeconds": -1,
        "TumblingWindowInSeconds": 0,
        "DestinationConfig": {"OnFailure": {"Destination": FUNCTION}},
    }
