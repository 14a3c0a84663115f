"""What becomes of an asynchronous event after an attempt."""

from __future__ import annotations

import pytest

from lambent_platform.contracts.events import EventMeta
from lambent_platform.core.retries import Attempt, destination_function, envelope, expired, settle

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"
TARGET = "arn:aws:lambda:us-east-1:000000000000:function:after"


def attempt(number: int = 1, error: str = "Unhandled") -> Attempt:
    """Make a finished attempt."""
    return Attempt(
        number=number, payload=b'{"n":1}', response=b'{"errorMessage":"no"}', function_error=error, request_id="r"
    )


def meta(**changes: object) -> EventMeta:
    """Make the rules of an event accepted at 0."""
    values: dict[str, object] = {"accepted_at_ms": 0, "function_arn": ARN, **changes}
    return EventMeta(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "rules", "action", "due_ms"),
    [
        (1, meta(), "retry", 61_000),
        (2, meta(), "retry", 121_000),
        (3, meta(), "dead", 0),
        (1, meta(retries_max=0), "dead", 0),
        (1, meta(age_max_s=60), "dead", 0),
        (1, meta(age_max_s=61), "retry", 61_000),
    ],
)
def test_failed_attempts(number: int, rules: EventMeta, action: str, due_ms: int) -> None:
    """Two retries after 1 and 2 minutes, within the maximum age, then dead."""
    settlement = settle(attempt(number), rules, now_ms=1_000)
    assert (settlement.action, settlement.due_ms) == (action, due_ms)


def test_success_goes_to_its_destination() -> None:
    """A success is done, and its destination is told with the response."""
    settlement = settle(attempt(error=""), meta(on_success=TARGET), now_ms=1_000)
    assert settlement.action == "done"
    assert settlement.delivery is not None
    assert settlement.delivery["destination"] == TARGET
    assert settlement.delivery["envelope"]["requestContext"]["condition"] == "Success"
    assert "functionError" not in settlement.delivery["envelope"]["responseContext"]


def test_a_retry_tells_nobody() -> None:
    """Only the last failure reaches the on-failure destination."""
    assert settle(attempt(1), meta(on_failure=TARGET), now_ms=0).delivery is None
    dead = settle(attempt(3), meta(on_failure=TARGET), now_ms=0)
    assert dead.delivery is not None
    assert dead.delivery["envelope"]["requestContext"] == {
        "requestId": "r",
        "functionArn": ARN,
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    }


def test_envelope_of_an_event_that_never_ran() -> None:
    """An event that expired in the queue has no response."""
    body = envelope("EventAgeExceeded", Attempt(number=0, payload=b"[]", response=b"", request_id="r"), meta(), 1_500)
    assert body["timestamp"] == "1970-01-01T00:00:01.500Z"
    assert body["requestPayload"] == []
    assert "responsePayload" not in body


def test_expired() -> None:
    """An event is too old only after its maximum age."""
    assert not expired(meta(age_max_s=60), now_ms=60_000)
    assert expired(meta(age_max_s=60), now_ms=60_001)


@pytest.mark.parametrize(("arn", "name"), [(TARGET, "after"), ("arn:aws:sqs:us-east-1:000000000000:q", None)])
def test_destination_function(arn: str, name: str | None) -> None:
    """A destination is a function only where its ARN says so."""
    found = destination_function(arn)
    assert (found.name if found else None) == name
