"""The event loop: retries that are due, and events that are too old."""

from __future__ import annotations

from typing import Final

import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.core import retries
from lambent_platform.store.demand import EXPIRE_COUNT, DemandStore

PAUSE_S: Final = 0.2
EXPIRE_ROUNDS: Final = 10
"""Batches of expired events in one step."""
LOOK_AGAIN_MS: Final = 60_000
"""When an expired event that runs just now is looked at again, should its attempt be given back."""

log = structlog.get_logger("scheduler")


class EventLoop:
    """Moves events whose time has come."""

    def __init__(self, demand: DemandStore, clock: EventClock) -> None:
        self._demand = demand
        self._clock = clock

    async def step(self) -> None:
        """One round: promote, expire, dispatch."""
        now_ms = self._clock.now_ms()
        await self._demand.promote(now_ms)
        await self._expire(now_ms)
        for waiting in await self._demand.waiting():
            if waiting.events:
                await self._demand.dispatch(waiting.target)

    async def _expire(self, now_ms: int) -> None:
        for _ in range(EXPIRE_ROUNDS):
            expired = await self._demand.expired(now_ms)
            for event in expired:
                settlement = retries.expire(event.attempts, event.meta, now_ms=now_ms)
                if await self._demand.drop(event, settlement, look_again_ms=now_ms + LOOK_AGAIN_MS):
                    log.warning("event expired", function=event.meta.function_arn, request_id=event.id)
            if len(expired) < EXPIRE_COUNT:
                return
