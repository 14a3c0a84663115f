"""AWS's cron expressions: six fields, `minute hour day-of-month month day-of-week year`.

croniter finds the times: of the maintained libraries it is the one that knows `L`, `#`, `W` and `?`-less lists alike
(cronsim has no `W`; those written for AWS's syntax go through days one by one and know neither time zones nor
bounds). It is given plain wall-clock times, five fields and no zone. Three things remain for this file:

- AWS's own syntax: which wildcards stand where, days of the week from 1 (Sunday) to 7, one of the two day fields `?`.
- The year field: croniter's ends in 2099, AWS's in 2199.
- A range of one value (`8-8`), which croniter reads as one around the whole field.

Source: EventBridge Scheduler User Guide, "Schedule types"; EventBridge User Guide, "Cron expressions reference".
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

YEAR_MIN, YEAR_MAX = 1970, 2199
_MONTH_NAMES: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS: Final = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
_PART: Final = re.compile(r"(?P<low>\*|[0-9A-Z]+)(?:-(?P<high>[0-9A-Z]+))?(?:/(?P<step>[0-9]{1,4}))?")
_NTH: Final = re.compile(r"([0-9A-Z]+)#([1-5])")
_CACHED: Final = 4096


class CronError(ValueError):
    """It is no cron expression of AWS's."""


class _Field:
    """One field: its bounds, its names, and the way croniter counts it."""

    def __init__(self, low: int, high: int, names: dict[str, int] | None = None, *, shift: int = 0) -> None:
        self.low, self.high = low, high
        self._names = names or {}
        self._shift = shift

    def number(self, text: str) -> int:
        """Read one value, in AWS's counting."""
        value = self._names.get(text, -1) if not text.isdecimal() else int(text[:5])
        if not self.low <= value <= self.high:
            raise CronError(text)
        return value

    def translate(self, text: str) -> str:
        """Return the field for croniter."""
        return ",".join(self._part(part) for part in text.split(","))

    def _part(self, part: str) -> str:
        low, high, step = self.bounds(part)
        if low is None:
            return "*" if step is None else f"*/{step}"
        first = str(low + self._shift)
        if high is not None and high != low:
            first += f"-{high + self._shift}"
        if step is None:
            return first
        # croniter reads `5/20` as AWS does, but a range of one value not.
        return f"{first}/{step}" if high != low else first

    def bounds(self, part: str) -> tuple[int | None, int | None, int | None]:
        """Read `*`, `a`, `a-b`, each also with `/step`: its first value (None: `*`), last value and step."""
        match = _PART.fullmatch(part)
        if match is None or (match["low"] == "*" and match["high"] is not None):
            raise CronError(part)
        step = int(match["step"]) if match["step"] else None
        if step == 0:
            raise CronError(part)
        low = None if match["low"] == "*" else self.number(match["low"])
        return low, self.number(match["high"]) if match["high"] else None, step


_MINUTE, _HOUR, _MONTH = _Field(0, 59), _Field(0, 23), _Field(1, 12, _MONTHS)
_DAY, _WEEKDAY, _YEAR = _Field(1, 31), _Field(1, 7, _DAYS, shift=-1), _Field(YEAR_MIN, YEAR_MAX)


class Cron:
    """A cron expression on the wall clock of no zone in particular."""

    def __init__(self, text: str) -> None:
        """Read the part between the brackets of `cron(…)`.

        Raises:
            CronError: it is none of AWS's.
        """
        fields = text.upper().split()
        if len(fields) != 6:
            raise CronError(text)
        minute, hour, day, month, weekday, year = fields
        if (day == "?") == (weekday == "?"):
            raise CronError(text)
        self._years = _years(year)
        self._fields = " ".join(
            (
                _MINUTE.translate(minute),
                _HOUR.translate(hour),
                "*" if day == "?" else _days(day),
                _MONTH.translate(month),
                "*" if weekday == "?" else _weekdays(weekday),
            )
        )
        try:
            _iterator(self._fields, None)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise CronError(text) from error

    def after(self, moment: datetime) -> datetime | None:
        """The first time (whole minutes, no zone) behind `moment`; None where there is none until 2199."""
        while True:
            at = bisect_left(self._years, moment.year)
            if at == len(self._years):
                return None
            if self._years[at] > moment.year:
                moment = _before_year(self._years[at])
            try:
                moment = _iterator(self._fields, moment).get_next(datetime)
            except ValueError:
                return None  # such as 30 February
            if moment.year in self._years:
                return moment

    def before(self, moment: datetime) -> datetime | None:
        """The last time that is not behind `moment`; None where there is none since 1970."""
        moment = moment.replace(second=0, microsecond=0)
        if moment.year in self._years and _iterator(self._fields, moment).match(self._fields, moment):
            return moment
        while True:
            at = bisect_right(self._years, moment.year)
            if at == 0:
                return None
            if self._years[at - 1] < moment.year:
                moment = datetime(self._years[at - 1] + 1, 1, 1)
            try:
                moment = _iterator(self._fields, moment).get_prev(datetime)
            except ValueError:
                return None
            if moment.year in self._years:
                return moment


@lru_cache(maxsize=_CACHED)
def parse_cron(text: str) -> Cron:
    """Read an expression, once for all schedules that have it.

    Raises:
        CronError: it is none of AWS's.
    """
    return Cron(text)


def _iterator(fields: str, moment: datetime | None) -> Any:
    # Imported by the first cron expression: a start that has none would pay for it with a twentieth of a second.
    from croniter import croniter

    return croniter(fields, moment)


def _before_year(year: int) -> datetime:
    return datetime(year - 1, 12, 31, 23, 59, 59)


def _days(text: str) -> str:
    """Days of the month: also `L`, the last one, and `15W`, the weekday nearest to the 15th."""
    if text.endswith("W") and text[:-1].isdigit():
        return f"{_DAY.number(text[:-1])}W"
    return ",".join("L" if part == "L" else _DAY.translate(part) for part in text.split(","))


def _weekdays(text: str) -> str:
    """Days of the week: also `6L`, the last Friday of the month, `3#2`, the second Tuesday, and `L`, the last day."""
    parts = []
    for part in text.split(","):
        nth = _NTH.fullmatch(part)
        if nth is not None:
            parts.append(f"{_WEEKDAY.number(nth[1]) - 1}#{nth[2]}")
        elif part == "L":
            parts.append("6")
        elif part.endswith("L"):
            parts.append(f"L{_WEEKDAY.number(part[:-1]) - 1}")
        else:
            parts.append(_WEEKDAY.translate(part))
    return ",".join(parts)


def _years(text: str) -> list[int]:
    found: set[int] = set()
    for part in text.split(","):
        low, high, step = _YEAR.bounds(part)
        if low is not None and high is not None and high < low:
            raise CronError(text)
        last = (YEAR_MAX if low is None or step is not None else low) if high is None else high
        found.update(range(YEAR_MIN if low is None else low, last + 1, step or 1))
    return sorted(found)
