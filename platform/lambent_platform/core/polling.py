"""How many batches of one mapping may run at the same time. A state and what was seen in, a state out.

As on Lambda: a mapping begins with five batches at the same time, gets five more each second while there is a
backlog, and loses as many while there is none. Throttles halve it and keep it from growing for a while, failing
calls take a part of it; neither stops it. The function's and the account's own concurrency limits hold besides.

Source: Lambda Developer Guide, "Configuring scaling behavior for SQS event source mappings" and "Backoff strategy for
failed invocations".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

FIRST: Final = 5
GROWTH_PER_S: Final = 5.0
DECAY_PER_S: Final = 5.0
CONCURRENCY_MAX: Final = 1_000
THROTTLED_MIN: Final = 1.0
FAILED_MIN: Final = 2.0
FAILED_FACTOR: Final = 0.8
HOLD_S: Final = 2.0
"""How long a throttle keeps the limit from growing, and counts for others that come with it."""
ELAPSED_S_MAX: Final = 1.0
"""What a look at most adds or takes: nobody looks while nothing happens, and time that passed says nothing then."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one mapping goes. Times are of a monotonic clock, in seconds."""

    limit: float = FIRST
    looked_at_s: float = 0.0
    held_until_s: float = 0.0

    def allowed(self, concurrency_max: int | None) -> int:
        """How many batches may run at the same time, under the mapping's own limit."""
        most = CONCURRENCY_MAX if concurrency_max is None else concurrency_max
        return max(1, min(int(self.limit), most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What happened since the last look."""

    backlog: bool = False
    """There was more to receive than there was room for."""
    idle: bool = False
    """There was nothing to receive."""
    throttled: bool = False
    failed: bool = False
    """A call failed as a whole."""


def next_pace(pace: Pace, seen: Seen, *, now_s: float, concurrency_max: int | None = None) -> Pace:
    """Return the pace after a look at what happened."""
    elapsed_s = min(max(now_s - pace.looked_at_s, 0.0), ELAPSED_S_MAX)
    looked = replace(pace, looked_at_s=now_s)
    if seen.throttled:
        if now_s < pace.held_until_s:
            return looked
        return replace(looked, limit=max(THROTTLED_MIN, pace.limit / 2), held_until_s=now_s + HOLD_S)
    if seen.failed:
        return replace(looked, limit=max(min(FAILED_MIN, pace.limit), pace.limit * FAILED_FACTOR))
    if seen.backlog and now_s >= pace.held_until_s:
        # What could not be used is not saved up: a limit far above the mapping's own would take long to fall.
        most = CONCURRENCY_MAX if concurrency_max is None else concurrency_max
        return replace(looked, limit=min(pace.limit + GROWTH_PER_S * elapsed_s, max(most, 1)))
    if seen.idle:
        if pace.limit > FIRST:
            return replace(looked, limit=max(FIRST, pace.limit - DECAY_PER_S * elapsed_s))
        if now_s >= pace.held_until_s:
            return replace(looked, limit=min(FIRST, pace.limit + GROWTH_PER_S * elapsed_s))
    return looked


RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def retry_in_s(attempt: int, *, left_s: float, call_s: float) -> float | None:
    """How long to wait before a call that was throttled, or lost by the platform, is tried again.

    None where its messages would come back before the next call could have ended: then they do.

    Args:
        attempt: how often it was tried, from 1.
        left_s: how long its messages stay invisible.
        call_s: the longest that a call takes.
    """
    pause_s = RETRY_S[min(attempt, len(RETRY_S)) - 1]
    return pause_s if left_s > pause_s + call_s else None
