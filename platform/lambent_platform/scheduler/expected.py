"""Functions that are expected to be called soon get an environment ahead of the call, where there is room."""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import split_target
from lambent_platform.scheduler.fleet_snapshot import FleetSnapshot
from lambent_platform.store.fleet import FleetStore, StartOrder
from lambent_platform.store.habits import HabitStore
from lambent_platform.store.redis import RedisStore

PAUSE_S: Final = 1.0

log = structlog.get_logger("scheduler")


class Functions(Protocol):
    """Where functions are read."""

    async def load(self, ident: str) -> FunctionRecord | None:
        """One function with its versions."""


class ExpectedLoop:
    """Orders an environment where a worker ended the last one only until about the time of the next call.

    It takes room that is free and makes none: an expectation is worth less than anything that is there already.
    """

    def __init__(self, redis: RedisStore, fleet: FleetStore, functions: Functions) -> None:
        self._redis = redis
        self._fleet = fleet
        self._functions = functions
        self._habits = HabitStore(redis)
        self.ordered = 0
        """Environments that this loop has ordered."""

    async def step(self) -> None:
        """Serve what is due.

        Raises:
            StoreUnavailable: Redis is away.
        """
        now_ms = await self._redis.now_ms()
        targets = await self._habits.take_expected(now_ms)
        if not targets:
            return
        fleet = await FleetSnapshot.read(self._fleet)
        orders: list[StartOrder] = []
        for target, habits in zip(
            targets, await self._habits.load([split_target(one)[0] for one in targets]), strict=True
        ):
            version = await self._startable(target)
            if version is None or fleet.count(target) != (0, 0):
                continue
            order = fleet.place(version, now_ms, last_call_ms=habits.last_ms or now_ms)
            if order is not None:
                orders.append(order)
        if orders:
            self.ordered += len(orders)
            await self._fleet.start(orders)
            log.debug("environments ahead of calls", targets=[order.record.target for order in orders])

    async def _startable(self, target: str) -> FunctionVersion | None:
        """What is deployed as this target and may be called; None where it is something else, or nothing, by now."""
        ident, name, revision = split_target(target)
        record = await self._functions.load(ident)
        deployed = record.versions.get(name) if record else None
        if record is None or deployed is None or record.reserved_concurrency == 0:
            return None
        version = deployed.serving
        return version if version.revision == revision and not version.code.hot_reload_path else None
