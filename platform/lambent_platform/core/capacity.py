"""How many environments to start, and where. A snapshot in, orders out.

The rules of scale-out: an environment is worth starting only if the queue would not have drained by the time it is
ready; or if there has been a queue for longer than that, so that new calls keep it up, and a call waits in it for
longer than it takes. Of a function whose durations are unknown every waiting call gets its own, as on Lambda; its
events, which nobody waits for, make do with one until the first has ended. So does every call that waits while nothing
ends: what runs then (a stream that is read slowly, say) takes longer than what is known of the function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

COLD_START_S: Final = 0.25
"""What a start is taken to cost where this function's own is not known."""
STARTS_PER_DECISION_MAX: Final = 50
CALL_S_MIN: Final = 0.001
"""No call is taken to occupy an environment for less: handing it over and back costs about this."""
STALLED_CALLS: Final = 4
STALLED_S: Final = 1.0
"""A queue in which nothing ends for that long, and as many times a call's mean, does not drain as the mean says."""
WAIT_WANTED_S: Final = 0.020
"""A lasting queue in which calls wait for less than this is left alone, however short the calls are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One target as the scheduler sees it."""

    target: str
    calls: int
    """Synchronous calls in its queue."""
    events: int = 0
    starting: int
    """Environments that were ordered and are not ready."""
    running: int
    """Environments that are ready, busy or frozen."""
    concurrency_limit: int
    """Most environments that may exist: reserved concurrency, else the account's."""
    queued_for_s: float = 0.0
    """How long there has been a queue without a break."""
    call_s: float | None = None
    """Known mean duration of a call."""
    cold_start_s: float | None = None
    stalled_for_s: float = 0.0
    """For how long of that no call has ended."""

    @property
    def waiting(self) -> int:
        """All that waits."""
        return self.calls + self.events


def environments_wanted(demand: Demand) -> int:
    """How many environments to start now."""
    room = demand.concurrency_limit - demand.starting - demand.running
    unserved = demand.waiting - demand.starting
    if unserved <= 0 or room <= 0:
        return 0
    if demand.call_s is None:
        first_for_events = int(demand.events > 0 and demand.starting + demand.running == 0)
        wanted = max(demand.calls - demand.starting, first_for_events)
    else:
        call_s, cold_s = max(demand.call_s, CALL_S_MIN), demand.cold_start_s or COLD_START_S
        wanted = _to_drain(demand, unserved, call_s, cold_s)
        if wanted == 0 and demand.queued_for_s >= cold_s:
            wanted = _to_shorten(demand, call_s)
        if demand.starting == 0 and demand.stalled_for_s >= max(STALLED_S, STALLED_CALLS * call_s):
            wanted = max(wanted, demand.calls)
    return max(0, min(wanted, room, STARTS_PER_DECISION_MAX))


def _to_drain(demand: Demand, unserved: int, call_s: float, cold_s: float) -> int:
    """What it takes to work a burst off."""
    # What the environments at hand finish while a new one starts need not be started for.
    left = unserved - demand.running * cold_s / call_s
    # An environment that is ready works this many calls off within another cold start's time.
    each = max(1.0, cold_s / call_s)
    return math.ceil(left / each) if left > 0 else 0


def _to_shorten(demand: Demand, call_s: float) -> int:
    """What it takes to make a lasting queue short: at most twice what runs now, since the next look is soon."""
    needed = math.ceil(demand.waiting * call_s / max(WAIT_WANTED_S, call_s))
    at_hand = demand.running + demand.starting
    return min(needed - at_hand, max(1, demand.running))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoad:
    """One worker as placement sees it."""

    id: str
    pool: str
    capacity_mb: int
    used_mb: int
    architecture: str
    runtimes: Mapping[str, str]
    draining: bool = False
    starting: int = 0
    """Environments that are on their way there."""
    starts_max: int = 8

    @property
    def can_start(self) -> bool:
        """Whether one more start would not only wait there."""
        return self.starting < self.starts_max

    def fits(self, *, memory_mb: int, runtime: str, pool: str, architecture: str) -> bool:
        """Whether an environment of this kind can be started here now."""
        return (
            not self.draining
            and self.pool == pool
            and self.architecture == architecture
            and self.runtimes.get(runtime) == "ready"
            and self.used_mb + memory_mb <= self.capacity_mb
        )


def choose_worker(
    workers: Sequence[WorkerLoad],
    *,
    memory_mb: int,
    runtime: str,
    pool: str,
    architecture: str,
    with_stem: frozenset[str],
) -> str | None:
    """Return the worker that an environment should be started on now, or None where none has room.

    One that has a stem of the runtime goes first, since it answers an order of magnitude sooner; then the one with
    the most free memory.
    """
    fitting = [
        worker
        for worker in workers
        if worker.can_start and worker.fits(memory_mb=memory_mb, runtime=runtime, pool=pool, architecture=architecture)
    ]
    if not fitting:
        return None
    return max(fitting, key=lambda worker: (worker.id in with_stem, worker.capacity_mb - worker.used_mb)).id


def take_turns(wants: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return the order in which targets get environments: always the one that has the fewest on their way.

    `wants` gives for each target (starting, wanted). A burst of calls of one function thus never stands before the
    first call of another.
    """
    given = {target: starting for target, (starting, _) in wants.items()}
    left = {target: wanted for target, (_, wanted) in wants.items() if wanted > 0}
    order: list[str] = []
    while left:
        target = min(left, key=given.__getitem__)
        order.append(target)
        given[target] += 1
        left[target] -= 1
        if not left[target]:
            del left[target]
    return order
