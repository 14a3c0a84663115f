"""Schedule expressions: `rate(5 minutes)`, `cron(0 8 ? * MON-FRI *)`, `at(2027-03-28T02:30:00)`.

Source: EventBridge Scheduler User Guide, "Schedule types"; EventBridge User Guide, "Rate expressions".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lambent_platform.core.schedules.cron import YEAR_MAX, YEAR_MIN, Cron, CronError, parse_cron

_RATE: Final = re.compile(r"rate\((\d{1,9}) (minute|hour|day)(s?)\)", re.ASCII)
_AT: Final = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", re.ASCII)
_CRON: Final = re.compile(r"cron\(([ -\x27*-~\t]{1,250})\)")
_UNIT_MS: Final = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


class ExpressionError(ValueError):
    """It is no schedule expression."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A fixed time apart, on the clock of no zone: a day is always 24 hours."""

    period_ms: int


@dataclass(frozen=True, slots=True)
class At:
    """Once, at a time on the wall clock of the schedule's zone."""

    local: datetime


Expression = Rate | At | Cron


def parse_schedule(text: str) -> Expression:
    """Read an expression of EventBridge Scheduler.

    Raises:
        ExpressionError: it is none.
    """
    match = _AT.fullmatch(text)
    if match is not None:
        try:
            local = datetime.fromisoformat(match[1])
        except ValueError as error:
            raise ExpressionError(text) from error
        # The years that cron expressions may have; at the ends of the calendar no zone could be reckoned with.
        if not YEAR_MIN <= local.year <= YEAR_MAX:
            raise ExpressionError(text)
        return At(local)
    rate = _RATE.fullmatch(text)
    return _rate(rate) if rate is not None else _cron(text)


def parse_rule(text: str) -> Rate | Cron:
    """Read an expression of a rule: no `at`, and the unit's number must agree (`rate(1 hour)`, `rate(2 hours)`).

    Raises:
        ExpressionError: it is none.
    """
    rate = _RATE.fullmatch(text)
    if rate is None:
        return _cron(text)
    if (int(rate[1]) == 1) == bool(rate[3]):
        raise ExpressionError(text)
    return _rate(rate)


def _rate(match: re.Match[str]) -> Rate:
    count = int(match[1])
    if count == 0:
        raise ExpressionError(match[0])
    return Rate(count * _UNIT_MS[match[2]])


def _cron(text: str) -> Cron:
    match = _CRON.fullmatch(text)
    if match is None:
        raise ExpressionError(text)
    try:
        return parse_cron(match[1])
    except CronError as error:
        raise ExpressionError(text) from error
