"""The event loop: retries that are due, events that are too old, and destinations."""

from __future__ import annotations

import uuid
from typing import Final

import orjson
import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import ApiError
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.core import retries
from lambent_platform.core.resolution import event_meta, resolve
from lambent_platform.scheduler.capacity import Functions
from lambent_platform.store.demand import Delivery, DemandStore
from lambent_platform.store.invocations import InvocationStore, Placement

PAUSE_S: Final = 0.2
DELIVERY_NAMESPACE: Final = uuid.UUID("6f2d1a52-5b1f-4f0e-9d2e-0c4f6f3f7a11")
ACCEPT_TRIES: Final = 3

log = structlog.get_logger("scheduler")


class EventLoop:
    """Moves events whose time has come, and makes the deliveries of the outbox."""

    def __init__(
        self, demand: DemandStore, invocations: InvocationStore, functions: Functions, clock: EventClock
    ) -> None:
        self._demand = demand
        self._invocations = invocations
        self._functions = functions
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
        """Send one envelope. The event's id is derived from the delivery, so that sending it twice is once."""
        event_id = str(uuid.uuid5(DELIVERY_NAMESPACE, delivery.key))
        try:
            for _ in range(ACCEPT_TRIES):
                if await self._accept(delivery, event_id) is not Placement.STALE:
                    break
            else:
                return  # the function changes faster than it is read: the next round tries again
        except ApiError as error:
            log.error("destination refused", destination=delivery.destination, error=error.message, id=delivery.key)
        await self._demand.delivered(delivery)

    async def _accept(self, delivery: Delivery, event_id: str) -> Placement:
        ref = retries.destination_function(delivery.destination)
        if ref is None:
            raise ApiError(f"No such kind of destination: {delivery.destination}")
        record = await self._functions.load(ref.ident)
        version = resolve(record, ref, roll=0.0)
        assert record is not None  # resolve raises without one
        invocation = Invocation(
            id=event_id,
            target=version.target,
            kind="event",
            qualified_arn=ref.qualified_arn,
            payload=orjson.dumps(delivery.envelope),
        )
        meta = event_meta(record, version, ref, now_ms=self._clock.now_ms())
        placement = (await self._invocations.accept([(invocation, record.generation, meta)]))[0]
        if placement is Placement.FULL:
            raise ApiError("The destination's queue is full")
        return placement
