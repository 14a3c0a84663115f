"""The fleet loop: workers and gateways that fell silent are given up, and what they held goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.names import split_target
from lambent_platform.core import retries
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.invocations import Work
from lambent_platform.store.redis import RedisStore

PAUSE_S: Final = 0.5
GATEWAY_LEASE_MS: Final = 15_000
LOST_MESSAGE: Final = "The worker that ran this invocation was lost."

log = structlog.get_logger("scheduler")


class FleetLoop:
    """Gives up what is silent for longer than its lease."""

    def __init__(
        self,
        redis: RedisStore,
        fleet: FleetStore,
        clock: EventClock,
        *,
        worker_lease_ms: int,
        retry_delays_s: Sequence[float],
    ) -> None:
        self._redis = redis
        self._fleet = fleet
        self._clock = clock
        self._lease_ms = worker_lease_ms
        self._retry_delays_s = retry_delays_s

    async def step(self) -> None:
        """One round over workers and gateways."""
        now_ms = await self._redis.now_ms()
        for worker in await self._fleet.silent_workers(before_ms=now_ms - self._lease_ms):
            events = await self._fleet.bury(
                worker, now_ms=now_ms, lease_ms=self._lease_ms, code="ServiceException", message=LOST_MESSAGE
            )
            if events is None:
                continue
            log.warning("worker lost", worker=worker, running_events=len(events))
            for event_id, work in events:
                await self._settle(worker, event_id, work)
        for gateway in await self._fleet.forget_gateways(before_ms=now_ms - GATEWAY_LEASE_MS):
            log.info("gateway gone", gateway=gateway)

    async def _settle(self, worker: str, event_id: str, work: Work) -> None:
        """The attempt that died with its worker counts as one that failed."""
        if work.event is None:
            return
        invocation = work.invocation
        error = {"errorMessage": LOST_MESSAGE, "errorType": "Runtime.WorkerLost", "requestId": invocation.id}
        attempt = retries.Attempt(number=invocation.attempt, response=orjson.dumps(error), function_error="Unhandled")
        settlement = retries.settle(attempt, work.event, now_ms=self._clock.now_ms(), delays_s=self._retry_delays_s)
        await self._fleet.settle(worker, event_id, split_target(invocation.target)[0], settlement)
