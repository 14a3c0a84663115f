"""One batch of a queue's messages: the function called with it, what succeeded deleted, the rest left to come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import (
    ApiError,
    RecursiveInvocation,
    ResourceConflict,
    ResourceNotFound,
    StoreUnavailable,
)
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.mappings import MappingRecord
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.contracts.queues import QueueRecord
from lambent_platform.core import lineage
from lambent_platform.core.polling import retry_in_s
from lambent_platform.core.queue_event import encode_event, failed_items, kept_in_order
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.scheduler.pollers.metrics import PollerMetrics
from lambent_platform.scheduler.pollers.queue_batches import Batch, Held
from lambent_platform.store.queues import QueueStore

DELETE_TRIES: Final = 3
DELETE_AGAIN_S: Final = 0.2
CALL_S_MAX: Final = 1.0
"""What a call that is tried again is taken to need at the least before its messages come back."""

log = structlog.get_logger("scheduler")


class Caller(Protocol):
    """The dispatcher, as pollers use it."""

    async def invoke(self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None) -> Reply:
        """Run a function and return what it ended with."""

    async def check(self, ref: FunctionRef) -> None:
        """Raise what a call of this function would be refused with."""


class Ended(Enum):
    """How a batch ended."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    THROTTLED = "throttled"
    """There was no concurrency for it until its messages had to go back."""
    UNCALLABLE = "uncallable"
    """The function is gone, or cannot be called in its state."""
    STOPPED = "stopped"
    """All its messages were part of a loop, and are out of the queue."""
    LOST = "lost"
    """The platform could not say."""


@dataclass(frozen=True, slots=True)
class QueueCalls:
    """What batches of queues' messages are called and ended with."""

    queues: QueueStore
    caller: Caller
    clock: EventClock
    metrics: PollerMetrics

    async def run(
        self, mapping: MappingRecord, queue: QueueRecord, batch: Batch, *, throttled: Callable[[], None]
    ) -> Ended:
        """Take one batch to its end; `throttled` is told of each time that there was no concurrency for it."""
        reply = await self._call(mapping, queue, batch, throttled)
        batch.extensible, batch.answered = False, True
        if reply is Ended.STOPPED:
            self.metrics.batch("sqs", "stopped")
            return reply
        if isinstance(reply, Ended):
            self.metrics.batch("sqs", "given_up", failed=len(batch.held))
            return reply
        if reply.function_error:
            self.metrics.batch("sqs", "failed", failed=len(batch.held))
            await self._give_back(queue, batch, batch.ids)
            return Ended.FAILED
        staying: frozenset[str] = frozenset()
        if mapping.report_item_failures:
            staying = failed_items(reply.payload, batch.ids)
            if queue.fifo and staying:
                staying = kept_in_order([one.message for one in batch.held], staying)
        done = [one.message.receipt_handle for one in batch.held if one.message.id not in staying]
        if done and not await self.delete(queue, done):
            # They come back: what follows in their groups must not be called before them.
            self.metrics.batch("sqs", "given_up", failed=len(batch.held))
            return Ended.LOST
        await self._give_back(queue, batch, staying)
        ended = Ended.OK if not staying else Ended.PARTIAL if done else Ended.FAILED
        self.metrics.batch("sqs", ended.value, processed=len(done), failed=len(staying))
        return ended

    async def _call(
        self, mapping: MappingRecord, queue: QueueRecord, batch: Batch, throttled: Callable[[], None]
    ) -> Reply | Ended:
        """Call the function; again where it could not be run, for as long as its messages are surely invisible."""
        ref, loop = mapping.function, asyncio.get_running_loop()
        payload, options = _call_of(batch, ref)
        attempt = 0
        while True:
            attempt += 1
            batch.extensible = True
            ended = Ended.LOST
            try:
                return await self.caller.invoke(ref, payload, options)
            except (ResourceNotFound, ResourceConflict):
                return Ended.UNCALLABLE
            except RecursiveInvocation:
                if not await self._stop_loop(mapping, queue, batch):
                    return Ended.FAILED
                if not batch.held:
                    return Ended.STOPPED
                payload, options = _call_of(batch, ref)
                continue
            except StoreUnavailable as error:
                log.warning("redis is away", mapping=mapping.uuid, error=str(error))
            except ApiError as error:
                if error.status < 500 and error.status != 429:
                    log.warning("call refused", mapping=mapping.uuid, code=error.code, error=error.message)
                    return Ended.FAILED
                if error.status == 429:
                    ended = Ended.THROTTLED
                    throttled()
                else:
                    log.warning("call lost", mapping=mapping.uuid, code=error.code, error=error.message)
            batch.extensible = False
            pause_s = retry_in_s(attempt, left_s=batch.invisible_until_s - loop.time(), call_s=CALL_S_MAX)
            if pause_s is None:
                return ended
            await asyncio.sleep(pause_s)

    async def _stop_loop(self, mapping: MappingRecord, queue: QueueRecord, batch: Batch) -> bool:
        """Take the messages out of a batch that would be one turn too many of a loop; False where there is none.

        As on Lambda they go to the queue's dead-letter queue; where it has none they are dropped, which is said.
        """
        ident = mapping.function.ident
        stopped = [one for one in batch.held if lineage.turns(_header(one), ident) >= lineage.TURNS_MAX]
        handles = [one.message.receipt_handle for one in stopped]
        if not handles:
            return False
        now_ms = self.clock.now_ms()
        if not queue.dead_letter_arn:
            await self.delete(queue, handles)
        elif await self.queues.expel(queue, handles, now_ms=now_ms) == 0:
            return False  # its dead-letter queue is gone: they stay, as those do that were received too often
        log.warning(
            "recursive loop stopped",
            mapping=mapping.uuid,
            function=mapping.function.arn,
            queue=queue.arn,
            dead_letter_queue=queue.dead_letter_arn or None,
            dropped=[] if queue.dead_letter_arn else [one.message.id for one in stopped],
            messages=len(stopped),
        )
        batch.held = [one for one in batch.held if one not in stopped]
        return True

    async def delete(self, queue: QueueRecord, handles: list[str]) -> bool:
        """Delete messages. Those that cannot be come back, and run again: False where Redis was away for too long."""
        for attempt in range(DELETE_TRIES):
            try:
                await self.queues.delete(queue, handles, now_ms=self.clock.now_ms())
            except StoreUnavailable as error:
                log.warning("redis is away", queue=queue.arn, error=str(error))
                await asyncio.sleep(DELETE_AGAIN_S * (attempt + 1))
            except ApiError:
                return True  # the queue is gone, and all that was in it
            else:
                return True
        return False

    async def _give_back(self, queue: QueueRecord, batch: Batch, staying: Collection[str]) -> None:
        """Make visible what stays and was received again while its function ran: it was visible then.

        Functions end the invisibility of a message before they fail, to have it again at once.
        """
        again = [one.message for one in batch.held if one.message.id in batch.renewed.intersection(staying)]
        if again:
            with contextlib.suppress(ApiError, StoreUnavailable):  # then they come back by themselves, later
                await self.queues.change_visibility(
                    queue, [(message.receipt_handle, 0) for message in again], now_ms=self.clock.now_ms()
                )

    async def extend(self, queue: QueueRecord, batches: list[Batch], *, for_s: int, until_s: float) -> None:
        """Let messages be invisible for so long from now on."""
        handles = [(handle, for_s) for batch in batches for handle in batch.handles]
        with contextlib.suppress(ApiError):
            await self.queues.change_visibility(queue, handles, now_ms=self.clock.now_ms())
            for batch in batches:
                batch.extended_until_s = until_s


def _call_of(batch: Batch, ref: FunctionRef) -> tuple[bytes, CallOptions]:
    """The event of a batch, and the trace header of its message that has come the furthest."""
    header = lineage.furthest(filter(None, map(_header, batch.held)), ref.ident)
    return encode_event([one.record for one in batch.held]), CallOptions(trace_id=header)


def _header(held: Held) -> str:
    return held.message.attributes.get("AWSTraceHeader", "")
