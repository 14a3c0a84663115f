"""Which idle environments end where memory is full."""

from __future__ import annotations

import pytest

from lambent_platform.core.capacity import WorkerLoad
from lambent_platform.core.eviction import Idle, choose_victims, prioritized
from lambent_platform.core.idle_history import BINS, Habits, bin_of
from workers import worker


@pytest.mark.parametrize(
    ("workers", "idle", "victims"),
    [
        # The longest idle one is enough.
        ([worker("a", used_mb=1024)], [Idle("1", "a", 512, 5), Idle("2", "a", 512, 3)], ["2"]),
        # Two are needed, and both are there.
        ([worker("a", used_mb=1024)], [Idle("1", "a", 128, 5), Idle("2", "a", 128, 3)], ["2", "1"]),
        # Even both would not do.
        ([worker("a", used_mb=1024)], [Idle("1", "a", 100, 5), Idle("2", "a", 100, 3)], []),
        # One on another worker is less than two here.
        (
            [worker("a", used_mb=1024), worker("b", used_mb=1000)],
            [Idle("1", "a", 128, 1), Idle("2", "a", 128, 1), Idle("3", "b", 256, 9)],
            ["3"],
        ),
        # A worker that cannot run it is left alone.
        ([worker("a", used_mb=1024, pool="other")], [Idle("1", "a", 1024, 5)], []),
        ([], [], []),
    ],
)
def test_choose_victims(workers: list[WorkerLoad], idle: list[Idle], victims: list[str]) -> None:
    """Room is made by as few environments as possible, the longest idle first."""
    chosen = choose_victims(workers, idle, memory_mb=256, runtime="python3.13", pool="default", architecture="x86_64")
    assert [one.id for one in chosen] == victims


def habits(idle_s: float, init_s: float | None = 0.25) -> Habits:
    """A function that comes back after such pauses."""
    return Habits(counts=tuple(20 * (at == bin_of(idle_s)) for at in range(BINS)), init_s=init_s)


def order(idle: list[Idle], known: dict[str, Habits], advances: list[tuple[int, float]] | None = None) -> str:
    """The order in which environments end."""
    return "".join(one.id for one in sorted(prioritized(idle, known, advances or []), key=lambda one: one.rank))


def env(name: str, since_ms: int, *, memory_mb: int = 128, target: str = "") -> Idle:
    """An idle environment of the function that is called like it, or of `target`."""
    target = target or name
    return Idle(name, "a", memory_mb, since_ms, target, target)


@pytest.mark.parametrize(
    ("idle", "known", "ends"),
    [
        ([env("a", 9), env("b", 5), env("c", 7)], {}, "bca"),
        ([env("a", 9, memory_mb=1024), env("b", 5)], {}, "ba"),
        ([env("a", 5), env("b", 9)], {"a": habits(60), "b": habits(3600)}, "ba"),
        ([env("a", 5), env("b", 9)], {"a": habits(60, 5.0), "b": habits(60, 0.2)}, "ba"),
        ([env("a", 5), env("b", 9, memory_mb=1024)], {"a": habits(60), "b": habits(60)}, "ba"),
        ([env("a", 5), env("b", 9)], {"a": habits(60), "b": habits(60)}, "ab"),
        ([env("a", 5), env("b", 9), env("n", 7)], {"a": habits(60), "b": habits(3600), "n": Habits()}, "bna"),
        ([env("a", 5, target="t"), env("b", 9, target="t"), env("c", 7)], {"t": habits(60), "c": habits(3600)}, "acb"),
    ],
    ids=[
        "nothing known", "nothing known, sizes differ", "returns sooner", "starts slower", "smaller", "alike",
        "one not known", "one of several",
    ],
)  # fmt: skip
def test_what_is_worth_the_least_ends_first(idle: list[Idle], known: dict[str, Habits], ends: str) -> None:
    """Cold starts saved for each MB decide, else the time; unknown functions are in the middle, spare ones first."""
    assert order(idle, known) == ends


def test_nothing_is_kept_for_ever() -> None:
    """What was worth more is given up before what was used after the clock had passed its worth."""
    known = {"a": habits(60), "b": habits(3600)}
    [a] = prioritized([env("a", 5)], known, [])
    assert order([env("a", 5), env("b", 100)], known) == "ba"
    assert order([env("a", 5), env("b", 100)], known, [(50, a.priority)]) == "ab"
    assert order([env("a", 5), env("b", 100)], known, [(50, a.priority / 2), (200, a.priority)]) == "ba"
