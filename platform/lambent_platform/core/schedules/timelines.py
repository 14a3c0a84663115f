"""The timeline of a stored schedule or rule, and the tick it begins with."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

from lambent_platform.contracts.schedules import SourceRecord
from lambent_platform.core.schedules.expression import At, Rate, parse_rule, parse_schedule
from lambent_platform.core.schedules.timeline import Timeline, find_zone

JUST_PAST_MS: Final = 60_000
"""A one-time schedule is fired if it is made within the minute that it names: AWS promises no more than the minute."""
_TICKING: Final = (
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "StartDate",
    "EndDate",
    "State",
    "AnchorMs",
)
"""Members that ticks depend on."""
_UTC: Final = ZoneInfo("UTC")


def timeline_of(record: SourceRecord) -> Timeline | None:
    """Return the ticks of a schedule or rule; None for a rule without a schedule.

    Raises:
        ExpressionError, ZoneError: its expression or zone is none.
    """
    data = record.data
    text = data.get("ScheduleExpression")
    if not text:
        return None
    if record.kind == "rule":
        rule = parse_rule(text)
        # A rule's rate begins one period after the rule does.
        first_ms = data["AnchorMs"] + rule.period_ms if isinstance(rule, Rate) else data["AnchorMs"]
        return Timeline(rule, _UTC, first_ms)
    start_ms, end_ms = (round(data[name] * 1000) if name in data else None for name in ("StartDate", "EndDate"))
    return Timeline(
        parse_schedule(text),
        find_zone(data.get("ScheduleExpressionTimezone", "UTC")),
        data["AnchorMs"] if start_ms is None else start_ms,
        start_ms,
        end_ms,
    )


def first_tick(record: SourceRecord, *, now_ms: int, fresh: bool = True) -> int | None:
    """The tick that a schedule begins with when it is written; None where it is disabled or has none any more.

    Ticks before now are not caught up with: they belong to what was written before. `fresh` says that its expression
    is new.
    """
    line = timeline_of(record)
    if line is None or not record.enabled:
        return None
    return line.after(now_ms - JUST_PAST_MS if fresh and isinstance(line.expression, At) else now_ms - 1)


def ticks_on(before: SourceRecord, after: SourceRecord) -> bool:
    """Whether a schedule that is changed goes on ticking as it did: a tick that is due just now must not get lost."""
    return all(before.data.get(name) == after.data.get(name) for name in _TICKING)
