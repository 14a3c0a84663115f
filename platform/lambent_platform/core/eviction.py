"""Which idle environments end where memory is full.

Greedy-dual: an environment is worth what its function's cold starts would cost in the time to come, for each MB that
it takes, and this on top of a clock that moves up to the worth of what was ended last. So what was used lately is
ahead of what was not, however little it is worth, and what is worth a lot is not safe for ever. Where nothing is known
of any function, that is the longest idle first.

Source: A. Fuerst, P. Sharma, "FaasCache: Keeping Serverless Computing Alive with Greedy-Dual Caching", ASPLOS 2021.
In place of counts of calls we take rates of returns after a pause: calls within a flow are warm in any case.
"""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lambent_platform.core.capacity import COLD_START_S, WorkerLoad
from lambent_platform.core.idle_history import Habits


@dataclass(frozen=True, slots=True)
class Idle:
    """An environment that could make room."""

    id: str
    worker: str
    memory_mb: int
    idle_since_ms: int
    target: str = ""
    ident: str = ""
    """Its function."""
    priority: float = 0.0
    """The least goes first; of equal ones, the longest idle."""

    @property
    def rank(self) -> tuple[float, int]:
        """What the order of ends goes by."""
        return self.priority, self.idle_since_ms


def prioritized(
    idle: Sequence[Idle], habits: Mapping[str, Habits], advances: Sequence[tuple[int, float]]
) -> list[Idle]:
    """Say what each environment is worth, from what is known of its function.

    `habits` is by ident; a function without any is worth what the others are in the middle. Of several environments
    of one target only the one that was called last saves a cold start. `advances` are the moves of the clock, oldest
    first: when (liveness time, ms), and to what.
    """
    worth = {
        ident: one.returns_per_s * (one.init_s or COLD_START_S) for ident, one in habits.items() if one.observations
    }
    middle = statistics.median(worth.values()) if worth else 0.0
    newest: dict[str, Idle] = {}
    for one in idle:
        if one.target not in newest or one.idle_since_ms > newest[one.target].idle_since_ms:
            newest[one.target] = one
    found = []
    for one in idle:
        saved = worth.get(one.ident, middle) if newest[one.target] is one else 0.0
        found.append(replace(one, priority=_clock_at(advances, one.idle_since_ms) + saved / max(1, one.memory_mb)))
    return found


def _clock_at(advances: Sequence[tuple[int, float]], used_ms: int) -> float:
    at = bisect.bisect_right(advances, used_ms, key=lambda advance: advance[0])
    return advances[at - 1][1] if at else 0.0


def choose_victims(
    workers: Sequence[WorkerLoad], idle: Sequence[Idle], *, memory_mb: int, runtime: str, pool: str, architecture: str
) -> list[Idle]:
    """Return the environments to end so that one of this kind fits on some worker; empty where none can be made to.

    On each worker those of the least priority go first; of all workers, the one that gives up the fewest, and of the
    least priority.
    """
    best: list[Idle] = []
    for worker in workers:
        if not worker.fits(memory_mb=0, runtime=runtime, pool=pool, architecture=architecture):
            continue
        missing_mb = worker.used_mb + memory_mb - worker.capacity_mb
        chosen: list[Idle] = []
        for one in sorted((i for i in idle if i.worker == worker.id), key=lambda i: i.rank):
            if missing_mb <= 0:
                break
            chosen.append(one)
            missing_mb -= one.memory_mb
        if missing_mb <= 0 and chosen and (not best or _cost(chosen) < _cost(best)):
            best = chosen
    return best


def _cost(victims: Sequence[Idle]) -> tuple[int, tuple[float, int]]:
    return len(victims), max(v.rank for v in victims)
