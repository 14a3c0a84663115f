"""What becomes of an asynchronous event after an attempt.

Source: Lambda Developer Guide, "Error handling and automatic retries for asynchronous invocations" and "Destinations".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from lambent_platform.contracts.events import EventMeta, Settlement
from lambent_platform.contracts.names import LATEST, FunctionRef

RETRY_DELAYS_S: Final = (60.0, 120.0)
Condition = Literal["Success", "RetriesExhausted", "EventAgeExceeded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One finished attempt of an event."""

    number: int
    """1 for the first."""
    payload: bytes
    """The event."""
    response: bytes
    function_error: str = ""
    executed_version: str = LATEST
    request_id: str


def settle(attempt: Attempt, meta: EventMeta, *, now_ms: int, delays_s: Sequence[float] = RETRY_DELAYS_S) -> Settlement:
    """Decide: done, retried later, or dead; with what its destination is told.

    A retry that could only begin after the event's maximum age is not made.
    """
    if not attempt.function_error:
        return Settlement(action="done", delivery=_delivery(meta.on_success, "Success", attempt, meta, now_ms))
    age_limit_ms = meta.accepted_at_ms + meta.age_max_s * 1000
    if attempt.number <= meta.retries_max:
        delay_s = delays_s[min(attempt.number, len(delays_s)) - 1] if delays_s else 0.0
        due_ms = now_ms + round(delay_s * 1000)
        if due_ms <= age_limit_ms:
            return Settlement(action="retry", due_ms=due_ms)
        condition: Condition = "EventAgeExceeded"
    else:
        condition = "RetriesExhausted"
    return Settlement(action="dead", delivery=_delivery(meta.on_failure, condition, attempt, meta, now_ms))


def expired(meta: EventMeta, *, now_ms: int) -> bool:
    """Whether an event that waits has passed its maximum age."""
    return now_ms > meta.accepted_at_ms + meta.age_max_s * 1000


def expire(attempt: Attempt, meta: EventMeta, *, now_ms: int) -> Settlement:
    """End an event that has passed its maximum age without another attempt."""
    return Settlement(action="dead", delivery=_delivery(meta.on_failure, "EventAgeExceeded", attempt, meta, now_ms))


def _delivery(
    destination: str, condition: Condition, attempt: Attempt, meta: EventMeta, now_ms: int
) -> dict[str, Any] | None:
    if not destination:
        return None
    return {"destination": destination, "envelope": envelope(condition, attempt, meta, now_ms)}


def envelope(condition: Condition, attempt: Attempt, meta: EventMeta, now_ms: int) -> dict[str, Any]:
    """What a destination receives; `responseContext` and `responsePayload` only where an attempt was made."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    body: dict[str, Any] = {
        "version": "1.0",
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": attempt.request_id,
            "functionArn": meta.function_arn,
            "condition": condition,
            "approximateInvokeCount": attempt.number,
        },
        "requestPayload": _json(attempt.payload),
    }
    if attempt.response:
        context: dict[str, Any] = {"statusCode": 200, "executedVersion": attempt.executed_version}
        if attempt.function_error:
            context["functionError"] = attempt.function_error
        body["responseContext"] = context
        body["responsePayload"] = _json(attempt.response)
    return body


def _json(data: bytes) -> Any:
    try:
        return json.loads(data or b"null")
    except ValueError:
        return data.decode(errors="replace")


def destination_function(arn: str) -> FunctionRef | None:
    """The function that a destination ARN names; None where it names something else."""
    return FunctionRef.parse(arn) if ":function:" in arn else None
