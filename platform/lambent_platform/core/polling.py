"""How many batches of one mapping may run at the same time. A state and what was seen in, a state out.

As on Lambda: a mapping begins with five batches at the same time, gets five more each second while there is a
backlog, and loses as many while there is none. Throttles halve it and keep it from growing for a while, failing
calls take a part of it; neither stops it. The function's and the account's own concurrency limits hold besides.

Other than Lambda, a platform has the cores that it has: where more batches at the same time do not end more of them,
they only wait for each other in more environments. So growth is judged by what it brings, each second, and taken
back for a while where it brought nothing. Functions that take long end too few batches to be judged.

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
SPAN_S: Final = 1.0
"""How long batches are counted before growth is judged."""
JUDGED_MIN: Final = 20
"""Fewer batches than this say nothing about it."""
GAIN_MIN: Final = 1 / 3
"""What growth must bring: of twice the batches at the same time, a third more that end."""
FRUITLESS_S: Final = 10.0
"""How long growth that brought nothing is not tried again."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time with a backlog, in which ended batches are counted."""

    began_s: float
    limit: float
    """The limit at its beginning."""
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """How many batches ended in a second, at which limit."""

    per_s: float
    limit: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one mapping goes. Times are of a monotonic clock, in seconds."""

    limit: float = FIRST
    looked_at_s: float = 0.0
    throttled_until_s: float = 0.0
    """Until when a throttle counts."""
    held_until_s: float = 0.0
    """Until when growth is not tried again that brought nothing."""
    span: Span | None = None
    rate: Rate | None = None
    """Of the last span that could be judged."""
    growing: bool = False
    """Whether the first span of this backlog is over."""

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
    ended: int = 0
    """Batches whose calls have ended."""


def next_pace(pace: Pace, seen: Seen, *, now_s: float, concurrency_max: int | None = None) -> Pace:
    """Return the pace after a look at what happened."""
    if seen.ended and pace.span is not None:
        pace = replace(pace, span=replace(pace.span, ended=pace.span.ended + seen.ended))
    if seen.throttled:
        if now_s < pace.throttled_until_s:
            return pace
        return replace(_unjudged(pace), limit=max(THROTTLED_MIN, pace.limit / 2), throttled_until_s=now_s + HOLD_S)
    if seen.failed:
        return replace(_unjudged(pace), limit=max(min(FAILED_MIN, pace.limit), pace.limit * FAILED_FACTOR))
    if not seen.backlog and not seen.idle:
        return pace
    elapsed_s = min(max(now_s - pace.looked_at_s, 0.0), ELAPSED_S_MAX)
    pace = replace(pace, looked_at_s=now_s)
    if seen.backlog:
        return _grown(pace, elapsed_s, now_s, CONCURRENCY_MAX if concurrency_max is None else concurrency_max)
    pace = _unjudged(pace)
    if pace.limit > FIRST:
        return replace(pace, limit=max(FIRST, pace.limit - DECAY_PER_S * elapsed_s))
    if now_s >= pace.throttled_until_s:
        return replace(pace, limit=min(FIRST, pace.limit + GROWTH_PER_S * elapsed_s))
    return pace


def _unjudged(pace: Pace) -> Pace:
    return replace(pace, span=None, rate=None, growing=False)


def _grown(pace: Pace, elapsed_s: float, now_s: float, most: int) -> Pace:
    if pace.span is None:
        return replace(pace, span=Span(now_s, pace.limit))
    if now_s - pace.span.began_s >= SPAN_S:
        pace = _judged(pace, pace.span, now_s)
    if not pace.growing or now_s < max(pace.held_until_s, pace.throttled_until_s):
        return pace
    # What could not be used is not saved up: a limit far above the mapping's own would take long to fall.
    return replace(pace, limit=min(pace.limit + GROWTH_PER_S * elapsed_s, float(max(most, 1))))


def _judged(pace: Pace, span: Span, now_s: float) -> Pace:
    """End a span: where the limit grew in it and brought too little, go back, and stay there for a while."""
    if span.ended < JUDGED_MIN:
        return replace(pace, span=Span(now_s, pace.limit), rate=None, growing=True)
    rate = Rate(span.ended / (now_s - span.began_s), (span.limit + pace.limit) / 2)
    before = pace.rate
    if before is not None and rate.limit > before.limit:
        wanted = before.per_s * (1 + (rate.limit / before.limit - 1) * GAIN_MIN)
        if rate.per_s < wanted:
            back = max(before.limit, min(FIRST, pace.limit))
            return replace(pace, limit=back, span=Span(now_s, back), held_until_s=now_s + FRUITLESS_S, rate=None)
    return replace(pace, span=Span(now_s, pace.limit), rate=rate, growing=True)


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
