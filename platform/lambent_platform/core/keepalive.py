"""How long what is idle is kept: environments between calls, and stems of runtimes in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from lambent_platform.contracts.environment import EnvironmentState
from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.limits import EPHEMERAL_MB_MIN
from lambent_platform.core.idle_history import Habits, Window, best_window


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive:
    """The operator's wishes. Times in seconds of liveness time."""

    keep_alive: Literal["history", "fixed"] = "fixed"
    """Whether each function's own history decides how long it is kept."""
    cold_start_worth_s: float = 2400.0
    """By history: a cold start is as bad as keeping the function's memory in vain for so long."""
    idle_timeout_s: float = 300.0
    """From an environment's last call until it is gone. By history this is for functions of which too little is known,
    and for environments that a function has beyond one."""
    observations_min: int = 3
    """Idle times that must be known of a function before they decide."""
    linger_s: float = 10.0
    """By history: how long an environment is kept in any case."""
    gap_min_s: float = 60.0
    """By history: no environment is ended to be brought up again sooner than so long after the call."""
    freeze_after_s: float = 10.0
    """From an environment's last call until its processes are stopped; later than its end: never."""
    stems: int = 1
    """Stems kept for each runtime in use."""
    stem_idle_timeout_s: float = 300.0
    """From a runtime's last call until its stems go."""


class Idle(Enum):
    """What becomes of an idle environment."""

    KEEP = "keep"
    FREEZE = "freeze"
    RETIRE = "retire"


def window_of(policy: KeepAlive, habits: Habits) -> Window:
    """Decide when, after its last call, an environment of a function is kept."""
    if policy.keep_alive == "fixed" or habits.observations < policy.observations_min:
        return Window(0.0, policy.idle_timeout_s)
    return best_window(
        habits.counts,
        cold_start_worth_s=policy.cold_start_worth_s,
        gap_min_s=policy.gap_min_s,
        linger_s=policy.linger_s,
    )


def kept_s(policy: KeepAlive, window: Window, *, expected: bool = False, further: bool = False) -> float:
    """Return the idle time at which an environment goes.

    `expected`: it was brought up ahead of the next call. `further`: another one of its function was called later.
    """
    until_s = window.until_s if expected else window.first_end_s
    return min(until_s, policy.idle_timeout_s) if further else until_s


def idle_action(policy: KeepAlive, state: EnvironmentState, idle_s: float, *, until_s: float) -> Idle:
    """Decide about one environment that was last called `idle_s` ago, or became ready then, and goes at `until_s`."""
    if state not in (EnvironmentState.READY, EnvironmentState.FROZEN):
        return Idle.KEEP
    if idle_s >= until_s:
        return Idle.RETIRE
    if state is EnvironmentState.READY and idle_s >= policy.freeze_after_s:
        return Idle.FREEZE
    return Idle.KEEP


def stems_wanted(policy: KeepAlive, last_used_s: Mapping[str, float], now_s: float) -> dict[str, int]:
    """Return how many stems each runtime shall have; a runtime that is not named shall have none.

    `last_used_s` maps a runtime's name to when a function of it was last called or started.
    """
    if policy.stems <= 0:
        return {}
    return {name: policy.stems for name, used in last_used_s.items() if now_s - used < policy.stem_idle_timeout_s}


_READ_AT_START = ("PYTHON", "NODE_", "LD_", "MALLOC_", "GLIBC_", "UV_")
_HARMLESS = frozenset({"PYTHONPATH", "NODE_PATH", "NODE_ENV"})
_WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"


NODE_STEM_MEMORY_MB: Final = 1024
"""Node.js fixes the limit of its heap when it starts; a stem's is that of a function of this size."""


def stem_fits(version: FunctionVersion) -> bool:
    """Whether a stem can become an environment of this version.

    A stem's `/tmp` has the default size, and its interpreter runs already: variables that an interpreter, its
    allocator or the loader reads once at start would come too late.
    """
    if version.runtime.startswith("nodejs") and version.memory_mb > NODE_STEM_MEMORY_MB:
        return False
    return version.ephemeral_mb == EPHEMERAL_MB_MIN and not any(map(_needs_own_start, version.environment))


def _needs_own_start(name: str) -> bool:
    return name == _WRAPPER or (name.startswith(_READ_AT_START) and name not in _HARMLESS)


def least_recently_used(sizes: Mapping[str, int], used_at: Mapping[str, float], in_use: Iterable[str],
                        limit_bytes: int) -> list[str]:  # fmt: skip
    """Return the cache entries to drop so that the rest fits `limit_bytes`, never one of `in_use`."""
    total = sum(sizes.values())
    busy = set(in_use)
    drop = []
    for name in sorted((n for n in sizes if n not in busy), key=lambda n: used_at.get(n, 0.0)):
        if total <= limit_bytes:
            break
        drop.append(name)
        total -= sizes[name]
    return drop
