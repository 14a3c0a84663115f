"""What is kept while it is idle: environments, stems, unpacked packages."""

from __future__ import annotations

from typing import Literal

import pytest

from lambent_platform.contracts.environment import EnvironmentState
from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.core.idle_history import Habits, Window, observed
from lambent_platform.core.keepalive import (
    Idle,
    KeepAlive,
    idle_action,
    kept_s,
    least_recently_used,
    stem_fits,
    stems_wanted,
    window_of,
)

READY, FROZEN, BUSY = EnvironmentState.READY, EnvironmentState.FROZEN, EnvironmentState.BUSY
POLICY = KeepAlive(idle_timeout_s=60, freeze_after_s=10, stems=2, stem_idle_timeout_s=300)


@pytest.mark.parametrize(
    ("state", "idle_s", "action"),
    [
        (READY, 9.9, Idle.KEEP), (READY, 10, Idle.FREEZE), (READY, 60, Idle.RETIRE),
        (FROZEN, 59, Idle.KEEP), (FROZEN, 60, Idle.RETIRE), (BUSY, 900, Idle.KEEP),
        (EnvironmentState.INIT, 900, Idle.KEEP),
    ],
)  # fmt: skip
def test_idle_environments_are_frozen_then_retired(state: EnvironmentState, idle_s: float, action: Idle) -> None:
    """An idle environment is frozen first and retired later; one that works is left alone."""
    assert idle_action(POLICY, state, idle_s, until_s=60) is action


def test_a_freeze_later_than_the_end_never_happens() -> None:
    """With the idle timeout before the freeze, an environment goes without being frozen."""
    policy = KeepAlive(idle_timeout_s=2, freeze_after_s=10)
    assert [idle_action(policy, READY, s, until_s=2) for s in (0, 1.9, 2, 11)] == [
        Idle.KEEP,
        Idle.KEEP,
        Idle.RETIRE,
        Idle.RETIRE,
    ]


@pytest.mark.parametrize(
    ("keep_alive", "idle_s", "times", "begins_late", "holds_s"),
    [
        ("fixed", 900.0, 50, False, 299.0),
        ("history", 900.0, 2, False, 299.0),  # too little is known
        ("history", 900.0, 3, True, 900.0),
        ("history", 400.0, 50, True, 400.0),
        ("history", 30.0, 50, False, 30.0),
    ],
)
def test_a_history_decides_once_there_is_one(
    keep_alive: Literal["fixed", "history"], idle_s: float, times: int, begins_late: bool, holds_s: float
) -> None:
    """By history a function's own window counts, from the third idle time on; until then, and else, the fixed time."""
    counts: tuple[int, ...] = ()
    for _ in range(times):
        counts = observed(counts, idle_s)
    window = window_of(KeepAlive(keep_alive=keep_alive, idle_timeout_s=300), Habits(counts=counts))
    assert window.holds(holds_s)
    assert (window.from_s > 0) == begins_late


@pytest.mark.parametrize(
    ("window", "expected", "further", "until_s"),
    [
        (Window(0, 900, 10), False, False, 900),
        (Window(0, 900, 10), False, True, 60),
        (Window(0, 30, 10), False, True, 30),
        (Window(600, 900, 10), False, False, 10),
        (Window(600, 900, 10), True, False, 900),
        (Window(600, 900, 10), False, True, 10),
        (Window(0, 0, 10), False, False, 10),
    ],
)
def test_until_when_an_environment_is_kept(window: Window, expected: bool, further: bool, until_s: float) -> None:
    """Before a gap it goes soon, brought up after it it stays to the window's end, and beyond one not for long."""
    assert kept_s(POLICY, window, expected=expected, further=further) == until_s


def test_stems_are_kept_for_runtimes_in_use_only() -> None:
    """A runtime has its stems while it was used lately, and a pool of 0 has none."""
    used = {"python3.11": 100.0, "nodejs20.x": 390.0}
    assert stems_wanted(POLICY, used, 399.9) == {"python3.11": 2, "nodejs20.x": 2}
    assert stems_wanted(POLICY, used, 400.0) == {"nodejs20.x": 2}
    assert stems_wanted(KeepAlive(stems=0), used, 100.0) == {}


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({}, True),
        ({"ephemeral_mb": 1024}, False),
        ({"environment": {"PYTHONPATH": "/opt/x", "NODE_ENV": "production", "KEY": "1"}}, True),
        ({"environment": {"NODE_OPTIONS": "--enable-source-maps"}}, False),
        ({"environment": {"PYTHONHASHSEED": "0"}}, False),
        ({"environment": {"LD_PRELOAD": "x.so"}}, False),
        ({"environment": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"}}, False),
    ],
)
def test_a_stem_fits_what_its_interpreter_need_not_know_at_start(fields: dict[str, object], fits: bool) -> None:
    """A function whose variables or `/tmp` a running interpreter cannot honour gets a sandbox of its own."""
    version = FunctionVersion(account="1", region="r", name="f", revision="a", runtime="python3.11", **fields)  # type: ignore[arg-type]
    assert stem_fits(version) is fits


def test_the_oldest_unused_packages_are_dropped_first() -> None:
    """Dropping stops as soon as the rest fits, and what is in use stays however old it is."""
    sizes = {"a": 40, "b": 40, "c": 40}
    used = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert least_recently_used(sizes, used, (), 120) == []
    assert least_recently_used(sizes, used, (), 80) == ["a"]
    assert least_recently_used(sizes, used, ("a",), 80) == ["b"]
    assert least_recently_used(sizes, used, ("a", "b", "c"), 0) == []
