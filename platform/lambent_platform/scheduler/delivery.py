"""What the scheduler sends on its own account: to destinations, dead-letter queues, targets of schedules and rules.

A delivery has an id. To a function it is an asynchronous invocation whose id is made of that, to a queue a message
whose id is; so whoever dies between a delivery and noting it down delivers again, and it is still one.
"""

from __future__ import annotations

import functools
import hashlib
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import (
    ApiError,
    InvalidParameterValue,
    RequestTooLarge,
    ResourceConflict,
    TooManyRequests,
)
from lambent_platform.contracts.function import FunctionRecord
from lambent_platform.contracts.limits import ASYNC_PAYLOAD_BYTES
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.contracts.queues import NewMessage, QueueRef
from lambent_platform.core import lineage, retries
from lambent_platform.core.destinations import readable, target_kind
from lambent_platform.core.queue_message_rules import check_message
from lambent_platform.core.queue_messages import TRACE_HEADER
from lambent_platform.core.resolution import event_invocation, event_meta, not_found, resolve
from lambent_platform.scheduler.capacity import Functions
from lambent_platform.store.batches import Batcher
from lambent_platform.store.invocations import InvocationStore, Placement
from lambent_platform.store.queues import QueueStore

NAMESPACE: Final = uuid.UUID("6f2d1a52-5b1f-4f0e-9d2e-0c4f6f3f7a11")
ONCE_S: Final = 900
"""How long an accepted delivery is remembered: longer than it takes another scheduler to go on where one was killed."""
ACCEPT_TRIES: Final = 5

log = structlog.get_logger("scheduler")


class Deliverer:
    """Sends to functions and queues, by their ARN; one for each process."""

    def __init__(
        self, invocations: InvocationStore, functions: Functions, queues: QueueStore, clock: EventClock
    ) -> None:
        self._invocations = invocations
        self._functions = functions
        self._queues = queues
        self._clock = clock
        self._accepts = Batcher(functools.partial(invocations.accept, once_s=ONCE_S))

    async def deliver(
        self,
        arn: str,
        body: bytes,
        *,
        delivery_id: str,
        trace_id: str = "",
        message_attributes: Mapping[str, Any] | None = None,
        group_id: str = "",
        deduplication_id: str = "",
        delay_s: int | None = None,
    ) -> None:
        """Send `body` to a function (also qualified) or a queue; twice with the same `delivery_id` is once.

        `trace_id` is the trace header of what the delivery comes from; a loop through it is stopped as any other is.
        `message_attributes` (in the shape of SQS's model), `group_id` and `deduplication_id` (of FIFO queues) and
        `delay_s` are for queues alone.

        Raises:
            TooManyRequests, StoreUnavailable: not now; try again later.
            ApiError (any other): never; trying again changes nothing.
        """
        event_id = str(uuid.uuid5(NAMESPACE, delivery_id))
        kind = target_kind(arn)
        try:
            if kind == "function":
                ref = FunctionRef.parse(arn)
                assert ref is not None  # target_kind has read it
                await self._invoke(ref, body, event_id, trace_id)
            elif kind == "queue":
                message = NewMessage(
                    body=readable(body),
                    message_attributes=message_attributes or {},
                    system_attributes={TRACE_HEADER: trace_id} if trace_id else {},
                    delay_s=delay_s,
                    group_id=group_id,
                    deduplication_id=deduplication_id or hashlib.sha256(event_id.encode()).hexdigest(),
                    id=event_id,
                )
                await self._send(arn, message)
            else:
                raise InvalidParameterValue(
                    f"Nothing can be sent to {arn}: it is neither a function nor a queue.", Type="User"
                )
        except ApiError as error:
            # A function that is being made or whose last update failed, a queue that is changed: over later, perhaps.
            if isinstance(error, ResourceConflict) or (error.status >= 500 and not isinstance(error, TooManyRequests)):
                raise TooManyRequests(error.message, Type="User") from error
            raise

    async def _invoke(self, ref: FunctionRef, body: bytes, event_id: str, trace_id: str) -> None:
        if len(body) > ASYNC_PAYLOAD_BYTES:
            raise RequestTooLarge(
                f"Request must be smaller than {ASYNC_PAYLOAD_BYTES} bytes for the InvokeFunction operation",
                Type="User",
            )
        turn = lineage.next_turn(trace_id, ref.ident, event_id)
        for _ in range(ACCEPT_TRIES):
            record = await self._functions.load(ref.ident)
            if record is None:
                raise not_found(ref)
            placement = await self._accept(ref, record, body, event_id, turn)
            if placement is Placement.FULL:
                raise TooManyRequests(f"The queue of {ref.arn} is full.", Type="User")
            if placement is not Placement.STALE:
                return
        raise TooManyRequests(f"{ref.arn} changes faster than it can be read.", Type="User")

    async def _accept(
        self, ref: FunctionRef, record: FunctionRecord, body: bytes, event_id: str, turn: lineage.Turn
    ) -> Placement:
        version = resolve(record, ref, roll=random.random())  # noqa: S311 - a weighted choice, not a secret
        invocation = event_invocation(
            version, ref, body, event_id=event_id, trace_id=turn.trace_id, placed_at_ms=time.time_ns() // 1_000_000
        )
        now_ms = self._clock.now_ms()
        meta = event_meta(record, version, ref, now_ms=now_ms)
        if turn.stopped(record.recursive_loop):
            log.warning("recursive loop stopped", function=ref.arn, request_id=event_id, turn=turn.number)
            await self._invocations.accept_ended(invocation, meta, retries.stop(meta, now_ms=now_ms), once_s=ONCE_S)
            return Placement.PLACED
        return await self._accepts.submit((invocation, record.generation, meta))

    async def _send(self, arn: str, message: NewMessage) -> None:
        ref = QueueRef.parse(arn)
        if ref is None:
            raise InvalidParameterValue(f"Nothing can be sent to {arn}: it names no queue.", Type="User")
        queue = await self._queues.known(ref)
        if not queue.fifo:
            message = replace(message, group_id="", deduplication_id="")
        check_message(queue, message)
        await self._queues.send(queue, [message], now_ms=self._clock.now_ms())
