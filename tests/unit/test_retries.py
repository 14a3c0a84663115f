"""What becomes of an asynchronous event after an attempt."""

from __future__ import annotations

import pytest

from lambent_platform.contracts.events import Ending, EventMeta, Settlement
from lambent_platform.core.retries import (
    ERROR_BYTES,
    PARSED_BYTES_MAX,
    Attempt,
    error_of,
    expire,
    expired,
    orphan,
    settle,
    stop,
)

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"
TARGET = "arn:aws:lambda:us-east-1:000000000000:function:after"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
ERROR = b'{"errorMessage":"no","errorType":"ValueError"}'


def attempt(number: int = 1, error: str = "Unhandled", response: bytes = ERROR) -> Attempt:
    """Make a finished attempt."""
    return Attempt(number=number, response=response, function_error=error)


def meta(**changes: object) -> EventMeta:
    """Make the rules of an event accepted at 0."""
    values: dict[str, object] = {"accepted_at_ms": 0, "function_arn": ARN, **changes}
    return EventMeta(**values)  # type: ignore[arg-type]


def ending(settlement: Settlement) -> Ending:
    """The ending of an event that has one; also as Redis gives it back."""
    assert settlement.ending is not None
    assert Ending.from_dict(settlement.ending.to_dict()) == settlement.ending
    return settlement.ending


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


def test_success_without_a_destination() -> None:
    """Nobody wants to know: nothing is kept."""
    rules = meta(on_failure=TARGET, dead_letter=QUEUE)
    assert settle(attempt(error=""), rules, now_ms=1_000) == Settlement(action="done")


def test_success_goes_to_its_destination() -> None:
    """A success is done, and its destination is told with the response."""
    settlement = settle(attempt(error="", response=b"[1]"), meta(on_success=TARGET, on_failure=QUEUE), now_ms=1_000)
    assert settlement.action == "done"
    assert settlement.response == b"[1]"
    assert ending(settlement) == Ending(
        condition="Success",
        ended_at_ms=1_000,
        attempts=1,
        executed_version="$LATEST",
        deliveries=(("on_success", TARGET),),
    )


def test_a_retry_tells_nobody() -> None:
    """Only the last failure is told."""
    assert settle(attempt(1), meta(on_failure=TARGET), now_ms=0).ending is None


@pytest.mark.parametrize(
    ("rules", "deliveries"),
    [
        (meta(), ()),
        (meta(on_failure=TARGET), (("on_failure", TARGET),)),
        (meta(dead_letter=QUEUE), (("dead_letter", QUEUE),)),
        (meta(dead_letter=QUEUE, on_failure=TARGET), (("dead_letter", QUEUE), ("on_failure", TARGET))),
    ],
)
def test_who_is_told_of_a_failure(rules: EventMeta, deliveries: tuple[tuple[str, str], ...]) -> None:
    """A dead-letter queue and an on-failure destination are both told, each in its own way."""
    settlement = settle(attempt(3), rules, now_ms=5)
    assert settlement.action == "dead"
    assert ending(settlement).deliveries == deliveries
    assert (ending(settlement).condition, ending(settlement).attempts) == ("RetriesExhausted", 3)
    assert (ending(settlement).error_type, ending(settlement).error_message) == ("ValueError", "no")
    assert settlement.response == (ERROR if rules.on_failure else b"")


@pytest.mark.parametrize(
    ("settlement", "condition", "status", "error_type", "attempts"),
    [
        (expire(0, meta(on_failure=TARGET), now_ms=9), "EventAgeExceeded", 429, "EventAgeExceeded", 0),
        (expire(2, meta(on_failure=TARGET), now_ms=9), "EventAgeExceeded", 429, "EventAgeExceeded", 2),
        (orphan(1, meta(on_failure=TARGET), now_ms=9), "RetriesExhausted", 404, "ResourceNotFoundException", 1),
        (stop(meta(on_failure=TARGET), now_ms=9), "RetriesExhausted", 400, "RecursiveInvocationException", 0),
    ],
)
def test_events_that_are_not_run(
    settlement: Settlement, condition: str, status: int, error_type: str, attempts: int
) -> None:
    """Too old, its function deleted, or one turn too many of a loop: dead, and the destination is told why."""
    found = ending(settlement)
    assert settlement.action == "dead"
    assert (found.condition, found.status_code, found.error_type) == (condition, status, error_type)
    assert (found.attempts, found.ended_at_ms, found.function_error) == (attempts, 9, "")
    assert found.deliveries == (("on_failure", TARGET),)
    assert error_of(settlement.response) == (error_type, found.error_message)


def test_what_nobody_is_told_is_not_kept() -> None:
    """The response is kept for a destination alone."""
    assert expire(0, meta(dead_letter=QUEUE), now_ms=9).response == b""


def test_expired() -> None:
    """An event is too old only after its maximum age."""
    assert not expired(meta(age_max_s=60), now_ms=60_000)
    assert expired(meta(age_max_s=60), now_ms=60_001)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (ERROR, ("ValueError", "no")),
        (b'{"errorMessage":"no"}', ("", "no")),
        (b'{"errorMessage":7,"errorType":null}', ("", "7")),
        (b'{"other":1}', ("", '{"other":1}')),
        (b"[]", ("", "[]")),
        (b"plain text", ("", "plain text")),
        (b"", ("", "")),
        (b"\xff\xfe", ("", "\ufffd\ufffd")),
        (b'{"errorMessage":"' + b"x" * 2000 + b'"}', ("", "x" * ERROR_BYTES)),
        ('{"errorMessage":"' + "ä" * 2000 + '"}', ("", "ä" * (ERROR_BYTES // 2))),
        (b'"' + b"x" * PARSED_BYTES_MAX + b'"', ("", '"' + "x" * (ERROR_BYTES - 1))),
    ],
)
def test_error_of(response: bytes | str, error: tuple[str, str]) -> None:
    """Whatever a function fails with, type and message are found or made, and bounded."""
    assert error_of(response.encode() if isinstance(response, str) else response) == error
