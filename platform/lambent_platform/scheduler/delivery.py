"""What the scheduler sends on its own account: to destinations, dead-letter queues, targets of schedules and rules.

A delivery has an id. To a function it is an asynchronous invocation whose id is made of that, to a queue a message
whose id is; so whoever dies between a delivery and noting it down delivers again, and it is still one.
"""

from __future__ import annotations

import functools
import random
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import InvalidParameterValue, RequestTooLarge, ResourceConflict, TooManyRequests
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.contracts.limits import ASYNC_PAYLOAD_BYTES
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.resolution import event_meta, not_found, resolve
from lambent_platform.scheduler.capacity import Functions
from lambent_platform.store.batches import Batcher
from lambent_platform.store.invocations import InvocationStore, Placement

NAMESPACE: Final = uuid.UUID("6f2d1a52-5b1f-4f0e-9d2e-0c4f6f3f7a11")
ONCE_S: Final = 900
"""How long an accepted delivery is remembered: longer than it takes another scheduler to go on where one was killed."""
ACCEPT_TRIES: Final = 5


class Deliverer:
    """Sends to functions and queues, by their ARN; one for each process."""

    def __init__(self, invocations: InvocationStore, functions: Functions, clock: EventClock) -> None:
        self._functions = functions
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
    ) -> None:
        """Send `body` to a function (also qualified) or a queue; twice with the same `delivery_id` is once.

        `message_attributes` (in the shape of SQS's model) and `group_id` (of FIFO queues) are for queues alone.

        Raises:
            TooManyRequests, StoreUnavailable: not now; try again later.
            ApiError (any other): never; trying again changes nothing.
        """
        ref = FunctionRef.parse(arn) if ":function:" in arn else None
        if ref is None:
            raise InvalidParameterValue(f"Nothing can be sent to {arn}: it is no function.", Type="User")
        await self._invoke(ref, body, delivery_id, trace_id)

    async def _invoke(self, ref: FunctionRef, body: bytes, delivery_id: str, trace_id: str) -> None:
        if len(body) > ASYNC_PAYLOAD_BYTES:
            raise RequestTooLarge(
                f"Request must be smaller than {ASYNC_PAYLOAD_BYTES} bytes for the InvokeFunction operation",
                Type="User",
            )
        event_id = str(uuid.uuid5(NAMESPACE, delivery_id))
        for _ in range(ACCEPT_TRIES):
            record = await self._functions.load(ref.ident)
            if record is None:
                raise not_found(ref)
            try:
                version = resolve(record, ref, roll=random.random())  # noqa: S311 - a weighted choice, not a secret
            except ResourceConflict as error:
                # It is being made, or its last update failed: both can be over later.
                raise TooManyRequests(error.message, Type="User") from error
            invocation = Invocation(
                id=event_id,
                target=version.target,
                kind="event",
                qualified_arn=ref.qualified_arn if ref.qualifier else ref.arn,
                payload=body,
                trace_id=trace_id,
                placed_at_ms=time.time_ns() // 1_000_000,
            )
            meta = event_meta(record, version, ref, now_ms=self._clock.now_ms())
            placement = await self._accepts.submit((invocation, record.generation, meta))
            if placement is Placement.FULL:
                raise TooManyRequests(f"The queue of {ref.arn} is full.", Type="User")
            if placement is not Placement.STALE:
                return
        raise TooManyRequests(f"{ref.arn} changes faster than it can be read.", Type="User")
