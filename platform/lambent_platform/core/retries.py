"""What becomes of an asynchronous event after an attempt, and of one that gets none.

Source: Lambda Developer Guide, "Error handling and automatic retries for asynchronous invocations" and "Retaining
records of asynchronous invocations".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from lambent_platform.contracts.events import Condition, DeliveryKind, Ending, EventMeta, Settlement
from lambent_platform.contracts.names import LATEST
from lambent_platform.core.lineage import STOPPED_CODE, STOPPED_MESSAGE

RETRY_DELAYS_S: Final = (60.0, 120.0)
ERROR_BYTES: Final = 1024
"""What is kept of an error's message, and what a dead-letter queue is told of it."""
PARSED_BYTES_MAX: Final = 1_048_576
"""An error's type and message are looked for in a response of no more than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One finished attempt of an event."""

    number: int
    """1 for the first."""
    response: bytes
    function_error: str = ""
    executed_version: str = LATEST


def settle(attempt: Attempt, meta: EventMeta, *, now_ms: int, delays_s: Sequence[float] = RETRY_DELAYS_S) -> Settlement:
    """Decide: done, retried later, or dead; with what is told to whom.

    A retry that could only begin after the event's maximum age is not made.
    """
    if not attempt.function_error:
        if not meta.on_success:
            return Settlement(action="done")
        ending = _ending("Success", attempt, now_ms, (("on_success", meta.on_success),))
        return Settlement(action="done", ending=ending, response=attempt.response)
    condition: Condition = "RetriesExhausted"
    if attempt.number <= meta.retries_max:
        delay_s = delays_s[min(attempt.number, len(delays_s)) - 1] if delays_s else 0.0
        due_ms = now_ms + round(delay_s * 1000)
        if due_ms <= meta.expires_at_ms:
            return Settlement(action="retry", due_ms=due_ms)
        condition = "EventAgeExceeded"
    ending = _ending(condition, attempt, now_ms, _failure_deliveries(meta))
    return Settlement(action="dead", ending=ending, response=attempt.response if meta.on_failure else b"")


def expired(meta: EventMeta, *, now_ms: int) -> bool:
    """Whether an event that waits has passed its maximum age."""
    return now_ms > meta.expires_at_ms


def expire(attempts: int, meta: EventMeta, *, now_ms: int) -> Settlement:
    """End an event that has passed its maximum age without another attempt; `attempts` were made."""
    return _unrun(
        Ending(
            condition="EventAgeExceeded",
            ended_at_ms=now_ms,
            attempts=attempts,
            status_code=429,
            error_type="EventAgeExceeded",
            error_message=f"The event is older than its maximum age of {meta.age_max_s} seconds.",
            deliveries=_failure_deliveries(meta),
        )
    )


def orphan(attempts: int, meta: EventMeta, *, now_ms: int) -> Settlement:
    """End an event whose function, or version of it, was deleted."""
    return _unrun(
        Ending(
            condition="RetriesExhausted",
            ended_at_ms=now_ms,
            attempts=attempts,
            status_code=404,
            error_type="ResourceNotFoundException",
            error_message=f"Function not found: {meta.function_arn}",
            deliveries=_failure_deliveries(meta),
        )
    )


def stop(meta: EventMeta, *, now_ms: int) -> Settlement:
    """End an event that would be one turn too many of a loop (`core.lineage`)."""
    return _unrun(
        Ending(
            condition="RetriesExhausted",
            ended_at_ms=now_ms,
            attempts=0,
            status_code=400,
            error_type=STOPPED_CODE,
            error_message=STOPPED_MESSAGE,
            deliveries=_failure_deliveries(meta),
        )
    )


def _unrun(ending: Ending) -> Settlement:
    """End an event that was not run (again): the response that is told of it is the platform's own."""
    error = {"errorMessage": ending.error_message, "errorType": ending.error_type}
    wanted = any(kind == "on_failure" for kind, _ in ending.deliveries)
    return Settlement(action="dead", ending=ending, response=orjson.dumps(error) if wanted else b"")


def _failure_deliveries(meta: EventMeta) -> tuple[tuple[DeliveryKind, str], ...]:
    """Who is told of a failure: a dead-letter queue and a destination are independent of each other."""
    wanted: tuple[tuple[DeliveryKind, str], ...] = (("dead_letter", meta.dead_letter), ("on_failure", meta.on_failure))
    return tuple((kind, arn) for kind, arn in wanted if arn)


def _ending(
    condition: Condition, attempt: Attempt, now_ms: int, deliveries: tuple[tuple[DeliveryKind, str], ...]
) -> Ending:
    error_type, message = error_of(attempt.response) if attempt.function_error else ("", "")
    return Ending(
        condition=condition,
        ended_at_ms=now_ms,
        attempts=attempt.number,
        function_error=attempt.function_error,
        executed_version=attempt.executed_version,
        error_type=error_type,
        error_message=message,
        deliveries=deliveries,
    )


def error_of(response: bytes) -> tuple[str, str]:
    """Return type and message of a function's error, each at most 1 KB; the message is the text itself if it is none.

    An error is `{"errorMessage": …, "errorType": …}`, but a custom runtime may send anything.
    """
    if len(response) <= PARSED_BYTES_MAX:
        try:
            error = orjson.loads(response)
        except orjson.JSONDecodeError:
            error = None
        if isinstance(error, dict) and "errorMessage" in error:
            return cut(str(error.get("errorType") or "")), cut(str(error["errorMessage"]))
    return "", cut(response[:ERROR_BYTES].decode(errors="replace"))


def cut(text: str, limit: int = ERROR_BYTES) -> str:
    """Cut a text to `limit` bytes of UTF-8, between characters."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore")
