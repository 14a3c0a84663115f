"""Windows from histories: what functions of known habits get."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.core.idle_history import BINS, EDGES_S, HISTORY_MAX, Habits, Window, best_window, bin_of, observed

WORTH_S = 1800.0


def history(*idle_s: float, times: int = 50) -> tuple[int, ...]:
    """A history of these idle times, each so many times."""
    counts: tuple[int, ...] = ()
    for one in itertools.chain.from_iterable(itertools.repeat(idle_s, times)):
        counts = observed(counts, one)
    return counts


def window(counts: tuple[int, ...]) -> Window:
    """The window of a history."""
    return best_window(counts, cold_start_worth_s=WORTH_S)


@pytest.mark.parametrize("period_s", [300.0, 900.0, 3600.0, 7200.0])
def test_a_timer_is_expected(period_s: float) -> None:
    """A function with a fixed period is gone for most of it, and there again when it is called."""
    found = window(history(period_s))
    assert found.holds(period_s)
    assert found.from_s > period_s / 2
    assert found.resident_s(period_s) < period_s / 2


def test_a_short_period_is_bridged() -> None:
    """Between calls a minute apart a function stays."""
    found = window(history(60.0))
    assert found.from_s < 60 <= found.until_s


def test_a_rare_call_is_not_waited_for() -> None:
    """A function that is called at any time of several hours is not kept at all, or hardly."""
    chance = random.Random(7)
    found = window(history(*(chance.uniform(7_200, 86_400) for _ in range(40)), times=2))
    assert found.resident_s(86_400) < 900


def test_random_calls_are_waited_for_from_the_call_on() -> None:
    """A function that is called every few minutes at random is kept from its call on, and longer than their mean."""
    chance = random.Random(7)
    found = window(history(*(chance.expovariate(1 / 300) for _ in range(200)), times=1))
    assert found.from_s < 5
    assert 600 < found.until_s < 3600


def test_nothing_known_is_kept_for_a_while() -> None:
    """A function without a history is kept for some minutes after a call."""
    found = window(())
    assert found.from_s == 0
    assert 60 < found.until_s < 3600


def test_a_dearer_cold_start_keeps_longer() -> None:
    """The more a cold start costs, the longer an environment is kept for the same habits."""
    chance = random.Random(7)
    counts = history(*(chance.expovariate(1 / 900) for _ in range(200)), times=1)
    kept = [best_window(counts, cold_start_worth_s=worth).until_s for worth in (60, 600, 3_600)]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1]


def test_old_habits_are_forgotten() -> None:
    """After a change of habits the window follows, however long the old ones lasted."""
    counts = history(10.0, times=HISTORY_MAX)
    for _ in range(HISTORY_MAX):
        counts = observed(counts, 900.0)
    assert window(counts).holds(900.0)
    assert sum(counts) <= HISTORY_MAX


@given(st.floats(0, 1e7))
def test_every_idle_time_has_its_bin(idle_s: float) -> None:
    """An idle time is counted where it belongs."""
    at = bin_of(idle_s)
    assert EDGES_S[at] <= idle_s
    assert at == BINS - 1 or idle_s < EDGES_S[at + 1]


@given(st.lists(st.integers(0, 1000), min_size=BINS, max_size=BINS))
def test_no_window_costs_less(counts: list[int]) -> None:
    """The window is at least as cheap as keeping nothing and as any fixed time."""

    def cost(one: Window) -> float:
        mids = [(a + b) / 2 for a, b in itertools.pairwise(EDGES_S)]
        weights = [count + 1 / BINS for count in counts]
        hit = sum(w for w, mid in zip(weights, mids, strict=False) if one.from_s <= mid < one.until_s)
        kept = sum(w * one.resident_s(mid) for w, mid in zip(weights, [*mids, 1e9], strict=True))
        return sum(weights) - hit + kept / WORTH_S

    found = cost(best_window(counts, cold_start_worth_s=WORTH_S))
    assert found <= cost(Window(0.0, 0.0)) + 1e-6
    for until_s in EDGES_S[1:]:
        assert found <= cost(Window(0.0, until_s)) + 1e-6


@pytest.mark.parametrize(
    ("window", "idle_s", "held", "resident_s"),
    [
        (Window(0, 300), 299, True, 299),
        (Window(0, 300), 301, False, 300),
        (Window(0, 0), 0, False, 0),
        (Window(0, 0, 10), 9, True, 9),
        (Window(0, 5, 10), 20, False, 10),
        (Window(600, 900, 10), 9, True, 9),
        (Window(600, 900, 10), 300, False, 10),
        (Window(600, 900, 10), 700, True, 110),
        (Window(600, 900, 10), 5000, False, 310),
    ],
)
def test_what_a_window_holds_and_costs(window: Window, idle_s: float, held: bool, resident_s: float) -> None:
    """A window that begins late holds what lingers and what comes in it, and costs both."""
    assert (window.holds(idle_s), window.resident_s(idle_s)) == (held, resident_s)


@pytest.mark.parametrize("period_s", [5.0, 40.0, 900.0])
def test_no_gap_is_shorter_than_what_it_costs(period_s: float) -> None:
    """An environment is not ended for less than the least gap, but kept from the call on; for more it is."""
    found = best_window(history(period_s), cold_start_worth_s=WORTH_S, gap_min_s=60, linger_s=10)
    assert found.holds(period_s)
    assert (found.from_s > 0) == (period_s > 60)
    assert found.from_s == 0 or found.from_s >= 60


def test_lingering_is_counted() -> None:
    """Calls that come while an environment lingers do not make it stay longer."""
    found = best_window(history(2.0), cold_start_worth_s=10, linger_s=10)
    assert found.first_end_s == 10
    assert 2 < best_window(history(2.0), cold_start_worth_s=10).until_s < 5


def test_how_often_a_function_returns() -> None:
    """The rate of returns is one over the mean idle time, as well as bins can tell; of nothing known it is 0."""
    assert Habits().returns_per_s == 0
    assert 1 / 700 < Habits(counts=history(600.0)).returns_per_s < 1 / 500
    assert Habits(counts=history(600.0, 10.0)).observations == 100
