"""A worker's heartbeat: it lives, it has these environments; and liveness time, kept between beats."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from lambent_platform.contracts.environment import EnvironmentRecord, WorkerRecord
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.fleet import FleetStore

_log = structlog.get_logger(__name__)
INTERVAL_S: Final = 1.0
REGISTER_RETRY_S: Final = 0.5


class Heartbeat:
    """Beats once a second. Liveness time is the store's clock, carried on by this machine's monotonic one."""

    def __init__(
        self,
        fleet: FleetStore,
        store_now_ms: Callable[[], Awaitable[int]],
        *,
        record: Callable[[], WorkerRecord],
        environments: Callable[[], Sequence[EnvironmentRecord]],
    ) -> None:
        self._fleet = fleet
        self._store_now_ms = store_now_ms
        self._record = record
        self._environments = environments
        self._offset_ms = time.time() * 1000 - time.monotonic() * 1000

    def now_ms(self) -> int:
        """Liveness time."""
        return int(self._offset_ms + time.monotonic() * 1000)

    async def register(self) -> None:
        """Become known; waits for a store that is away."""
        warned = False
        while True:
            try:
                await self._beat(register=True)
                return
            except StoreUnavailable as error:
                if not warned:
                    _log.warning("the worker cannot register yet", error=str(error))
                    warned = True
                await asyncio.sleep(REGISTER_RETRY_S)

    async def run(self, given_up: Callable[[], None]) -> None:
        """Beat until cancelled; calls `given_up` where the platform took this worker for dead, and registers anew."""
        away = False
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                alive = await self._beat()
                away = False
            except StoreUnavailable as error:
                if not away:
                    _log.warning("a heartbeat did not arrive", error=str(error))
                away = True
                continue
            if not alive:
                given_up()
                await self.register()

    async def beat_quietly(self) -> None:
        """Beat out of turn; a store that is away is not an error."""
        try:
            await self._beat()
        except StoreUnavailable as error:
            _log.warning("a heartbeat did not arrive", error=str(error))

    async def wake_inbox(self) -> None:
        """Put an order that means nothing into the worker's own inbox, so that whoever reads it looks up."""
        with contextlib.suppress(StoreUnavailable):
            await self._fleet.order_retirement(self._record().id, [""])

    async def _beat(self, *, register: bool = False) -> bool:
        self._offset_ms = await self._store_now_ms() - time.monotonic() * 1000
        return await self._fleet.heartbeat(
            self._record(), self._environments(), now_ms=self.now_ms(), register=register
        )
