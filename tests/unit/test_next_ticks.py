"""When a schedule or rule is due next, as its page says it."""

from __future__ import annotations

from typing import Any

import pytest

from lambent_platform.contracts.schedules import SourceRecord
from lambent_platform.gateway.next_ticks import next_ticks

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_774_656_000_000
"""2026-03-28T00:00:00Z, the day before Berlin's clocks go ahead."""


@pytest.mark.parametrize(
    ("kind", "data", "next_ms", "expected"),
    [
        ("schedule", {"ScheduleExpression": "rate(1 day)"}, START_MS, [START_MS + n * DAY_MS for n in range(5)]),
        (
            "schedule",
            {"ScheduleExpression": "cron(0 12 * * ? *)", "ScheduleExpressionTimezone": "Europe/Berlin"},
            START_MS + 11 * HOUR_MS,
            [START_MS + hours * HOUR_MS for hours in (11, 34, 58, 82, 106)],
        ),
        ("schedule", {"ScheduleExpression": "at(2026-03-28T00:00:00)"}, START_MS, [START_MS]),
        (
            "schedule",
            {"ScheduleExpression": "rate(1 day)", "EndDate": (START_MS + DAY_MS) / 1000},
            START_MS,
            [START_MS, START_MS + DAY_MS],
        ),
        ("schedule", {"ScheduleExpression": "rate(1 day)"}, None, []),
        ("schedule", {"ScheduleExpression": "rate(1 day)", "State": "DISABLED"}, START_MS, []),
        ("rule", {"ScheduleExpression": "rate(1 hour)"}, START_MS, [START_MS + n * HOUR_MS for n in range(5)]),
        ("rule", {"EventPattern": "{}"}, None, []),
    ],
)
def test_ticks_follow_the_one_that_is_kept(
    kind: str, data: dict[str, Any], next_ms: int | None, expected: list[int]
) -> None:
    """Daylight saving counted; none behind the end, where it is disabled, or where nothing ticks."""
    record = SourceRecord(id=f"{kind}/000000000000:us-east-1:x", data={"AnchorMs": START_MS, **data}, next_ms=next_ms)
    assert next_ticks(record) == expected
