"""When schedules tick: AWS's expressions, daylight saving in both directions, and what is fired late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent_platform.core.schedules.expression import ExpressionError, Rate, parse_rule, parse_schedule
from lambent_platform.core.schedules.timeline import PASSED_MAX, Timeline, ZoneError, due_ticks, find_zone, spread_ms

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def ms(text: str) -> int:
    """A moment in UTC as ms since the epoch."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def text_of(moment_ms: int) -> str:
    """The moment in UTC, to the minute where it is one."""
    shown = datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return shown.removesuffix(":00") if shown.endswith(":00") else shown


def timeline(expression: str, zone: str = "UTC", anchor: str = "2026-01-01", **more: str) -> Timeline:
    """A timeline as a schedule has it."""
    return Timeline(
        parse_schedule(expression), find_zone(zone), ms(anchor), **{f"{name}_ms": ms(at) for name, at in more.items()}
    )


def ticks(line: Timeline, after: str, count: int) -> list[str]:
    """The first ticks behind a moment."""
    found: list[str] = []
    moment: int | None = ms(after)
    while len(found) < count and (moment := line.after(moment)) is not None:
        found.append(text_of(moment))
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("15 10 * * ? *", ["2026-11-26T10:15", "2026-11-27T10:15"]),
        ("0 18 ? * MON-FRI *", ["2026-11-25T18:00", "2026-11-26T18:00", "2026-11-27T18:00", "2026-11-30T18:00"]),
        ("0 8 1 * ? *", ["2026-12-01T08:00", "2027-01-01T08:00"]),
        ("0/15 * * * ? *", ["2026-11-25T16:15", "2026-11-25T16:30"]),
        ("5/20 16 * * ? *", ["2026-11-25T16:05", "2026-11-25T16:25", "2026-11-25T16:45", "2026-11-26T16:05"]),
        ("0/5 8-17 ? * 2-6 *", ["2026-11-25T16:05", "2026-11-25T16:10"]),
        ("0 12 ? * 1/2 *", ["2026-11-26T12:00", "2026-11-28T12:00", "2026-11-29T12:00", "2026-12-01T12:00"]),
        ("0-15/1 8-8 ? * 2,3,4,5,6,7 *", ["2026-11-26T08:00", "2026-11-26T08:01"]),
        ("30-30 13-13 ? * 2,4,6 *", ["2026-11-27T13:30", "2026-11-30T13:30", "2026-12-02T13:30"]),
        ("0 12 ? * 1 *", ["2026-11-29T12:00", "2026-12-06T12:00"]),
        ("0 12 ? * 7 *", ["2026-11-28T12:00", "2026-12-05T12:00"]),
        ("0 12 ? * SAT-MON *", ["2026-11-28T12:00", "2026-11-29T12:00", "2026-11-30T12:00", "2026-12-05T12:00"]),
        ("0 12 ? * 2/2 *", ["2026-11-25T12:00+", "2026-11-27T12:00", "2026-11-30T12:00"]),
        ("0 12 ? * L *", ["2026-11-28T12:00", "2026-12-05T12:00"]),
        ("0 12 ? * 6L *", ["2026-11-27T12:00", "2026-12-25T12:00", "2027-01-29T12:00"]),
        ("0 12 ? * FRIL *", ["2026-11-27T12:00", "2026-12-25T12:00"]),
        ("0 12 ? * 3#2 *", ["2026-12-08T12:00", "2027-01-12T12:00"]),
        ("0 12 ? * TUE#2 *", ["2026-12-08T12:00", "2027-01-12T12:00"]),
        ("0 12 ? * 2#5 *", ["2026-11-30T12:00", "2027-03-29T12:00"]),
        ("0 12 L * ? *", ["2026-11-30T12:00", "2026-12-31T12:00", "2027-01-31T12:00", "2027-02-28T12:00"]),
        ("0 12 15,L * ? *", ["2026-11-30T12:00", "2026-12-15T12:00", "2026-12-31T12:00"]),
        ("0 12 3W * ? *", ["2026-12-03T12:00", "2027-01-04T12:00", "2027-02-03T12:00"]),
        ("0 12 1W * ? *", ["2026-12-01T12:00", "2027-01-01T12:00", "2027-02-01T12:00"]),
        ("0 12 1W 8 ? *", ["2027-08-02T12:00", "2028-08-01T12:00"]),
        ("0 0 29 2 ? *", ["2028-02-29", "2032-02-29"]),
        ("0 0 29 2 ? 2026-2040/1", ["2028-02-29", "2032-02-29", "2036-02-29", "2040-02-29"]),
        ("0 0 L 2 ? *", ["2027-02-28", "2028-02-29"]),
        ("0 0 30 2 ? *", []),
        ("0 0 1 JAN-MAR ? *", ["2027-01-01", "2027-02-01", "2027-03-01", "2028-01-01"]),
        ("0 0 1 1 ? 2027,2199", ["2027-01-01", "2199-01-01"]),
        ("0 0 1 1 ? 2020/4", ["2028-01-01", "2032-01-01"]),
        ("0 0 1 1 ? 2020", []),
        ("59 23 31 12 ? 2199", ["2199-12-31T23:59"]),
        ("0 0 1 */3 ? *", ["2027-01-01", "2027-04-01"]),
        ("0 0 ? * sun *", ["2026-11-29", "2026-12-06"]),
        ("50-10 16 * * ? *", ["2026-11-25T16:01", "2026-11-25T16:02"]),
    ],
)
def test_cron_ticks(fields: str, expected: list[str]) -> None:
    """Each of AWS's wildcards picks the days and times that its documentation says, from Wednesday 25 November 2026."""
    wanted = [at if "T" in at else f"{at}T00:00" for at in expected if not at.endswith("+")]
    found = ticks(timeline(f"cron({fields})"), "2026-11-25T16:00", max(len(wanted), 1))
    assert found == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "cron()", "cron(* * * * *)", "cron(* * * * ? * *)", "cron(* * * * * *)", "cron(* * ? * ? *)",
        "cron(60 * * * ? *)", "cron(* 24 * * ? *)", "cron(* * 0 * ? *)", "cron(* * 32 * ? *)", "cron(* * * 13 ? *)",
        "cron(* * ? * 0 *)", "cron(* * ? * 8 *)", "cron(* * * * ? 1969)", "cron(* * * * ? 2200)", "cron(*/0 * * * ? *)",
        "cron(? * * * ? *)", "cron(* L * * ? *)", "cron(* * ? * 3#6 *)", "cron(* * ? * MON,3#2 *)",
        "cron(* * 1W,2W * ? *)",
        "cron(* * ? * MOO *)", "cron(@daily)", "cron(H * * * ? *)", "cron(R * * * ? *)", "cron(1-2-3 * * * ? *)",
        "cron(1,,2 * * * ? *)", "cron(*-5 * * * ? *)", "cron(* * LW * ? *)", "cron(* * L-3 * ? *)", "CRON(* * * * ? *)",
        "rate(0 minutes)", "rate(-1 minutes)", "rate(1.5 hours)", "rate(5 seconds)", "rate(5minutes)", "rate(5 weeks)",
        "at(2026-13-01T00:00:00)", "at(2026-11-25)", "at(2026-11-25T16:00:00Z)", "at(2026-02-29T00:00:00)", "every day",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    """What AWS's syntax does not have is refused, also where a cron of another kind has it."""
    with pytest.raises(ExpressionError):
        parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("rate(1 minute)", True), ("rate(1 minutes)", False), ("rate(2 hours)", True), ("rate(2 hour)", False),
        ("rate(1 day)", True), ("cron(0 12 * * ? *)", True), ("at(2026-11-25T16:00:00)", False),
    ],
)  # fmt: skip
def test_rules_are_stricter(text: str, ok: bool) -> None:
    """A rule's rate agrees with its number, and a rule never fires just once."""
    if ok:
        parse_rule(text)
    else:
        with pytest.raises(ExpressionError):
            parse_rule(text)


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # Berlin, 28 March 2027: 02:00 becomes 03:00. 02:30 does not exist and is left out.
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2027-03-26T12:00", ["2027-03-27T01:30", "2027-03-29T00:30"]),
        ("cron(0 * * * ? *)", "Europe/Berlin", "2027-03-27T23:30", ["2027-03-28T00:00", "2027-03-28T01:00"]),
        ("cron(0/30 1-3 28 3 ? *)", "Europe/Berlin", "2027-03-27T12:00",
         ["2027-03-28T00:00", "2027-03-28T00:30", "2027-03-28T01:00", "2027-03-28T01:30", "2028-03-28T00:00"][:4]),
        # 31 October 2027: 03:00 becomes 02:00. 02:30 comes twice and is fired once, the first time.
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2027-10-30T12:00", ["2027-10-31T00:30", "2027-11-01T01:30"]),
        ("cron(0 * * * ? *)", "Europe/Berlin", "2027-10-30T23:30",
         ["2027-10-31T00:00", "2027-10-31T02:00", "2027-10-31T03:00"]),
        ("cron(0/30 2 31 10 ? 2027)", "Europe/Berlin", "2027-10-30T12:00", ["2027-10-31T00:00", "2027-10-31T00:30"]),
        # New York, 14 March and 7 November 2027.
        ("cron(30 2 * * ? *)", "America/New_York", "2027-03-13T12:00", ["2027-03-15T06:30"]),
        ("cron(30 1 * * ? *)", "America/New_York", "2027-11-06T12:00", ["2027-11-07T05:30", "2027-11-08T06:30"]),
        # Half an hour, in the south: Lord Howe, 4 April 2027 and 3 October 2027.
        ("cron(45 1 * * ? *)", "Australia/Lord_Howe", "2027-04-03T00:00", ["2027-04-03T14:45", "2027-04-04T15:15"]),
        ("cron(15 2 * * ? *)", "Australia/Lord_Howe", "2027-10-02T00:00", ["2027-10-03T15:15"]),
        # Samoa had no 30 December 2011.
        ("cron(0 12 * 12 ? 2011)", "Pacific/Apia", "2011-12-28T12:00",
         ["2011-12-28T22:00", "2011-12-29T22:00", "2011-12-30T22:00"]),
        # A rate knows no zone.
        ("rate(1 day)", "Europe/Berlin", "2027-03-27T12:00", ["2027-03-28T00:00", "2027-03-29T00:00"]),
    ],
)  # fmt: skip
def test_daylight_saving(expression: str, zone: str, after: str, expected: list[str]) -> None:
    """A time that is skipped is not fired, one that comes twice is fired once, a day of a rate is 24 hours."""
    found = ticks(timeline(expression, zone), after, len(expected))
    if zone == "Pacific/Apia":
        assert found[:1] == expected[:1]
        assert "2011-12-30T22:00" in found  # 31 December, 12:00, the day after the 29th
        return
    assert found == expected


def test_one_time() -> None:
    """`at` is one tick in its zone; within a gap it is the moment as if the clock had not changed yet."""
    assert ticks(timeline("at(2027-07-01T08:00:30)", "Europe/Berlin"), "2026-01-01", 3) == ["2027-07-01T06:00:30"]
    assert ticks(timeline("at(2027-03-28T02:30:00)", "Europe/Berlin"), "2026-01-01", 3) == ["2027-03-28T01:30"]
    assert ticks(timeline("at(2027-07-01T08:00:30)"), "2027-07-01T08:00:30", 1) == []
    bounded = timeline("at(2027-07-01T08:00:00)", start="2028-01-01", end="2026-01-01")
    assert ticks(bounded, "2026-01-01", 1) == ["2027-07-01T08:00"]


def test_start_and_end() -> None:
    """Start and end bound recurring ticks, both included; a rate begins with its anchor."""
    line = timeline("cron(0 12 * * ? *)", start="2026-12-01T12:00", end="2026-12-03T12:00")
    assert ticks(line, "2026-01-01", 9) == ["2026-12-01T12:00", "2026-12-02T12:00", "2026-12-03T12:00"]
    line = timeline("rate(36 hours)", anchor="2026-12-01T12:00", start="2026-12-01T12:00", end="2026-12-05")
    assert ticks(line, "2026-01-01", 9) == ["2026-12-01T12:00", "2026-12-03T00:00", "2026-12-04T12:00"]


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "Europe", "Europe/Berlin\0"])
def test_zones_that_are_none(name: str) -> None:
    """What the IANA database does not have is no zone, whatever it would be as a path."""
    with pytest.raises(ZoneError):
        find_zone(name)


CRONS = [
    "0/7 1-4 * * ? *",
    "30 2 ? * 1 *",
    "15,45 * L * ? *",
    "0 0 1W * ? *",
    "5 0/6 ? 3,10 SUN#4 *",
    "* 2 28 3 ? 2027",
    "0 3 ? * 7L *",
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Africa/Cairo"]


@settings(max_examples=30, deadline=None)
@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(ZONES),
    begin=st.sampled_from(
        ["2027-03-13", "2027-03-27", "2027-10-30", "2027-11-06", "2027-04-03", "2027-10-02", "2028-02-28"]
    ),
    minutes=st.integers(0, 1440),
    span=st.integers(1, 2000),
)
def test_ticks_are_those_of_a_walk_minute_by_minute(cron: str, zone: str, begin: str, minutes: int, span: int) -> None:
    """Walking minute by minute over the moments finds the same ticks, forwards, and the same last one backwards."""
    line, tz = timeline(f"cron({cron})", zone), ZoneInfo(zone)
    first = ms(begin) + minutes * MINUTE
    last = first + span * MINUTE
    day = timeline(f"cron({cron})")  # the same expression on a clock that never changes
    walked = []
    for moment in range(first + MINUTE, last + 1, MINUTE):
        local = datetime.fromtimestamp(moment / 1000, tz)
        wall = round(local.replace(tzinfo=UTC, fold=0).timestamp() * 1000)
        if local.fold == 0 and day.after(wall - 1) == wall:
            walked.append(moment)
    found, at = [], line.after(first)
    while at is not None and at <= last:
        found.append(at)
        at = line.after(at)
    assert found == walked
    if walked:
        assert line.latest(walked[0], last) == walked[-1]


def test_a_moved_clock_passes_through_every_tick() -> None:
    """24 hours in one move are 24 ticks of an hourly rate, in order; the next one is yet to come."""
    line = Timeline(Rate(HOUR), ZoneInfo("UTC"), 0)
    now = 24 * HOUR + 5
    due = due_ticks(line, HOUR, now_ms=now, moves=[(3, now - 1)])
    assert due.fire_ms == tuple(hour * HOUR for hour in range(1, 25))
    assert (due.next_ms, due.missed_since_ms, due.passed) == (25 * HOUR, None, 0)


def test_missed_ticks_are_taken_together() -> None:
    """Of the ticks that were missed while nobody was there, the newest is fired, and it is said since when."""
    line = Timeline(Rate(HOUR), ZoneInfo("UTC"), 0)
    due = due_ticks(line, HOUR, now_ms=24 * HOUR + 5)
    assert due.fire_ms == (24 * HOUR,)
    assert (due.next_ms, due.missed_since_ms) == (25 * HOUR, HOUR)
    only = due_ticks(line, HOUR, now_ms=HOUR + 700)
    assert (only.fire_ms, only.missed_since_ms) == ((HOUR,), None)


def test_down_then_moved_then_down() -> None:
    """Ticks before a move and behind it are taken together each for itself, those inside it are each fired."""
    line = Timeline(Rate(HOUR), ZoneInfo("UTC"), 0)
    moves = [(5 * HOUR + 1, 8 * HOUR + 1)]
    fired: list[tuple[int, ...]] = []
    tick: int | None = HOUR
    while tick is not None and tick <= 12 * HOUR + 1:
        due = due_ticks(line, tick, now_ms=12 * HOUR + 1, moves=moves)
        fired.append(tuple(at // HOUR for at in due.fire_ms))
        tick = due.next_ms
    assert fired == [(5,), (6, 7, 8), (12,)]


def test_a_move_is_passed_through_in_batches_and_within_a_bound() -> None:
    """A move over years of minutes is fired in batches; behind the bound the rest of it is taken together."""
    line = Timeline(Rate(MINUTE), ZoneInfo("UTC"), 0)
    now = 400 * DAY
    passed, fired, tick, rounds = 0, 0, MINUTE, 0
    while tick is not None and tick <= now:
        due = due_ticks(line, tick, now_ms=now, moves=[(0, now)], passed=passed)
        assert len(due.fire_ms) <= 50
        fired, passed, tick, rounds = fired + len(due.fire_ms), due.passed, due.next_ms, rounds + 1
        assert rounds < 1000
    assert fired == PASSED_MAX + 1
    assert (due.fire_ms, due.missed_since_ms, due.passed) == ((now,), (PASSED_MAX + 1) * MINUTE, 0)


def test_the_last_tick_has_none_behind_it() -> None:
    """A one-time schedule, and one past its end, fire and are over."""
    due = due_ticks(timeline("at(2027-01-01T00:00:00)"), ms("2027-01-01"), now_ms=ms("2027-02-01"))
    assert (due.fire_ms, due.next_ms, due.missed_since_ms) == ((ms("2027-01-01"),), None, None)
    ended = timeline("rate(1 hour)", anchor="2027-01-01", end="2027-01-01T05:30")
    due = due_ticks(ended, ms("2027-01-01T02:00"), now_ms=ms("2027-02-01"))
    assert (due.fire_ms, due.next_ms) == ((ms("2027-01-01T05:00"),), None)


def test_a_flexible_window_is_spread_evenly() -> None:
    """Offsets lie inside the window, are the same for the same seed, and use all of it."""
    offsets = [spread_ms(seed * 7_919_777, 15) for seed in range(2000)]
    assert all(0 <= offset < 15 * MINUTE for offset in offsets)
    assert offsets == [spread_ms(seed * 7_919_777, 15) for seed in range(2000)]
    per_minute = [sum(offset // MINUTE == minute for offset in offsets) for minute in range(15)]
    assert min(per_minute) > 80
    assert spread_ms(12345, 0) == 0
    assert timedelta(milliseconds=max(offsets)) > timedelta(minutes=14)


@pytest.mark.parametrize(
    "text",
    [
        "cron(0 9 ²W * ? *)",
        "cron(0 9 ? * ²L *)",
        "cron(0 9 ² * ? *)",
        "rate(٣ minutes)",
        "at(0001-01-01T00:00:00)",
        "at(9999-12-31T23:59:59)",
        "at(1969-12-31T23:59:59)",
        "at(2200-01-01T00:00:00)",
    ],
)
def test_other_digits_and_other_centuries(text: str) -> None:
    """Digits of other scripts and years at the ends of the calendar are no expression."""
    with pytest.raises(ExpressionError):
        parse_schedule(text)
    with pytest.raises(ExpressionError):
        parse_rule(text)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_a_start_at_the_end_of_the_calendar(zone: str) -> None:
    """A schedule that starts when nothing can be reckoned any more has no tick."""
    assert timeline("cron(0 9 * * ? *)", zone, start="9999-12-31T23:59:59").after(ms("2026-01-01")) is None


def test_once_at_a_time_that_is_skipped() -> None:
    """It is not lost: it comes as much later as the clocks went forward."""
    line = timeline("at(2027-03-28T02:30:00)", "Europe/Berlin")
    assert ticks(line, "2027-03-01", 2) == ["2027-03-28T01:30"]
