"""How many batches of a mapping may run at the same time, and how long a call is tried again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lambent_platform.core.polling import CONCURRENCY_MAX, FIRST, Pace, Seen, Span, next_pace, retry_in_s


@pytest.mark.parametrize(
    ("limit", "throttled_until_s", "seen", "elapsed_s", "most", "expected"),
    [
        (5, 0, Seen(backlog=True), 0.5, None, 7.5),
        (5, 0, Seen(backlog=True), 0.2, None, 6),
        (5, 0, Seen(backlog=True), 60, None, 10),
        (5, 0, Seen(backlog=True), 0.9, 7, 7),
        (998, 0, Seen(backlog=True), 0.9, None, CONCURRENCY_MAX),
        (5, 0, Seen(backlog=True), -1, None, 5),
        (30, 0, Seen(idle=True), 1, None, 25),
        (6, 0, Seen(idle=True), 1, None, FIRST),
        (1, 0, Seen(idle=True), 1, None, FIRST),
        (1, 0, Seen(idle=True), 0.2, None, 2),
        (1, 200, Seen(idle=True), 1, None, 1),
        (30, 0, Seen(), 1, None, 30),
        (30, 0, Seen(ended=3), 1, None, 30),
        (30, 0, Seen(throttled=True), 0, None, 15),
        (1, 0, Seen(throttled=True), 0, None, 1),
        (30, 200, Seen(throttled=True), 0, None, 30),
        (30, 200, Seen(backlog=True), 1, None, 30),
        (10, 0, Seen(failed=True), 0, None, 8),
        (2, 0, Seen(failed=True), 0, None, 2),
        (1, 0, Seen(failed=True), 0, None, 1),
        (30, 0, Seen(throttled=True, failed=True), 0, None, 15),
    ],
)
def test_limits(
    limit: float, throttled_until_s: float, seen: Seen, elapsed_s: float, most: int | None, expected: float
) -> None:
    """A backlog adds five a second, its absence takes as many, throttles halve, failures take a fifth."""
    pace = Pace(
        limit=limit,
        looked_at_s=100.0,
        throttled_until_s=throttled_until_s,
        span=Span(100.0, limit),
        growing=True,
    )
    assert next_pace(pace, seen, now_s=100.0 + elapsed_s, concurrency_max=most).limit == pytest.approx(expected)


def test_throttles_that_come_together_count_once() -> None:
    """Ten batches that are throttled at the same time halve the limit once, and it grows again after a while."""
    pace = Pace(limit=32, looked_at_s=100.0, growing=True)
    for _ in range(10):
        pace = next_pace(pace, Seen(throttled=True), now_s=100.1)
    assert pace.limit == 16
    pace = next_pace(pace, Seen(backlog=True), now_s=101.0)
    assert pace.limit == 16
    assert run(pace, per_s=lambda limit: limit, from_s=102.2, for_s=3).limit > 16


def run(pace: Pace, *, per_s: Callable[[float], float], from_s: float, for_s: float) -> Pace:
    """Look ten times a second at a lasting backlog, of which `per_s(limit)` batches end each second."""
    owed = 0.0
    for n in range(int(for_s * 10)):
        now_s = from_s + n / 10
        owed += per_s(pace.limit) / 10
        pace = next_pace(pace, Seen(ended=int(owed)), now_s=now_s)
        owed -= int(owed)
        pace = next_pace(pace, Seen(backlog=True), now_s=now_s)
    return pace


@pytest.mark.parametrize(
    ("per_s", "low", "high"),
    [
        (lambda limit: limit / 10, 95, 105),
        (lambda limit: limit * 20, 95, 105),
        (lambda _: 500.0, 5, 17),
        (lambda limit: min(limit, 40) * 10, 35, 62),
    ],
    ids=["long calls", "short calls", "no more cores", "up to forty"],
)
def test_growth_is_judged_by_what_it_brings(per_s: Callable[[float], float], low: float, high: float) -> None:
    """Twenty seconds of backlog lead to where more batches at the same time end no more of them."""
    pace = run(Pace(looked_at_s=100.0), per_s=per_s, from_s=100.0, for_s=20)
    assert low <= pace.limit <= high


@pytest.mark.parametrize(
    ("limit", "most", "expected"), [(5, None, 5), (5.9, None, 5), (5, 2, 2), (0.5, None, 1), (50, 1000, 50)]
)
def test_allowed(limit: float, most: int | None, expected: int) -> None:
    """Whole batches, at least one, and no more than the mapping allows."""
    assert Pace(limit=limit).allowed(most) == expected


@pytest.mark.parametrize(
    ("attempt", "left_s", "expected"), [(1, 30, 0.1), (3, 30, 0.5), (99, 30, 5.0), (99, 5.5, None), (1, 0.5, None)]
)
def test_retries_end_before_messages_come_back(attempt: int, left_s: float, expected: float | None) -> None:
    """The pause grows, and there is none where messages would be visible again before the call could end."""
    assert retry_in_s(attempt, left_s=left_s, call_s=1.0) == expected
