"""The outbox loop: destinations and dead-letter queues are told of events that ended.

Each destination is worked off by itself, and waits by itself after it could not take something. What a target refuses
for good, or could not take for hours, is kept as a dead event with the reason: nothing is dropped in silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import ApiError, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.events import DeliveryKind
from lambent_platform.core.destinations import DELIVERY_AGE_MAX_MS, parcel
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.store.outbox import Box, Ended, OutboxStore

LOOK_S: Final = 1.0
BOXES_AT_ONCE: Final = 64
DELIVERIES_AT_ONCE: Final = 32
"""Over all destinations: each holds an event and its response in memory while it lasts."""
BATCH: Final = 64
ROUNDS: Final = 100
"""Batches of one destination before others may have its turn."""
BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
UNDELIVERABLE: Final = "It could not be delivered within {hours:g} hours: {reason}"

log = structlog.get_logger("scheduler")


class OutboxLoop:
    """Makes the deliveries of the outbox."""

    def __init__(
        self,
        outbox: OutboxStore,
        deliverer: Deliverer,
        clock: EventClock,
        *,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """`monotonic` is liveness time in seconds, which decides when a destination is tried again."""
        self._outbox = outbox
        self._deliverer = deliverer
        self._clock = clock
        self._monotonic = monotonic or (lambda: asyncio.get_running_loop().time())
        self._busy: set[Box] = set()
        self._slots = asyncio.Semaphore(DELIVERIES_AT_ONCE)
        self._failures: dict[Box, tuple[int, float]] = {}
        """Of destinations that could not take something: how often in a row, and when they are tried again."""

    async def step(self) -> None:
        """Work the outbox off until cancelled.

        Raises:
            StoreUnavailable: Redis is away.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                for box in await self._outbox.boxes():
                    if len(self._busy) >= BOXES_AT_ONCE:
                        break
                    if box not in self._busy and self._is_due(box):
                        self._busy.add(box)
                        group.create_task(self._work(box))
                await self._outbox.sleep(LOOK_S)

    def _is_due(self, box: Box) -> bool:
        return self._failures.get(box, (0, 0.0))[1] <= self._monotonic()

    async def _work(self, box: Box) -> None:
        """Make the deliveries of one destination until there are none, or it cannot take one."""
        try:
            for _ in range(ROUNDS):
                entries = await self._outbox.entries(box, BATCH)
                closed = await asyncio.gather(*(self._deliver(box, event_id, kind) for event_id, kind in entries))
                if not all(closed):
                    self._back_off(box)
                    return
                self._failures.pop(box, None)
                if len(entries) < BATCH:
                    return
        except StoreUnavailable as error:
            log.warning("redis is away", loop="outbox", error=str(error))
            self._back_off(box)
        except Exception:
            log.exception("deliveries failed", destination=box.arn)
            self._back_off(box)
        finally:
            self._busy.discard(box)

    def _back_off(self, box: Box) -> None:
        failures = self._failures.get(box, (0, 0.0))[0] + 1
        wait_s = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
        self._failures[box] = (failures, self._monotonic() + wait_s)

    async def _deliver(self, box: Box, event_id: str, kind: DeliveryKind) -> bool:
        """Make one delivery; False where it stays in the outbox."""
        async with self._slots:
            ended = await self._outbox.load(box.prefix, event_id)
            if ended is None:
                log.error("an event to be delivered is gone", destination=box.arn, request_id=event_id)
                await self._outbox.delivered(box, event_id, kind)
                return True
            try:
                await self._send(box, kind, ended)
            except TooManyRequests as error:
                reason = self._given_up(ended, error)
                if not reason:
                    log.warning("destination busy", destination=box.arn, error=error.message, request_id=event_id)
                    return False
            except ApiError as error:
                reason = f"{error.code}: {error.message}"
            else:
                await self._outbox.delivered(box, event_id, kind)
                return True
            log.error(
                "destination refused",
                destination=box.arn,
                reason=reason,
                function=ended.meta.function_arn,
                request_id=event_id,
            )
            await self._outbox.refused(box, event_id, kind, reason=reason, now_ms=self._clock.now_ms())
            return True

    async def _send(self, box: Box, kind: DeliveryKind, ended: Ended) -> None:
        invocation = ended.invocation
        sent = parcel(
            kind,
            ended.ending,
            ended.meta,
            request_id=invocation.id,
            payload=invocation.payload,
            response=ended.response,
        )
        await self._deliverer.deliver(
            box.arn,
            sent.body,
            delivery_id=f"{invocation.id}:{kind}",
            trace_id=invocation.trace_id,
            message_attributes=sent.message_attributes,
        )

    def _given_up(self, ended: Ended, error: ApiError) -> str:
        """Why a delivery that could not be made is not tried any more; "" while it is."""
        if self._clock.now_ms() <= ended.since_ms + DELIVERY_AGE_MAX_MS:
            return ""
        return UNDELIVERABLE.format(hours=DELIVERY_AGE_MAX_MS / 3_600_000, reason=error.message)
