"""One reader of a stream for each mapping, and lanes that its entries are worked on in.

    XADD ──▶ stream ──▶ reader ──▶ lane ──▶ function ──▶ XACK, or the dead-letter stream

An entry belongs to the consumer group's pending entries from the moment it is read until it is done, so that whoever
polls next begins with what was in hand. Of several lanes (`ParallelizationFactor`) an entry goes to one by its field
`partitionKey`, and order holds among entries with the same; entries without it go to any.
"""

from __future__ import annotations

import asyncio
import functools
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import orjson

from lambent_platform.contracts.streams import StreamEntry, StreamRef
from lambent_platform.core.filter_criteria import FilterCriteria
from lambent_platform.core.stream_event import read_fields
from lambent_platform.core.stream_event import record as event_record
from lambent_platform.scheduler.pollers.port import Assignment
from lambent_platform.scheduler.pollers.stream_lane import SOURCE, Item, Lane, LaneParts
from lambent_platform.store.streams import BLOCK_MS_MAX, StreamGroup

PARTITION_FIELD: Final = b"partitionKey"
WAITING_BYTES_MAX: Final = 16 * 1024 * 1024
"""What entries that wait for their batch may take up; a reader with so much in hand reads no more."""
READ_AHEAD: Final = 2
"""Batches of each lane that may wait while one is worked on."""
READ_COUNT_MAX: Final = 250
STRAYS_S: Final = 5.0
"""How often a reader looks for entries that were handed out, but not to it."""
ENTRY_BYTES_ASSUMED: Final = 512 * 1024
"""How large entries are taken to be before one was seen, so that the first read brings no more than fits."""


class StreamSession:
    """One reader and its lanes, for as long as a mapping keeps its number of lanes."""

    def __init__(
        self,
        assignment: Assignment,
        stream: StreamRef,
        group: StreamGroup,
        parts: LaneParts,
        *,
        noted: str,
        save: Callable[[str], Awaitable[None]],
        role_arn: str,
    ) -> None:
        self._assignment = assignment
        self._stream = stream
        self._group = group
        self._timer = parts.timer
        self._metrics = parts.metrics
        self._save = save
        self._role_arn = role_arn
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        self._noted = _notes_of(noted, assignment.record.parallelization)
        self._lanes = [
            Lane(
                assignment,
                group,
                parts,
                noted=text,
                note=functools.partial(self._note, index),
                freed=self._room.set,
                stopping=self._stopping,
            )
            for index, text in enumerate(self._noted)
        ]
        self._looked_s = 0.0
        self._entry_bytes = ENTRY_BYTES_ASSUMED
        self._filters: tuple[tuple[str, ...], FilterCriteria] = ((), FilterCriteria())

    async def run(self) -> None:
        """Read and work until the mapping is disabled or has another number of lanes; calls that run are waited for."""
        watching = asyncio.create_task(self._watch())
        reading = asyncio.create_task(self._read())
        working = [asyncio.create_task(lane.run()) for lane in self._lanes]
        tasks = [watching, reading, *working]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            for task in (reading, *working):
                if task.done():
                    task.result()
            reading.cancel()
            await asyncio.wait(working)
            for task in working:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _note(self, index: int, text: str) -> None:
        """Keep what a lane noted."""
        self._noted[index] = text
        await self._save(orjson.dumps(self._noted).decode() if any(self._noted) else "")

    async def _watch(self) -> None:
        changed = self._assignment.changed
        while self._assignment.enabled and self._assignment.record.parallelization == len(self._lanes):
            changed.clear()
            await changed.wait()

    async def _read(self) -> None:
        """Hand out what was pending, and then what comes, for as long as there is room."""
        cursor: str | None = "0-0"
        while True:
            while (count := self._count()) < 1:
                self._room.clear()
                await self._room.wait()
            if cursor is None and await self._strays():
                cursor = "0-0"
            if cursor is None:
                await self._hand_out(await self._group.fresh(count, block_ms=BLOCK_MS_MAX), again=False)
                continue
            entries = await self._group.pending(cursor, count)
            cursor = entries[-1].id if entries else None
            held = self._held()
            await self._hand_out([entry for entry in entries if entry.id not in held], again=True)

    async def _strays(self) -> bool:
        """Whether entries are pending that this reader does not have, looked for now and then.

        A scheduler that led before and was held up may have had a read on its way when this one began, or begin one
        before it knows: what that read is given belongs to the same consumer, and nobody would ask for it again.
        """
        now_s = asyncio.get_running_loop().time()
        if now_s < self._looked_s + STRAYS_S:
            return False
        self._looked_s = now_s
        # Acknowledged first and then no longer held, so that there are never fewer held than pending but for strays.
        return await self._group.pending_count() > len(self._held())

    def _held(self) -> set[str]:
        return set().union(*(lane.held for lane in self._lanes))

    def _count(self) -> int:
        """How many entries there is room for."""
        waiting = sum(lane.waiting_count for lane in self._lanes)
        waiting_bytes = sum(lane.waiting_bytes for lane in self._lanes)
        by_count = READ_AHEAD * self._assignment.record.batch_size * len(self._lanes) - waiting
        by_bytes = (WAITING_BYTES_MAX - waiting_bytes) // self._entry_bytes
        if by_bytes < 1 and waiting_bytes < WAITING_BYTES_MAX:
            by_bytes = 1
        return min(READ_COUNT_MAX, by_count, by_bytes)

    async def _hand_out(self, entries: Sequence[StreamEntry], *, again: bool) -> None:
        """Give entries to their lanes; those that no filter lets through, or of which nothing is left, are done."""
        if not entries:
            return
        criteria = self._criteria()
        unwanted: list[str] = []
        size = 0
        now_ms, real_ms = self._timer.now_ms(), time.time_ns() // 1_000_000
        for entry in entries:
            size += sum(len(name) + len(value) for name, value in entry.fields)
            fields = read_fields(entry)
            record = event_record(self._stream, entry, fields, role_arn=self._role_arn)
            if not entry.fields or not criteria.passes_entry(record, fields.texts):
                unwanted.append(entry.id)
                continue
            # Its age so far is of real time, in which Redis made its id; from here on it grows with event time.
            arrived_ms = now_ms - max(0, real_ms - entry.arrived_ms)
            item = Item(entry, orjson.dumps(record), now_ms, arrived_ms, again)
            self._lanes[self._lane_of(entry)].put(item)
        self._entry_bytes = max(1, size // len(entries), self._entry_bytes // 2)
        if unwanted:
            self._metrics.filtered(SOURCE, len(unwanted))
            await self._group.ack(unwanted)

    def _lane_of(self, entry: StreamEntry) -> int:
        if len(self._lanes) == 1:
            return 0
        key = next((value for name, value in entry.fields if name == PARTITION_FIELD), entry.id.encode())
        return zlib.crc32(key) % len(self._lanes)

    def _criteria(self) -> FilterCriteria:
        patterns = self._assignment.record.filters
        if patterns != self._filters[0]:
            self._filters = (patterns, FilterCriteria.of(patterns))
        return self._filters[1]


def _notes_of(noted: str, lanes: int) -> list[str]:
    """What was noted of each lane; nothing where there were more or fewer of them, as entries have moved then."""
    found = orjson.loads(noted) if noted else []
    return found if len(found) == lanes else [""] * lanes
