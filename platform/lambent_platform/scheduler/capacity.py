"""The capacity loop: what waits gets environments, where there is room."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import split_target
from lambent_platform.core import retries
from lambent_platform.core.capacity import Demand, environments_wanted, take_turns
from lambent_platform.core.eviction import choose_victims, prioritized
from lambent_platform.scheduler.fleet_snapshot import FleetSnapshot
from lambent_platform.store.demand import DemandStore, Waiting
from lambent_platform.store.fleet import FleetStore, StartOrder
from lambent_platform.store.habits import HabitStore, Note
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.redis import RedisStore

TICK_S: Final = 1.0
"""How long the loop sleeps while nothing waits."""
LOOK_AGAIN_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16)
"""How soon it looks again at what waits, after so many looks in a row that ordered nothing."""
LINGER_MS: Final = 1_000
ADVANCES_MAX: Final = 256

log = structlog.get_logger("scheduler")


class Functions(Protocol):
    """Where functions are read."""

    async def load(self, ident: str) -> FunctionRecord | None:
        """One function with its versions."""


class CapacityLoop:
    """Reads what waits and what runs, asks `core.capacity`, orders environments."""

    def __init__(
        self,
        redis: RedisStore,
        demand: DemandStore,
        fleet: FleetStore,
        invocations: InvocationStore,
        functions: Functions,
        clock: EventClock,
        *,
        account_concurrency: int,
    ) -> None:
        self._redis = redis
        self._demand = demand
        self._fleet = fleet
        self._invocations = invocations
        self._functions = functions
        self._habits = HabitStore(redis)
        self._clock = clock
        self._account_concurrency = account_concurrency
        self._idle_looks: int | None = None
        """Looks in a row that found something waiting and ordered nothing; None while nothing waits."""
        self._emptied_at_ms: dict[str, int] = {}
        """When targets on the list were first seen with nothing waiting."""
        self._queued_at_ms: dict[str, int] = {}
        """Since when targets on the list have had something waiting at every look."""
        self._progress: dict[str, tuple[int, int]] = {}
        """Of targets that have had something waiting: how many calls had ended, and when that was first so."""
        self._advances: deque[tuple[int, float]] = deque(maxlen=ADVANCES_MAX)
        """Moves of the clock by which environments end where memory is full."""
        self.wanted = 0
        """Environments that the last look found missing; for metrics."""
        self.ordered = 0
        """Environments that this loop has ordered; for metrics."""

    async def step(self) -> None:
        """Sleep until something begins to wait, or it is time to look again; then give it capacity."""
        looks = self._idle_looks
        woken = await self._demand.sleep(TICK_S if looks is None else LOOK_AGAIN_S[min(looks, len(LOOK_AGAIN_S) - 1)])
        waiting = await self._demand.waiting()
        if not waiting:
            self._idle_looks = None
            self.wanted = 0
            return
        self._idle_looks = 0 if looks is None or woken else looks + 1
        fleet = await FleetSnapshot.read(self._fleet)
        now_ms = await self._redis.now_ms()
        wants: dict[str, tuple[int, int]] = {}
        versions: dict[str, FunctionVersion] = {}
        for one in waiting:
            if one.calls + one.events == 0:
                await self._forget(one.target, fleet, now_ms)
                continue
            self._emptied_at_ms.pop(one.target, None)
            self._queued_at_ms.setdefault(one.target, now_ms)
            known = await self._deployed(one)
            if known is not None:
                versions[one.target] = known[1]
                wants[one.target] = await self._wanted(one, *known, fleet, now_ms)
        self.wanted = sum(missing for _, missing in wants.values())
        at_zero = [target for target in wants if fleet.count(target) == (0, 0)]
        orders = await self._orders(wants, versions, fleet, now_ms)
        if orders:
            self._idle_looks = 0
            self.ordered += len(orders)
            await self._fleet.start(orders)
            await self._note_cold(set(at_zero) & {order.record.target for order in orders}, now_ms)

    async def _note_cold(self, targets: Collection[str], now_ms: int) -> None:
        """Note, for how long to keep their functions in future, that calls found nothing of these targets."""
        await self._habits.note(
            [Note(split_target(one)[0], "cold", self._queued_at_ms.get(one, now_ms)) for one in sorted(targets)]
        )

    async def _forget(self, target: str, fleet: FleetSnapshot, now_ms: int) -> None:
        """Take a target off the list of what waits.

        While it has environments it stays for a moment: calls that come and go in a busy function's queue would
        otherwise wake this loop for each of them.
        """
        self._queue_over(target)
        emptied_at_ms = self._emptied_at_ms.setdefault(target, now_ms)
        if fleet.count(target) == (0, 0) or now_ms - emptied_at_ms >= LINGER_MS:
            await self._demand.forget(target)
            del self._emptied_at_ms[target]

    def _queue_over(self, target: str) -> None:
        self._queued_at_ms.pop(target, None)
        self._progress.pop(target, None)

    async def _deployed(self, one: Waiting) -> tuple[FunctionRecord, FunctionVersion] | None:
        """What a target is; None where that is not deployed, and what waits for it was sent on or answered."""
        ident, name, revision = split_target(one.target)
        record = await self._functions.load(ident)
        deployed = record.versions.get(name) if record else None
        if record is not None and deployed is not None and deployed.serving.revision == revision:
            return record, deployed.serving
        self._queue_over(one.target)
        if deployed is not None:
            await self._invocations.retarget(one.target, deployed.serving.target, code="", message="")
        else:
            await self._end_orphans(one.target)
            await self._invocations.retarget(
                one.target, "", code="ResourceNotFoundException", message="The function was deleted."
            )
        return None

    async def _end_orphans(self, target: str) -> None:
        """End the events of a version that was deleted, a batch at a look; whoever they name is told."""
        now_ms = self._clock.now_ms()
        for event in await self._demand.queued_events(target):
            settlement = retries.orphan(event.attempts, event.meta, now_ms=now_ms)
            if await self._demand.drop(event, settlement, look_again_ms=now_ms):
                log.warning("event without a function", function=event.meta.function_arn, request_id=event.id)

    async def _wanted(
        self, one: Waiting, record: FunctionRecord, version: FunctionVersion, fleet: FleetSnapshot, now_ms: int
    ) -> tuple[int, int]:
        """How many environments of a target are on their way, and how many more it should get."""
        reserved = record.reserved_concurrency
        starting, running = fleet.count(one.target)
        ended, call_s = await self._ended_calls(version, now_ms)
        if one.target not in self._progress or self._progress[one.target][0] != ended:
            self._progress[one.target] = (ended, now_ms)
        demand = Demand(
            target=one.target,
            calls=one.calls,
            events=one.events,
            starting=starting,
            running=running,
            concurrency_limit=self._account_concurrency if reserved is None else reserved,
            queued_for_s=(now_ms - self._queued_at_ms.get(one.target, now_ms)) / 1000,
            call_s=call_s,
            stalled_for_s=(now_ms - self._progress[one.target][1]) / 1000,
        )
        return starting, environments_wanted(demand)

    async def _orders(
        self,
        wants: Mapping[str, tuple[int, int]],
        versions: Mapping[str, FunctionVersion],
        fleet: FleetSnapshot,
        now_ms: int,
    ) -> list[StartOrder]:
        """Place what is wanted, by turns; for a target that finds no memory others' idle environments end."""
        orders: list[StartOrder] = []
        full: set[str] = set()
        for target in take_turns(wants):
            if target in full:
                continue
            order = fleet.place(versions[target], now_ms)
            if order is not None:
                orders.append(order)
                continue
            full.add(target)
            if any(worker.can_start for worker in fleet.workers):
                await self._make_room(versions[target], fleet, now_ms)
        return orders

    async def _make_room(self, version: FunctionVersion, fleet: FleetSnapshot, now_ms: int) -> None:
        """Let idle environments of others end; what they free wakes this loop again."""
        idle = fleet.idle(version.target)
        idents = sorted({one.ident for one in idle})
        habits = dict(zip(idents, await self._habits.load(idents), strict=True))
        victims = choose_victims(
            fleet.workers,
            prioritized(idle, habits, self._advances),
            memory_mb=version.memory_mb,
            runtime=version.runtime,
            pool=version.pool,
            architecture=version.architecture,
        )
        if victims:
            clock = max(self._advances[-1][1] if self._advances else 0.0, *(victim.priority for victim in victims))
            self._advances.append((now_ms, clock))
            fleet.forget([victim.id for victim in victims])  # nobody is asked to end it twice in one pass
            await self._fleet.order_retirement(victims[0].worker, [victim.id for victim in victims])
        else:
            log.warning("no worker has room", target=version.target, memory_mb=version.memory_mb, pool=version.pool)

    async def _ended_calls(self, version: FunctionVersion, now_ms: int) -> tuple[int, float | None]:
        """How many calls have ended in this hour, or the one before, and how long they took."""
        moment = datetime.fromtimestamp(now_ms / 1000, UTC)
        for hour in (moment, moment - timedelta(hours=1)):
            count, mean_s = await self._demand.ended_calls(
                version.target, hour.strftime("%Y-%m-%dT%H"), version.memory_mb
            )
            if count:
                return count, mean_s
        return 0, None
