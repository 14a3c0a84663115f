"""What is written of a call that has ended: a reply for a caller, a settlement for an event."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from lambent_platform.contracts.invocation import Reply
from lambent_platform.core import retries
from lambent_platform.store.invocations import Outcome, Work
from lambent_workers.endings import Ended
from lambent_workers.environment import Environment


def outcome_of(environment: Environment, ended: Ended, *, now_ms: int, delays_s: Sequence[float]) -> Outcome:
    """Describe the end of a call that ran; `now_ms` is event time."""
    invocation, version, event = ended.work.invocation, environment.version, ended.work.event
    reply = settlement = None
    if event is None:
        reply = Reply(
            id=invocation.id,
            payload=ended.payload,
            function_error=ended.function_error,
            executed_version=version.version,
            log_tail=base64.b64encode(environment.log_tail()).decode() if invocation.log_tail else "",
            streamed=ended.stream,
        )
    else:
        attempt = retries.Attempt(
            number=invocation.attempt,
            response=ended.payload,
            function_error=ended.function_error,
            executed_version=version.version,
        )
        settlement = retries.settle(attempt, event, now_ms=now_ms, delays_s=delays_s)
    return Outcome(
        environment_id=environment.id,
        invocation=invocation,
        reply=reply,
        settlement=settlement,
        keep=ended.keep,
        billed_ms_mb=ended.billed_ms * version.memory_mb,
    )


def outcome_of_expired(environment: Environment, work: Work, *, now_ms: int) -> Outcome:
    """Describe the end of an event that was over its maximum age before this attempt, which was not made."""
    assert work.event is not None
    settlement = retries.expire(work.invocation.attempt - 1, work.event, now_ms=now_ms)
    return Outcome(environment_id=environment.id, invocation=work.invocation, settlement=settlement, keep=True)


def outcome_of_failure(environment: Environment, work: Work, message: str) -> Outcome:
    """Describe a call that the platform failed, not the function."""
    reply = Reply(id=work.invocation.id, payload=message.encode(), failure="ServiceException")
    return Outcome(environment_id=environment.id, invocation=work.invocation, reply=reply, keep=False)
