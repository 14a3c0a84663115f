"""The loop of schedules and rules: ticks become firings, firings go to their targets.

It sleeps until the next tick or firing is due, or until one is made that is due earlier. A tick becomes firings and
the schedule goes on to its next tick in one script, which only one scheduler gets through; a firing is sent under an
id that is made of its tick, so that whoever sends it again sends nothing. Nothing is kept in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import structlog

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.contracts.errors import ApiError, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.schedules import Firing, SourceRecord
from lambent_platform.core.schedules.firing import after_failure, dead_letter, firings_of, is_over, request_now
from lambent_platform.core.schedules.payload import PayloadError, Request
from lambent_platform.core.schedules.timeline import due_ticks
from lambent_platform.core.schedules.timelines import timeline_of
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.scheduler.loops import BACKOFF_S
from lambent_platform.scheduler.schedule_counts import ScheduleCounts
from lambent_platform.store.clock import ClockStore
from lambent_platform.store.schedules import GroupStore, ScheduleStore, Ticked

SCHEDULES_AT_ONCE: Final = 100
SENDS_AT_ONCE: Final = 64
LOOK_S: Final = 30.0
"""When what is due is looked up although nothing said so: a wake-up can get lost with its connection."""
UNREADABLE_MS: Final = 60_000
"""When a schedule that cannot be read is looked at again."""
GROUP_PAGE: Final = 100

log = structlog.get_logger("scheduler")


class ScheduleLoop:
    """Fires schedules and rules. Only the leader runs it, and two leaders do no harm."""

    def __init__(
        self,
        schedules: ScheduleStore,
        groups: GroupStore,
        clocks: ClockStore,
        deliverer: Deliverer,
        timer: EventTimer,
    ) -> None:
        self._schedules = schedules
        self._groups = groups
        self._clocks = clocks
        self._deliverer = deliverer
        self._timer = timer
        self._written = asyncio.Event()
        """A schedule was made or changed."""
        self._fired = asyncio.Event()
        """There is a new firing, or room to send one."""
        self._sending: set[str] = set()
        self._crowded: set[str] = set()
        """Schedules whose ticks wait for room, so that it is said once of each."""
        self.counts = ScheduleCounts()

    async def step(self) -> None:
        """Tick and fire until cancelled.

        Raises:
            StoreUnavailable: Redis is away.
        """
        self._written.set()
        self._fired.set()
        self._sending.clear()
        self._crowded.clear()
        try:
            async with asyncio.TaskGroup() as group:
                for partition in self._schedules.prefixes:
                    group.create_task(self._watch(partition))
                group.create_task(self._tick_on())
                group.create_task(self._send_on(group))
        except BaseExceptionGroup as failures:
            away, others = failures.split(StoreUnavailable)
            if away is None or others is not None:
                raise
            raise StoreUnavailable(str(away.exceptions[0])) from failures

    async def _watch(self, partition: str) -> None:
        while True:
            if await self._schedules.woken(partition, wait_s=LOOK_S):
                self._written.set()
                self._fired.set()

    async def _tick_on(self) -> None:
        while True:
            self._written.clear()
            await self._delete_groups()
            now_ms = self._timer.now_ms()
            due, next_ms = await self._schedules.due(now_ms, limit=SCHEDULES_AT_ONCE)
            if not due:
                await self._sleep(next_ms, self._written)
                continue
            moves = await self._clocks.moves()
            records = await self._schedules.load_many(due)
            await asyncio.gather(*(self._tick(record, now_ms, moves) for record in records))
            self._fired.set()

    async def _tick(self, record: SourceRecord, now_ms: int, moves: Sequence[tuple[int, int]]) -> None:
        try:
            line = timeline_of(record)
        except ValueError:
            # Its zone was taken out of the database of zones, say: no reason to hold the others up.
            log.exception("a schedule cannot be read", schedule=record.arn)
            line = None
        if line is None or record.next_ms is None:
            await self._schedules.look_again(record.id, at_ms=now_ms + UNREADABLE_MS)
            return
        due = due_ticks(line, record.next_ms, now_ms=now_ms, moves=moves, passed=record.passed)
        over = is_over(record, due.next_ms)
        firings = firings_of(record, due.fire_ms, now_ms=now_ms, last=over)
        said = await self._schedules.tick(record, Ticked(firings, due.next_ms, due.passed, over), now_ms=now_ms)
        if said < 0:
            if record.id not in self._crowded:
                self._crowded.add(record.id)
                log.warning("too many firings wait for their target; ticks wait too", schedule=record.arn)
        elif said:
            self._crowded.discard(record.id)
            self.counts.ticked += len(due.fire_ms)
            if due.missed_since_ms is not None:
                self.counts.missed += 1
                log.warning(
                    "ticks were missed; only the newest of them is fired, late",
                    schedule=record.arn,
                    first_missed_ms=due.missed_since_ms,
                    fired_ms=due.fire_ms[0],
                )

    async def _send_on(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._fired.clear()
            room = SENDS_AT_ONCE - len(self._sending)
            # Those under way are still due, and come first.
            due, next_ms = (
                await self._schedules.due_firings(self._timer.now_ms(), limit=len(self._sending) + room if room else 0)
                if room
                else ([], None)
            )
            for firing in await self._schedules.firings([one for one in due if one not in self._sending]):
                self._sending.add(firing.id)
                group.create_task(self._send(firing))
            await self._sleep(next_ms, self._fired)

    async def _send(self, firing: Firing) -> None:
        try:
            await self._send_once(firing)
        except StoreUnavailable as error:
            log.warning("redis is away", loop="schedules", error=str(error))
            await asyncio.sleep(BACKOFF_S[2])
        except Exception:
            log.exception("a firing failed", schedule=firing.arn, id=firing.id)
            await asyncio.sleep(BACKOFF_S[-1])
        finally:
            self._sending.discard(firing.id)
            self._fired.set()

    async def _send_once(self, firing: Firing) -> None:
        if firing.cancellable and not await self._still_wanted(firing):
            await self._schedules.sent(firing)
            return
        request: Request | None = None
        try:
            request = request_now(firing)
            if not firing.failure:
                await self._deliver(firing, request)
                await self._schedules.sent(firing)
                self.counts.sent += 1
                return
        except PayloadError as error:
            if not firing.failure:
                await self._failed(
                    firing, request, ApiError(str(error), code="InvalidParameterValueException", status=400)
                )
                return
        except ApiError as error:
            await self._failed(firing, request, error)
            return
        await self._bury(firing, request)

    async def _deliver(self, firing: Firing, request: Request) -> None:
        await self._deliverer.deliver(
            request.arn,
            request.body,
            delivery_id=firing.id,
            message_attributes=request.message_attributes,
            group_id=request.group_id,
            deduplication_id=request.deduplication_id,
            delay_s=request.delay_s,
        )

    async def _still_wanted(self, firing: Firing) -> bool:
        record = await self._schedules.load(firing.source)
        return record is not None and record.enabled

    async def _failed(self, firing: Firing, request: Request | None, error: ApiError) -> None:
        failed = after_failure(
            firing,
            code=error.code,
            message=error.message,
            passing=isinstance(error, TooManyRequests),
            now_ms=self._timer.now_ms(),
        )
        if failed.again_ms is not None:
            await self._schedules.postpone(failed.firing, due_ms=failed.again_ms)
        else:
            await self._bury(failed.firing, request)

    async def _bury(self, firing: Firing, request: Request | None) -> None:
        """Tell the dead-letter queue of a firing that is given up, for as long as its queue cannot take it."""
        letter = dead_letter(firing, request)
        told = False
        if letter is not None:
            try:
                await self._deliverer.deliver(
                    letter.arn,
                    letter.body,
                    delivery_id=f"{firing.id}:dead",
                    message_attributes=letter.attributes,
                )
                told = True
            except TooManyRequests:
                again_ms = self._timer.now_ms() + round(BACKOFF_S[-1] * 1000)
                await self._schedules.postpone(firing, due_ms=again_ms)
                return
            except ApiError as error:
                log.error("the dead-letter queue refused", schedule=firing.arn, queue=letter.arn, reason=error.message)
        await self._schedules.sent(firing)
        self.counts.dead += 1
        log.error(
            "a firing was given up",
            schedule=firing.arn,
            target=firing.target.get("Arn"),
            reason=f"{firing.failure['code']}: {firing.failure['message']}",
            dead_lettered=told,
        )

    async def _delete_groups(self) -> None:
        """Delete the schedules of groups that are being deleted, and then those groups."""
        for account, region, name in await self._groups.deleting():
            while ids := await self._schedules.page(f"schedule/{account}:{region}:{name}/", limit=GROUP_PAGE):
                for record in await self._schedules.load_many(ids):
                    await self._schedules.delete(record)
            group = await self._groups.load(account, region, name)
            if group is not None:
                await self._groups.write(account, region, name, group, None)

    async def _sleep(self, until_ms: int | None, woken: asyncio.Event) -> None:
        """Sleep until a time has come, or something happened, or for `LOOK_S`."""
        waits: set[asyncio.Future[object]] = {asyncio.ensure_future(woken.wait())}
        if until_ms is not None:
            waits.add(asyncio.ensure_future(self._timer.sleep_until(until_ms)))
        try:
            await asyncio.wait(waits, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*waits, return_exceptions=True)
