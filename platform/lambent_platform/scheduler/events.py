"""The event loop: retries that are due, events that are too old, and destinations."""

from __future__ import annotations

from typing import Final

import orjson
import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import ApiError, TooManyRequests
from lambent_platform.core import retries
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.store.demand import Delivery, DemandStore

PAUSE_S: Final = 0.2

log = structlog.get_logger("scheduler")


class EventLoop:
    """Moves events whose time has come, and makes the deliveries of the outbox."""

    def __init__(self, demand: DemandStore, deliverer: Deliverer, clock: EventClock) -> None:
        self._demand = demand
        self._deliverer = deliverer
        self._clock = clock

    async def step(self) -> None:
        """One round: promote, expire, dispatch, deliver."""
        now_ms = self._clock.now_ms()
        await self._demand.promote(now_ms)
        for waiting in await self._demand.waiting():
            if waiting.events:
                await self._expire(waiting.target, now_ms)
                await self._demand.dispatch(waiting.target)
        for delivery in await self._demand.outbox():
            await self._deliver(delivery)

    async def _expire(self, target: str, now_ms: int) -> None:
        while True:
            work = await self._demand.oldest_event(target)
            if work is None or work.event is None or not retries.expired(work.event, now_ms=now_ms):
                return
            invocation = work.invocation
            attempt = retries.Attempt(
                number=invocation.attempt - 1,
                payload=invocation.payload,
                response=b"",
                function_error="",
                request_id=invocation.id,
            )
            settlement = retries.expire(attempt, work.event, now_ms=now_ms)
            log.warning("event expired", function=work.event.function_arn, request_id=invocation.id)
            await self._demand.drop(target, invocation.id, settlement)

    async def _deliver(self, delivery: Delivery) -> None:
        """Send one envelope; what its destination cannot take now stays in the outbox."""
        try:
            await self._deliverer.deliver(
                delivery.destination, orjson.dumps(delivery.envelope), delivery_id=delivery.key
            )
        except TooManyRequests:
            return
        except ApiError as error:
            log.error("destination refused", destination=delivery.destination, error=error.message, id=delivery.key)
        await self._demand.delivered(delivery)
