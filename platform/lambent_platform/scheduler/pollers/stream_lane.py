"""One lane of a stream: its entries in order, batch after batch, each until it succeeds or is given up."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.contracts.errors import ApiError, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_platform.contracts.mappings import CALL_FAILED, PROCESSED, THROTTLED
from lambent_platform.contracts.streams import StreamEntry, StreamRef
from lambent_platform.core import stream_batches
from lambent_platform.core.stream_batches import Batch, Condition, Outcome, Rules
from lambent_platform.core.stream_event import GivenUp, dead_entry, envelope
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.scheduler.pollers.metrics import PollerMetrics
from lambent_platform.scheduler.pollers.port import Assignment
from lambent_platform.scheduler.pollers.queue_call import Caller
from lambent_platform.store.streams import StreamGroup

SOURCE: Final = "redis-streams"
"""What metrics call this kind of source."""
EVENT_START: Final = b'{"Records":['
EVENT_END: Final = b"]}"
RECORDS_BYTES_MAX: Final = SYNC_PAYLOAD_BYTES - len(EVENT_START) - len(EVENT_END)
LOOK_S: Final = 1.0
"""Longest sleep of a lane that waits for event time, which may be moved."""
BURY_COUNT: Final = 100

log = structlog.get_logger("scheduler")


@dataclass(frozen=True, slots=True)
class Item:
    """An entry as a lane holds it."""

    entry: StreamEntry
    record: bytes
    """The entry's record, as JSON."""
    taken_ms: int
    """When it was read, in event time."""
    arrived_ms: int
    """When it was added, in event time, which may be ahead of the time in its id."""
    again: bool
    """Whether it had been handed out before."""

    @property
    def size(self) -> int:
        """Bytes that it takes up in an event, with its comma."""
        return len(self.record) + 1


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What all lanes use."""

    caller: Caller
    deliverer: Deliverer
    timer: EventTimer
    metrics: PollerMetrics


class Lane:
    """Entries wait here in order. `stopping` ends it after the call that is on its way."""

    def __init__(
        self,
        assignment: Assignment,
        group: StreamGroup,
        parts: LaneParts,
        *,
        noted: str,
        note: Callable[[str], Awaitable[None]],
        freed: Callable[[], None],
        stopping: asyncio.Event,
    ) -> None:
        self._assignment = assignment
        self._group = group
        self._caller = parts.caller
        self._deliverer = parts.deliverer
        self._timer = parts.timer
        self._metrics = parts.metrics
        self._noted = noted
        self._resumed = noted
        self._note = note
        self._freed = freed
        self._stopping = stopping
        self._arrived = asyncio.Event()
        self._waiting: deque[Item] = deque()
        self.waiting_bytes = 0
        self.held: set[str] = set()
        """Ids of the entries that wait, or are worked on, and are not acknowledged."""

    @property
    def waiting_count(self) -> int:
        """Entries that wait for their batch."""
        return len(self._waiting)

    def put(self, item: Item) -> None:
        """Add an entry behind the others."""
        self.held.add(item.entry.id)
        self._waiting.append(item)
        self.waiting_bytes += item.size
        self._arrived.set()

    async def run(self) -> None:
        """Work on batches until `stopping`.

        Raises:
            StoreUnavailable, StreamError: the stream, or the platform, cannot go on; what is in hand stays pending.
        """
        while items := await self._gather():
            by_id = {item.entry.id: item for item in items}
            ids = tuple(by_id)
            batches = stream_batches.resume(ids, self._resumed) if items[0].again else (Batch(ids),)
            while batches and not self._stopping.is_set():
                batches = await self._work(batches, by_id)

    async def _gather(self) -> list[Item]:
        """Take the next batch: full, or of all that came within the window; nothing where the lane is to end."""
        while not self._waiting:
            if not await self._sleep(None):
                return []
        first = self._waiting[0]
        while not first.again and not self._full():
            left_ms = first.taken_ms + self._assignment.record.window_s * 1000 - self._timer.now_ms()
            if left_ms <= 0:
                break
            await self._sleep(left_ms)
            if self._stopping.is_set():
                return []
        return self._take()

    def _full(self) -> bool:
        return len(self._waiting) >= self._assignment.record.batch_size or self.waiting_bytes >= RECORDS_BYTES_MAX

    def _take(self) -> list[Item]:
        again = self._waiting[0].again
        items: list[Item] = []
        size = 0
        while self._waiting and len(items) < self._assignment.record.batch_size and self._waiting[0].again == again:
            size += self._waiting[0].size
            if items and size > RECORDS_BYTES_MAX:
                break
            item = self._waiting.popleft()
            self.waiting_bytes -= item.size
            items.append(item)
        self._freed()
        return items

    async def _sleep(self, for_ms: int | None) -> bool:
        """Wait for another entry, or for event time to pass; False where the lane is to end."""
        self._arrived.clear()
        awaited: list[Coroutine[Any, Any, object]] = [self._arrived.wait(), self._stopping.wait()]
        if for_ms is not None:
            awaited.append(self._passed(for_ms))
        await _first(awaited)
        return not self._stopping.is_set()

    async def _pause(self, for_ms: int) -> None:
        await _first([self._passed(for_ms), self._stopping.wait()])

    async def _passed(self, for_ms: int) -> None:
        """Return once so much event time has passed, whoever moves it."""
        due_ms = self._timer.now_ms() + for_ms
        while self._timer.now_ms() < due_ms:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._timer.sleep_until(due_ms)
            except TimeoutError:
                continue

    async def _work(self, batches: tuple[Batch, ...], items: dict[str, Item]) -> tuple[Batch, ...]:
        """Try the first of the batches, and return those that are left."""
        batch, *rest = batches
        rules = self._rules()
        held = [items[entry_id] for entry_id in batch.ids]
        expired = stream_batches.expired_count([i.arrived_ms for i in held], rules, now_ms=self._timer.now_ms())
        if expired:
            old, others = stream_batches.split(batch, expired)
            await self._give_up(old, items, "RecordAgeExceeded")
            return await self._left((others, *rest) if others.ids else tuple(rest))
        fitting = stream_batches.fitting_count([item.size for item in held], RECORDS_BYTES_MAX + 1)
        if fitting == 0:
            large, others = stream_batches.split(batch, 1)
            await self._give_up(large, items, "PayloadSizeExceeded")
            return await self._left((others, *rest) if others.ids else tuple(rest))
        if fitting < len(held):
            return (*stream_batches.split(batch, fitting), *rest)
        request_id = str(uuid.uuid4())
        outcome, reply = await self._call(held, request_id)
        step = stream_batches.after(batch, outcome, rules)
        self._count(outcome, len(step.done), len(batch.ids) - len(step.done))
        await self._group.ack(step.done)
        self.held.difference_update(step.done)
        if step.dropped is not None:
            await self._give_up(step.dropped, items, "RetryAttemptsExhausted", request_id, reply)
        left = await self._left((*step.next, *rest))
        if step.delay_ms:
            await self._pause(step.delay_ms)
        return left

    def _count(self, outcome: Outcome, done: int, failed: int) -> None:
        kind = "given_up" if outcome.kind == "refused" else outcome.kind
        self._metrics.batch(SOURCE, kind, processed=done, failed=failed)

    def _rules(self) -> Rules:
        record = self._assignment.record
        return Rules(
            retries_max=None if record.retries_max < 0 else record.retries_max,
            age_max_ms=None if record.record_age_max_s < 0 else record.record_age_max_s * 1000,
            bisect=record.bisect,
        )

    async def _call(self, items: Sequence[Item], request_id: str) -> tuple[Outcome, Reply | None]:
        record = self._assignment.record
        payload = b"".join((EVENT_START, b",".join(item.record for item in items), EVENT_END))
        try:
            reply = await self._caller.invoke(record.function, payload, CallOptions(request_id=request_id))
        except TooManyRequests:
            self._assignment.report(THROTTLED)
            return Outcome("refused"), None
        except ApiError as error:
            self._assignment.report(f"{CALL_FAILED}: {error.message}"[:512])
            return Outcome("refused"), None
        if reply.function_error:
            outcome = Outcome("failed")
        elif record.report_item_failures:
            outcome = stream_batches.reported(reply.payload, [item.entry.id for item in items])
        else:
            outcome = Outcome("ok")
        self._assignment.report(PROCESSED if outcome.kind == "ok" else CALL_FAILED)
        return outcome, reply

    async def _left(self, batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
        """Note how far the batches that are left have got, where that changed."""
        noted = stream_batches.note(batches)
        if noted != self._noted:
            await self._note(noted)
            self._noted = noted
        return batches

    async def _give_up(
        self,
        batch: Batch,
        items: dict[str, Item],
        condition: Condition,
        request_id: str = "",
        reply: Reply | None = None,
    ) -> None:
        """Tell the destination of entries that are given up, and be done with them."""
        record = self._assignment.record
        stream = StreamRef.parse(record.source_arn)
        assert stream is not None  # mappings of streams have no other source
        given_up = GivenUp(
            stream=stream,
            function_arn=record.function.qualified_arn,
            condition=condition,
            entries=tuple(items[entry_id].entry for entry_id in batch.ids),
            request_id=request_id or str(uuid.uuid4()),
            invokes=batch.invokes,
            executed_version=reply.executed_version if reply else "",
            function_error=reply.function_error if reply else "",
        )
        log.warning(
            "entries given up",
            mapping=record.uuid,
            stream=stream.key,
            condition=condition,
            first=batch.ids[0],
            last=batch.ids[-1],
            count=len(batch.ids),
            destination=record.on_failure_arn,
        )
        dead_letters = StreamRef.parse(record.on_failure_arn)
        if dead_letters is not None:
            for first in range(0, len(given_up.entries), BURY_COUNT):
                part = given_up.entries[first : first + BURY_COUNT]
                await self._group.bury(dead_letters.key, [(each.id, dead_entry(given_up, each)) for each in part])
        else:
            if record.on_failure_arn:
                await self._deliver(record.on_failure_arn, given_up)
            await self._group.ack(batch.ids)
        self.held.difference_update(batch.ids)

    async def _deliver(self, arn: str, given_up: GivenUp) -> None:
        mapping = self._assignment.record.uuid
        first, last = given_up.entries[0].id, given_up.entries[-1].id
        body = orjson.dumps(envelope(given_up, now_ms=self._timer.now_ms()))
        delays = 0
        while True:
            try:
                await self._deliverer.deliver(arn, body, delivery_id=f"{mapping}/{first}/{last}/{given_up.condition}")
                return
            except TooManyRequests as error:
                log.warning("destination is full", mapping=mapping, destination=arn, error=error.message)
            except ApiError as error:
                log.error("destination refused", mapping=mapping, destination=arn, error=error.message)
                return
            delays += 1
            await self._pause(stream_batches.retry_delay_ms(delays))
            if self._stopping.is_set():
                raise StoreUnavailable("the destination takes nothing now; the batch stays pending")


async def _first(awaited: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Wait until one of several has ended, and end the others."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
