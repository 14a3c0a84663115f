"""The ticks of a schedule as moments, and which of them are to be fired now.

Daylight saving, as AWS has it: a time that the clock skips is not fired, a time that comes twice is fired the first
time. Rates know no zone. Source: EventBridge Scheduler User Guide, "Schedule types", "Daylight savings time".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from lambent_platform.core.schedules.cron import YEAR_MAX, Cron
from lambent_platform.core.schedules.expression import At, Expression, Rate

PASSED_MAX: Final = 10_000
"""Ticks of one schedule that moves of the clock pass through before the rest of them is taken together."""
_SKIPPED_MAX: Final = 3000
"""Local times in a row that may not exist, or come again: two days' minutes (a zone can skip a whole day)."""
_REPEATED_MAX: Final = timedelta(hours=3)
"""The longest stretch of a wall clock that comes twice."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CRON_END_MS: Final = (datetime(YEAR_MAX + 1, 1, 3, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
"""Behind it no zone has a time of the last year that cron expressions can name."""


class ZoneError(ValueError):
    """There is no such time zone."""


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone of the IANA database.

    Raises:
        ZoneError: it has none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ZoneError(name) from error


@dataclass(frozen=True, slots=True)
class Timeline:
    """All ticks of one schedule. Moments are ms since the epoch."""

    expression: Expression
    zone: ZoneInfo
    anchor_ms: int
    """Rates count from here; this is their first tick."""
    start_ms: int | None = None
    end_ms: int | None = None

    def after(self, moment_ms: int) -> int | None:
        """The first tick behind a moment; None where there is none any more."""
        if isinstance(self.expression, At):  # start and end mean nothing to it
            at_ms = _to_ms(_moment(self.expression.local, self.zone))
            return at_ms if at_ms > moment_ms else None
        if self.start_ms is not None:
            moment_ms = max(moment_ms, self.start_ms - 1)
        found = self._rate(moment_ms) if isinstance(self.expression, Rate) else self._cron(self.expression, moment_ms)
        return None if found is None or (self.end_ms is not None and found > self.end_ms) else found

    def latest(self, since_ms: int, until_ms: int) -> int:
        """The last tick that is not behind `until_ms`, where `since_ms` is a tick not behind it either."""
        if self.end_ms is not None:
            until_ms = min(until_ms, self.end_ms)
        if isinstance(self.expression, At):
            return since_ms
        if isinstance(self.expression, Rate):
            return until_ms - (until_ms - self.anchor_ms) % self.expression.period_ms
        local = _local(until_ms, self.zone)
        if (_EPOCH + timedelta(milliseconds=until_ms)).astimezone(self.zone).fold:
            local += _REPEATED_MAX  # times of the first pass that the clock now shows as yet to come
        for _ in range(_SKIPPED_MAX):
            found = self.expression.before(local)
            if found is None:
                break
            moment = _moment(found, self.zone)
            if _exists(moment, found, self.zone) and since_ms <= _to_ms(moment) <= until_ms:
                return _to_ms(moment)
            if _to_ms(moment) < since_ms:
                break
            local = found - timedelta(minutes=1)
        return since_ms

    def _rate(self, moment_ms: int) -> int:
        assert isinstance(self.expression, Rate)
        period_ms = self.expression.period_ms
        return self.anchor_ms + max(0, (moment_ms - self.anchor_ms) // period_ms + 1) * period_ms

    def _cron(self, cron: Cron, moment_ms: int) -> int | None:
        if moment_ms > _CRON_END_MS:
            return None
        local = _local(moment_ms, self.zone)
        for _ in range(_SKIPPED_MAX):
            found = cron.after(local)
            if found is None:
                return None
            moment = _moment(found, self.zone)
            if _exists(moment, found, self.zone) and _to_ms(moment) > moment_ms:
                return _to_ms(moment)
            local = found
        return None


@dataclass(frozen=True, slots=True)
class Due:
    """What becomes of a schedule whose next tick has come."""

    fire_ms: tuple[int, ...]
    """The ticks to fire, in order."""
    next_ms: int | None
    """The tick behind them, due already or not; None where there is none any more."""
    missed_since_ms: int | None = None
    """Where ticks were taken together: the first of those that are not fired."""
    passed: int = 0
    """How many ticks moves of the clock have passed through, up to here."""


def due_ticks(
    timeline: Timeline,
    tick_ms: int,
    *,
    now_ms: int,
    moves: Sequence[tuple[int, int]] = (),
    passed: int = 0,
    count: int = 50,
) -> Due:
    """Decide what to fire of a schedule whose tick `tick_ms` is due.

    Ticks that a move of the clock passed over (`moves`: from, to) are fired each, at most `count` now; of those that
    were missed because nobody was there to fire them, the newest is, late.
    """
    fire: list[int] = []
    tick: int | None = tick_ms
    while tick is not None and tick <= now_ms and len(fire) < count and passed < PASSED_MAX and _inside(tick, moves):
        fire.append(tick)
        passed += 1
        tick = timeline.after(tick)
    if fire:
        return Due(tuple(fire), tick, passed=passed if tick is not None and tick <= now_ms else 0)
    begins = [start for start, _ in moves if tick_ms <= start <= now_ms]
    # Where a move has passed more than its share already, the rest of it is taken together too.
    until_ms = now_ms if passed >= PASSED_MAX else min([now_ms, *begins])
    newest = timeline.latest(tick_ms, until_ms)
    following = timeline.after(newest)
    late = following is not None and following <= now_ms
    missed = tick_ms if newest != tick_ms else None
    return Due((newest,), following, missed_since_ms=missed, passed=passed if late and passed < PASSED_MAX else 0)


def spread_ms(seed: int, window_minutes: int) -> int:
    """Where in its flexible window a tick is fired: the same for the same seed, and even over many."""
    return seed % (window_minutes * 60_000) if window_minutes else 0


def _inside(tick_ms: int, moves: Sequence[tuple[int, int]]) -> bool:
    return any(start < tick_ms <= end for start, end in moves)


def _local(moment_ms: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=moment_ms)).astimezone(zone).replace(tzinfo=None, fold=0)


def _moment(local: datetime, zone: ZoneInfo) -> datetime:
    """A wall-clock time as a moment: the first of two, and behind the gap where there is none."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _exists(moment: datetime, local: datetime, zone: ZoneInfo) -> bool:
    return moment.astimezone(zone).replace(tzinfo=None) == local


def _to_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
