"""What a tick becomes: its firings, when to send and to retry each, and what a dead-letter queue is told.

Source: EventBridge Scheduler User Guide, "Managing a schedule", "Configuring a dead-letter queue"; EventBridge User
Guide, "Retry policies and dead-letter queues".
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lambent_platform.contracts.schedules import AGE_S_DEFAULT, RETRIES_DEFAULT, Firing, SourceRecord
from lambent_platform.core.schedules.payload import Request, request_of, time_text
from lambent_platform.core.schedules.timeline import spread_ms

NAMESPACE: Final = uuid.UUID("0d1c3c1e-6b0a-4c11-8b8e-3a0b7f2f6c55")
BACKOFF_S_MIN: Final = 1
BACKOFF_S_MAX: Final = 480
"""With it, 185 attempts take the 24 hours that an event may be old."""
_MESSAGE_BYTES_MAX: Final = 1024
_RULE_CODES: Final = {
    "ResourceNotFoundException": "NO_RESOURCE",
    "QueueDoesNotExist": "NO_RESOURCE",
    "TooManyRequestsException": "THROTTLING",
    "InvalidParameterValueException": "INVALID_PARAMETER",
}


def firings_of(
    record: SourceRecord, ticks: Sequence[int], *, now_ms: int, last: bool = False
) -> list[tuple[int, Firing]]:
    """Make the firings of some ticks, each with the time to send it; `last` says that the schedule goes with them."""
    return [found for tick_ms in ticks for found in _firings(record, tick_ms, now_ms=now_ms, last=last)]


def _firings(record: SourceRecord, tick_ms: int, *, now_ms: int, last: bool) -> list[tuple[int, Firing]]:
    data = record.data
    event = uuid.uuid5(NAMESPACE, f"{record.arn} {data['Incarnation']} {tick_ms}")
    schedule = record.kind == "schedule"
    window = data["FlexibleTimeWindow"].get("MaximumWindowInMinutes", 0) if schedule else 0
    due_ms = tick_ms + spread_ms(event.int, window)
    targets = [data["Target"]] if schedule else data["Targets"]
    return [
        (
            due_ms,
            Firing(
                id=str(event) if schedule else str(uuid.uuid5(event, target["Id"])),
                source=record.id,
                arn=record.arn,
                account=data["Account"],
                region=data["Region"],
                event_id=str(event),
                tick_ms=tick_ms,
                since_ms=max(due_ms, now_ms),
                target=target,
                cancellable=window > 0 and not last,
            ),
        )
        for target in targets
    ]


def request_now(firing: Firing) -> Request:
    """Return what the next attempt of a firing sends.

    Raises:
        PayloadError: nothing can be made of its input.
    """
    execution = uuid.uuid5(NAMESPACE, f"{firing.id} {firing.attempts}").hex[:16]
    return request_of(firing, execution_id=execution)


@dataclass(frozen=True, slots=True)
class Failed:
    """What becomes of a firing whose attempt failed."""

    firing: Firing
    again_ms: int | None
    """When to try again; None where it is given up."""


def after_failure(firing: Firing, *, code: str, message: str, passing: bool, now_ms: int) -> Failed:
    """Decide about a failed attempt; `passing` says that trying again may help."""
    policy = firing.target.get("RetryPolicy") or {}
    retries = policy.get("MaximumRetryAttempts", RETRIES_DEFAULT)
    deadline_ms = firing.since_ms + policy.get("MaximumEventAgeInSeconds", AGE_S_DEFAULT) * 1000
    backoff_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(firing.attempts, 16))
    again_ms = now_ms + backoff_s * 1000
    condition = ""
    if passing:
        if firing.attempts >= retries:
            condition = "MaximumRetryAttempts"
        elif again_ms > deadline_ms:
            condition = "MaximumEventAgeInSeconds"
        else:
            return Failed(replace(firing, attempts=firing.attempts + 1, cancellable=False), again_ms)
    failure = {"code": code, "message": message[:_MESSAGE_BYTES_MAX], "condition": condition}
    return Failed(replace(firing, failure=failure, cancellable=False), None)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What a dead-letter queue is told of a firing that was given up."""

    arn: str
    body: bytes
    attributes: Mapping[str, Mapping[str, str]]


def dead_letter(firing: Firing, sent: Request | None) -> DeadLetter | None:
    """Return the dead letter of a firing with a `failure`; None where it has no queue for them.

    `sent` is what was sent in vain; without it the body is the input as it was given.
    """
    arn = (firing.target.get("DeadLetterConfig") or {}).get("Arn", "")
    if not arn:
        return None
    failure = firing.failure
    facts = {
        "ERROR_CODE": failure["code"],
        "ERROR_MESSAGE": failure["message"] or failure["code"],
        "RETRY_ATTEMPTS": str(firing.attempts),
        "TARGET_ARN": str(firing.target["Arn"]),
    }
    if failure["condition"]:
        facts["EXHAUSTED_RETRY_CONDITION"] = failure["condition"]
    if firing.kind == "rule":
        facts["RULE_ARN"] = firing.arn
        facts["ERROR_CODE"] = _RULE_CODES.get(failure["code"], "ERROR_FROM_TARGET")
    else:
        facts["SCHEDULE_ARN"] = firing.arn
        facts["SCHEDULED_TIME"] = time_text(firing.tick_ms)
        facts["EXECUTION_ID"] = uuid.uuid5(NAMESPACE, f"{firing.id} {firing.attempts}").hex[:16]
        facts["IS_PAYLOAD_TRUNCATED"] = "false"
    body = sent.body if sent is not None else str(firing.target.get("Input", json.dumps({}))).encode()
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in facts.items()}
    return DeadLetter(arn, body, attributes)


def is_over(record: SourceRecord, next_ms: int | None) -> bool:
    """Whether a schedule goes with its last tick, as `ActionAfterCompletion` says."""
    return next_ms is None and record.data.get("ActionAfterCompletion") == "DELETE"
