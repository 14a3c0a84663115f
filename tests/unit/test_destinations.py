"""What destinations and dead-letter queues are sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambent_platform.contracts.events import Ending, EventMeta
from lambent_platform.core.destinations import envelope, parcel, target_kind

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"
META = EventMeta(accepted_at_ms=0, function_arn=ARN)
FAILED = Ending(
    condition="RetriesExhausted",
    ended_at_ms=1_500,
    attempts=3,
    function_error="Unhandled",
    executed_version="$LATEST",
    error_type="ValueError",
    error_message="no",
)


def test_the_envelope_of_a_failure() -> None:
    """The members are AWS's, with the response of the last attempt."""
    body = json.loads(envelope(FAILED, META, request_id="r", payload=b'{"n":1}', response=b'{"errorMessage":"no"}'))
    assert body == {
        "version": "1.0",
        "timestamp": "1970-01-01T00:00:01.500Z",
        "requestContext": {
            "requestId": "r",
            "functionArn": ARN,
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"n": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "no"},
    }


def test_the_envelope_of_a_success() -> None:
    """A success has no functionError."""
    ending = Ending(condition="Success", ended_at_ms=0, attempts=1, executed_version="7")
    body = json.loads(envelope(ending, META, request_id="r", payload=b"null", response=b"null"))
    assert body["responseContext"] == {"statusCode": 200, "executedVersion": "7"}
    assert body["requestContext"]["condition"] == "Success"
    assert (body["requestPayload"], body["responsePayload"]) == (None, None)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"123456789012345678901234567890", b"123456789012345678901234567890"),
        (b'{"a": 1.10,  "b": 1e300}', b'{"a": 1.10,  "b": 1e300}'),
        (b"", b"null"),
        (b"not json", b'"not json"'),
        (b"\xff", '"\ufffd"'.encode()),
        (b"NaN", b'"NaN"'),
        (b"[" * 2000, b'"' + b"[" * 2000 + b'"'),
    ],
)
def test_payloads_are_passed_on_as_they_are(data: bytes, shown: bytes) -> None:
    """JSON stays byte for byte, so that no number changes; what is no JSON becomes a string."""
    assert b'"requestPayload":' + shown + b"," in envelope(FAILED, META, request_id="r", payload=data, response=b"")


def test_a_dead_letter_is_the_event_itself() -> None:
    """A dead-letter queue gets the payload, and what happened in three attributes."""
    sent = parcel("dead_letter", FAILED, META, request_id="r", payload=b'{"n": 1}', response=b"{}")
    assert sent.body == b'{"n": 1}'
    assert sent.message_attributes == {
        "RequestID": {"DataType": "String", "StringValue": "r"},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "no"},
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"error_message": "ä" * 2000}, "ä" * 512),
        ({"error_message": "a\x00b\n"}, "a\ufffdb\n"),
        ({"error_message": "", "error_type": "T"}, "T"),
        ({"error_message": "", "error_type": ""}, "RetriesExhausted"),
    ],
)
def test_the_error_message_is_one_that_a_queue_takes(changes: dict[str, Any], text: str) -> None:
    """At most 1 KB, never empty, and no character that SQS refuses."""
    ending = Ending(condition="RetriesExhausted", ended_at_ms=0, attempts=1, **changes)
    sent = parcel("dead_letter", ending, META, request_id="r", payload=b"{}", response=b"")
    assert sent.message_attributes["ErrorMessage"]["StringValue"] == text


@pytest.mark.parametrize(
    ("arn", "kind"),
    [
        ("arn:aws:lambda:us-east-1:000000000000:function:f", "function"),
        ("arn:aws:lambda:us-east-1:000000000000:function:f:live", "function"),
        ("arn:aws:lambda:us-east-1:000000000000:layer:f", ""),
        ("arn:aws:sqs:us-east-1:000000000000:q", "queue"),
        ("arn:aws:sqs:us-east-1::q", ""),
        ("arn:aws:sqs:us-east-1:000000000000:", ""),
        ("arn:aws:sns:us-east-1:000000000000:t", ""),
        ("arn:aws:events:us-east-1:000000000000:event-bus/default", ""),
        ("arn:aws:s3:::bucket", ""),
        ("f", ""),
        ("", ""),
    ],
)
def test_target_kind(arn: str, kind: str) -> None:
    """Events can be sent to functions and queues."""
    assert target_kind(arn) == kind
