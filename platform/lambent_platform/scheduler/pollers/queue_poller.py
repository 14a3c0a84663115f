"""Polls queues: receives what is there, gathers it into batches, and calls the function with several at a time.

One loop a mapping receives; each batch is a task. The loop sleeps until something arrives, or becomes receivable by
the time alone, so that an idle queue costs one look a minute.

Source: Lambda Developer Guide, "Using Lambda with Amazon SQS".
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Sequence
from typing import Final

import structlog

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.contracts.errors import ApiError, StoreUnavailable
from lambent_platform.contracts.mappings import (
    CALL_FAILED,
    INTERNAL,
    LOOP_STOPPED,
    PROCESSED,
    THROTTLED,
    MappingRecord,
)
from lambent_platform.contracts.queues import Message, QueueRecord, QueueRef
from lambent_platform.core.filter_criteria import FilterCriteria
from lambent_platform.core.polling import Pace, Seen, next_pace
from lambent_platform.core.queue_event import encode_record, record_of
from lambent_platform.scheduler.pollers.port import Assignment
from lambent_platform.scheduler.pollers.queue_batches import Batch, Held, InHand, gather
from lambent_platform.scheduler.pollers.queue_call import Ended, QueueCalls
from lambent_platform.store.arrivals import Arrivals, Interest

RECEIVE_FIRST: Final = 10
"""Most messages of the first receive, which tells how large they are."""
RECEIVE_MAX: Final = 500
RECEIVE_BYTES: Final = 4 * 1024 * 1024
"""About what one receive may bring."""
HELD_BYTES_MAX: Final = 64 * 1024 * 1024
"""About what one mapping may have in hand."""
IDLE_S: Final = 60.0
OBSTACLE_S: Final = (0.5, 1.0, 2.0, 5.0)
REDIS_AWAY_S: Final = 1.0
LIMITED_S: Final = 1.0
GIVE_BACK_S: Final = 1.0
AGAIN_MS: Final = 10
"""Least time until a look that only time is the reason for."""
EXTEND_PARTS: Final = 3
"""Messages in hand are looked at each third of their visibility timeout."""

log = structlog.get_logger("scheduler")


class QueuePoller:
    """Polls any number of queues, each by a mapping of its own."""

    def __init__(self, calls: QueueCalls, arrivals: Arrivals, timer: EventTimer) -> None:
        self._calls = calls
        self._arrivals = arrivals
        self._timer = timer

    async def poll(self, assignment: Assignment) -> None:
        """Feed one mapping's function until it is not enabled any more and nothing is in hand."""
        ref = QueueRef.parse(assignment.record.source_arn)
        if ref is None:
            raise ValueError(f"not a queue: {assignment.record.source_arn}")
        async with self._arrivals.interested(ref.ident) as interest, asyncio.TaskGroup() as group:
            assignment.ready.set()
            await _Polling(assignment, ref, self._calls, self._arrivals, interest, self._timer, group).run()

    async def forget(self, record: MappingRecord) -> None:
        """Nothing is left of a mapping at its queue."""


class _Polling:
    """One mapping being polled."""

    def __init__(
        self,
        assignment: Assignment,
        ref: QueueRef,
        calls: QueueCalls,
        arrivals: Arrivals,
        interest: Interest,
        timer: EventTimer,
        group: asyncio.TaskGroup,
    ) -> None:
        self._assignment = assignment
        self._ref = ref
        self._calls = calls
        self._arrivals = arrivals
        self._interest = interest
        self._timer = timer
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(looked_at_s=self._loop.time())
        self._running: set[Batch] = set()
        self._in_hand = InHand()
        self._gathered: Batch | None = None
        self._full = False
        """Whether the loop waits for a batch to end."""
        self._extender: asyncio.Task[None] | None = None
        self._queue: QueueRecord | None = None
        """The queue as it was last seen."""
        self._visibility_s = 1
        self._mean_bytes = 0.0
        self._callable_arn = ""
        """The function that was found to be callable."""
        self._obstacles = 0
        """Looks in a row that found no queue, or no function."""
        self._filters: tuple[tuple[str, ...], FilterCriteria] = ((), FilterCriteria())

    @property
    def _record(self) -> MappingRecord:
        return self._assignment.record

    async def run(self) -> None:
        """Receive while the mapping is enabled, then let what is in hand end."""
        try:
            while True:
                self._assignment.changed.clear()
                self._full = False
                if self._assignment.enabled:
                    try:
                        await self._turn()
                    except StoreUnavailable as error:
                        log.warning("redis is away", mapping=self._record.uuid, error=str(error))
                        await self._pause(REDIS_AWAY_S)
                    continue
                self._flush()
                if not self._running:
                    return
                self._full = True
                await self._pause(IDLE_S)
        finally:
            if self._extender is not None:
                self._extender.cancel()
            await self._give_back()

    async def _give_back(self) -> None:
        """Let others have at once what was gathered and never called; what is being called comes back by itself."""
        batch, self._gathered = self._gathered, None
        if batch is not None and self._queue is not None:
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(GIVE_BACK_S):
                    await self._calls.extend(self._queue, [batch], for_s=0, until_s=0.0)

    async def _pause(self, timeout_s: float) -> None:
        """Wait for a change, or while `_full` is set for a batch to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._assignment.changed.wait()

    async def _turn(self) -> None:
        """Receive once, or wait for a reason to."""
        problem = await self._obstacle()
        queue = self._queue
        if problem or queue is None:
            self._assignment.report(f"PROBLEM: {problem}")
            pause_s = OBSTACLE_S[min(self._obstacles, len(OBSTACLE_S) - 1)]
            self._obstacles += 1
            await self._pause(pause_s)
            return
        self._obstacles = 0
        slots = self._pace.allowed(self._record.concurrency_max) - len(self._running)
        if slots > 0 and self._due():
            self._flush()
            slots -= 1
        if slots <= 0 or self._held_bytes() >= HELD_BYTES_MAX:
            self._full = True
            await self._pause(IDLE_S)
            return
        room = self._room(slots, queue)
        count = self._count(room)
        received_s = self._loop.time()
        try:
            received = await self._calls.queues.receive(
                queue, count=count, now_ms=self._timer.now_ms(), visibility_timeout_s=self._visibility_s
            )
        except ApiError:
            return  # it is gone: the next turn says so
        found = received.messages
        self._look(Seen(backlog=len(found) == count == room, idle=not found))
        if found:
            self._take(queue, found, received_s)
        elif received.over_limit:
            await self._pause(LIMITED_S)
        else:
            await self._idle(received.next_ms)

    async def _obstacle(self) -> str:
        """Why nothing can be received now; "" where queue and function are there."""
        calls = self._calls
        try:
            # Where something is missing, what is stored counts, and not what was read before.
            queue = await (calls.queues.current if self._obstacles else calls.queues.known)(self._ref)
        except ApiError as error:
            self._queue = None
            return f"SQS error {error.code}: {error.message}"
        if self._queue is None or self._queue.incarnation != queue.incarnation:
            await self._arrivals.register(self._ref.ident)  # who waited for the one before does not for this
        self._queue, self._visibility_s = queue, max(queue.visibility_timeout_s, 1)
        arn = self._record.function_arn
        if self._callable_arn != arn:
            try:
                await calls.caller.check(self._record.function)
            except ApiError as error:
                return error.message
            self._callable_arn = arn
        return ""

    def _room(self, slots: int, queue: QueueRecord) -> int:
        """How many messages there are batches for."""
        if queue.fifo:
            # A batch at a time: of a group's messages in two batches the second would have to wait for the first.
            return self._record.batch_size
        return slots * self._record.batch_size - (len(self._gathered.held) if self._gathered else 0)

    def _count(self, room: int) -> int:
        by_size = RECEIVE_BYTES / self._mean_bytes if self._mean_bytes else RECEIVE_FIRST
        return max(1, min(room, RECEIVE_MAX, int(by_size)))

    def _held_bytes(self) -> int:
        return sum(batch.size_bytes for batch in self._running) + (self._gathered.size_bytes if self._gathered else 0)

    def _take(self, queue: QueueRecord, messages: Sequence[Message], received_s: float) -> None:
        """Make batches of what was received, and start those that are full or need not wait."""
        held = self._filtered(queue, self._in_hand.sift(messages, fifo=queue.fifo))
        if not held:
            return
        mapping, until_s = self._record, received_s + self._visibility_s
        begin = Batch(invisible_until_s=until_s, extended_until_s=until_s)
        if mapping.window_s:
            begin.due_ms = self._timer.now_ms() + mapping.window_s * 1000
            begin.due_s = self._loop.time() + mapping.window_s
        batches = gather(self._gathered, held, batch_size=mapping.batch_size, begin=begin)
        for batch in batches:
            self._in_hand.hold(batch, fifo=queue.fifo)
        self._gathered = None
        if mapping.window_s and len(batches[-1].held) < mapping.batch_size:
            self._gathered = batches.pop()
        if queue.fifo:
            self._start(queue, batches)
        else:
            for batch in batches:
                self._start(queue, [batch])
        self._extend_in_time()

    def _filtered(self, queue: QueueRecord, messages: Sequence[Message]) -> list[Held]:
        """What the function is to see; the rest is deleted."""
        criteria = self._criteria()
        held: list[Held] = []
        rejected: list[str] = []
        for message in messages:
            record = record_of(message, queue)
            if criteria.passes_message(record):
                held.append(Held(message, encode_record(record)))
            else:
                rejected.append(message.receipt_handle)
        if messages:
            mean = sum(len(message.body) for message in messages) / len(messages) + 1
            self._mean_bytes = (self._mean_bytes + mean) / 2 if self._mean_bytes else mean
        if rejected:
            self._calls.metrics.filtered("sqs", len(rejected))
            self._group.create_task(self._calls.delete(queue, rejected))
        return held

    def _criteria(self) -> FilterCriteria:
        patterns = self._record.filters
        if self._filters[0] != patterns:
            self._filters = (patterns, FilterCriteria.parse({"Filters": [{"Pattern": one} for one in patterns]}))
        return self._filters[1]

    def _due(self) -> bool:
        batch = self._gathered
        if batch is None:
            return False
        return self._timer.now_ms() >= batch.due_ms or self._loop.time() >= batch.due_s

    def _flush(self) -> None:
        """Let go what was gathered, full or not."""
        batch, self._gathered = self._gathered, None
        if batch is not None and self._queue is not None:
            self._start(self._queue, [batch])

    def _start(self, queue: QueueRecord, batches: list[Batch]) -> None:
        """Run batches at once, one behind the other."""
        self._running.update(batches)
        self._group.create_task(self._run(self._record, queue, batches))

    async def _run(self, mapping: MappingRecord, queue: QueueRecord, batches: list[Batch]) -> None:
        try:
            for batch in batches:
                ended = await self._calls.run(mapping, queue, batch, throttled=self._throttled)
                self._running.discard(batch)
                self._note(ended)
                if ended not in (Ended.OK, Ended.STOPPED):
                    return  # what comes behind it may be of its group
        except Exception:
            log.exception("batch failed", mapping=mapping.uuid)
            self._assignment.report(INTERNAL)
        finally:
            self._running.difference_update(batches)
            for batch in batches:
                self._in_hand.release(batch)
            if self._full:
                self._assignment.changed.set()

    def _note(self, ended: Ended) -> None:
        """Say what a batch ended with, and go on accordingly."""
        if ended in (Ended.OK, Ended.PARTIAL):
            self._assignment.report(PROCESSED)
            self._look(Seen(ended=1))
        elif ended is Ended.STOPPED:
            self._assignment.report(LOOP_STOPPED)
        elif ended is Ended.UNCALLABLE:
            self._callable_arn = ""  # the next turn says why
        elif ended is not Ended.THROTTLED:
            self._assignment.report(CALL_FAILED)
            self._look(Seen(failed=True, ended=1))

    def _throttled(self) -> None:
        self._assignment.report(THROTTLED)
        self._look(Seen(throttled=True))

    def _look(self, seen: Seen) -> None:
        limit = self._record.concurrency_max
        self._pace = next_pace(self._pace, seen, now_s=self._loop.time(), concurrency_max=limit)

    def _extend_in_time(self) -> None:
        if self._extender is None or self._extender.done():
            self._extender = self._group.create_task(self._extend())

    async def _extend(self) -> None:
        """Keep what is in hand invisible: a batch that is being gathered, or whose function still runs."""
        while self._running or self._gathered:
            await asyncio.sleep(self._visibility_s / EXTEND_PARTS)
            now_s = self._loop.time()
            soon_s = now_s + self._visibility_s * (1 - 1 / EXTEND_PARTS)
            batches = [*self._running, *([self._gathered] if self._gathered else [])]
            late = [batch for batch in batches if batch.extensible and batch.extended_until_s < soon_s]
            if late and self._queue is not None:
                with contextlib.suppress(StoreUnavailable):
                    until_s = now_s + self._visibility_s
                    await self._calls.extend(self._queue, late, for_s=self._visibility_s, until_s=until_s)

    async def _idle(self, next_ms: int | None) -> None:
        """Sleep until something arrives or is due, or the mapping changes."""
        waits: list[Awaitable[object]] = [self._assignment.changed.wait(), self._interest.wait(IDLE_S * 2)]
        timeout_s = IDLE_S * random.uniform(0.8, 1.0)  # noqa: S311 - spreads looks, no secret
        due_ms = max(next_ms, self._timer.now_ms() + AGAIN_MS) if next_ms is not None else None
        if self._gathered is not None:
            due_ms = min(due_ms or self._gathered.due_ms, self._gathered.due_ms)
            timeout_s = min(timeout_s, max(0.0, self._gathered.due_s - self._loop.time()))
        if due_ms is not None:
            waits.append(self._timer.sleep_until(due_ms))
        await first_of(waits, timeout_s=timeout_s)


async def first_of(waits: Sequence[Awaitable[object]], *, timeout_s: float) -> None:
    """Wait until one of several is done, or so long; the others are cancelled. Raises what that one raises."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
