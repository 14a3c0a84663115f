"""How many environments to start, and where."""

from __future__ import annotations

import pytest

from lambent_platform.core.capacity import (
    Demand,
    WorkerLoad,
    choose_worker,
    environments_wanted,
    take_turns,
)
from workers import worker


def demand(**changes: object) -> Demand:
    """Make a demand of one waiting call on an unknown function."""
    values: dict[str, object] = {
        "target": "t",
        "calls": 1,
        "starting": 0,
        "running": 0,
        "concurrency_limit": 1000,
        **changes,
    }
    return Demand(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        (demand(), 1),
        (demand(calls=7), 7),
        (demand(calls=7, starting=7), 0),
        (demand(calls=7, starting=3), 4),
        (demand(calls=7, concurrency_limit=2), 2),
        (demand(calls=7, concurrency_limit=2, running=2), 0),
        (demand(calls=0), 0),
        (demand(calls=500), 50),
        # Of an unknown function events make do with one; calls get their own.
        (demand(calls=0, events=50), 1),
        (demand(calls=0, events=50, starting=1), 0),
        (demand(calls=0, events=50, running=1), 0),
        (demand(calls=3, events=50), 3),
        # Known ones count alike: 50 of 100 ms want 20 environments for 250 ms.
        (demand(calls=0, events=50, call_s=0.1), 20),
        # Two environments finish 100 ms calls: 5 calls within a cold start of 250 ms, so 4 waiting need no third.
        (demand(calls=4, running=2, call_s=0.1), 0),
        # 10-second calls never drain in time: one environment for each.
        (demand(calls=4, running=2, call_s=10.0), 4),
        # 1 ms calls from zero: one environment works off 250 of them while a second would start.
        (demand(calls=200, call_s=0.001), 1),
        (demand(calls=600, call_s=0.001), 3),
        (demand(calls=1, call_s=0.0), 1),
        # A queue that lasts although it would drain: calls come as fast as they go. 64 of 1 ms wait 64 ms behind one.
        (demand(calls=64, running=1, call_s=0.001), 0),
        (demand(calls=64, running=1, call_s=0.001, queued_for_s=0.3), 1),
        (demand(calls=64, running=2, call_s=0.001, queued_for_s=0.3), 2),
        (demand(calls=64, running=2, starting=1, call_s=0.001, queued_for_s=0.3), 1),
        (demand(calls=64, running=4, call_s=0.001, queued_for_s=0.3), 0),
        # 16 calls of 100 ms behind 8: each waits for less than two of them take.
        (demand(calls=16, running=8, call_s=0.1, queued_for_s=0.3), 8),
        (demand(calls=8, running=8, call_s=0.1, queued_for_s=0.3), 0),
        # Nothing ends: what runs takes longer than the calls before it, so that every caller gets an environment.
        (demand(calls=3, running=1, call_s=0.005, queued_for_s=2.0, stalled_for_s=0.9), 0),
        (demand(calls=3, running=1, call_s=0.005, queued_for_s=2.0, stalled_for_s=1.0), 3),
        (demand(calls=3, running=1, starting=1, call_s=0.005, queued_for_s=2.0, stalled_for_s=1.0), 0),
        (demand(calls=1, running=2, call_s=0.5, queued_for_s=2.0, stalled_for_s=1.9), 0),
        (demand(calls=1, running=2, call_s=0.5, queued_for_s=2.0, stalled_for_s=2.0), 1),
        (demand(calls=0, events=9, running=1, call_s=0.001, queued_for_s=2.0, stalled_for_s=2.0), 0),
    ],
)
def test_environments_wanted(case: Demand, wanted: int) -> None:
    """An environment is started only if the queue would not drain before it is ready."""
    assert environments_wanted(case) == wanted


@pytest.mark.parametrize(
    ("workers", "stems", "chosen"),
    [
        ([], (), None),
        ([worker("a", used_mb=1000)], (), None),
        ([worker("a", draining=True)], (), None),
        ([worker("a", pool="gpu")], (), None),
        ([worker("a", architecture="arm64")], (), None),
        ([worker("a", runtimes={"python3.13": "buildable"})], (), None),
        ([worker("a", used_mb=500), worker("b", used_mb=100)], (), "b"),
        ([worker("a", used_mb=500), worker("b", used_mb=100)], ("a",), "a"),
        ([worker("a", used_mb=1000), worker("b", used_mb=100)], ("a",), "b"),
        ([worker("a", starting=8), worker("b", used_mb=800)], ("a",), "b"),
        ([worker("a", starting=8)], (), None),
    ],
)
def test_choose_worker(workers: list[WorkerLoad], stems: tuple[str, ...], chosen: str | None) -> None:
    """A worker that fits and has a stem goes first, then the one with the most free memory."""
    assert (
        choose_worker(
            workers,
            memory_mb=128,
            runtime="python3.13",
            pool="default",
            architecture="x86_64",
            with_stem=frozenset(stems),
        )
        == chosen
    )


@pytest.mark.parametrize(
    ("wants", "order"),
    [
        ({}, ""),
        ({"a": (0, 3)}, "aaa"),
        ({"a": (8, 3), "b": (0, 2)}, "bbaaa"),
        ({"a": (0, 3), "b": (0, 1), "c": (1, 2)}, "abacac"),
        ({"a": (0, 0), "b": (0, 1)}, "b"),
    ],
)
def test_take_turns(wants: dict[str, tuple[int, int]], order: str) -> None:
    """The target with the fewest environments on their way is next."""
    assert "".join(take_turns(wants)) == order
