"""Feeds functions from Redis streams, one session after another for each mapping."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.contracts.mappings import NO_RECORDS, MappingRecord
from lambent_platform.contracts.names import LATEST
from lambent_platform.contracts.streams import StreamRef
from lambent_platform.scheduler.capacity import Functions
from lambent_platform.scheduler.pollers.port import Assignment
from lambent_platform.scheduler.pollers.stream_lane import LaneParts
from lambent_platform.scheduler.pollers.stream_session import StreamSession
from lambent_platform.store.mappings import MappingStore
from lambent_platform.store.streams import StreamError, StreamGroup, StreamNotes, StreamStore, before, older

FORGET_S: Final = 5.0
SWEEP_S: Final = 300.0

log = structlog.get_logger("scheduler")


class StreamPoller:
    """Polls Redis streams. Raises `StoreUnavailable` to be called again later; it has been reported then."""

    def __init__(
        self,
        streams: StreamStore,
        notes: StreamNotes,
        mappings: MappingStore,
        functions: Functions,
        parts: LaneParts,
    ) -> None:
        self._streams = streams
        self._notes = notes
        self._mappings = mappings
        self._functions = functions
        self._parts = parts
        self._troubled: set[str] = set()
        self._swept_s = -SWEEP_S

    async def poll(self, assignment: Assignment) -> None:
        """Feed one mapping's function until the mapping is no longer enabled, and the call in hand has ended."""
        uuid = assignment.record.uuid
        try:
            await self._sweep()
            while assignment.enabled:
                await self._session(assignment)
        except (StoreUnavailable, StreamError) as error:
            self._troubled.add(uuid)
            assignment.report(f"PROBLEM: Redis stream: {error}"[:512])
            raise StoreUnavailable(str(error)) from error

    async def forget(self, record: MappingRecord) -> None:
        """Take back what a mapping that is deleted had on Redis: its consumer group, and its notes."""
        stream = StreamRef.parse(record.source_arn)
        self._troubled.discard(record.uuid)
        if stream is not None:
            await self._take_back(record.uuid, stream.key)

    async def _take_back(self, mapping: str, stream: str) -> bool:
        """Drop the group, and then the notes, by which it would be found again if that could not be done now."""
        group = self._streams.group(stream, mapping)
        try:
            async with asyncio.timeout(FORGET_S):
                await group.destroy()
                await self._notes.forget(mapping)
        except (TimeoutError, StoreUnavailable, StreamError) as error:
            log.warning("consumer group stays for now", mapping=mapping, stream=stream, error=str(error))
            return False
        finally:
            group.close()
        return True

    async def _sweep(self) -> None:
        """Now and then, take back what mappings left that were deleted while their scheduler or stream was away."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._swept_s + SWEEP_S:
            return
        self._swept_s = now_s
        for mapping, stream in (await self._notes.streams()).items():
            if await self._mappings.load(mapping) is None and not await self._take_back(mapping, stream):
                return

    async def _session(self, assignment: Assignment) -> None:
        """Poll until the mapping is disabled, or so changed that it must be begun anew."""
        record = assignment.record
        stream = StreamRef.parse(record.source_arn)
        if stream is None:
            raise StreamError(f"{record.source_arn} is not the ARN of a stream")
        group = self._streams.group(stream.key, record.uuid)
        try:
            start, noted = await self._open(group, record, stream)
            assignment.ready.set()
            if record.uuid in self._troubled:
                self._troubled.discard(record.uuid)
                assignment.report(NO_RECORDS)
            role_arn = await self._role(record)

            async def save(text: str) -> None:
                await self._notes.save(record.uuid, start, text, stream=stream.key)

            session = StreamSession(assignment, stream, group, self._parts, noted=noted, save=save, role_arn=role_arn)
            await session.run()
        finally:
            group.close()

    async def _open(self, group: StreamGroup, record: MappingRecord, stream: StreamRef) -> tuple[str, str]:
        """Make the group where it is missing. A stream that was deleted and made again is read from its beginning."""
        start, noted = await self._notes.load(record.uuid)
        newest = await group.last_id()
        if not start:
            start = _start(record, newest)
            await self._notes.save(record.uuid, start, "", stream=stream.key)
        elif newest is None or older(newest, start):
            start = "0-0"
        await group.create(start)
        return start, noted

    async def _role(self, record: MappingRecord) -> str:
        function = await self._functions.load(record.function.ident)
        version = function.versions.get(LATEST) if function is not None else None
        return version.serving.role if version is not None else ""


def _start(record: MappingRecord, newest: str | None) -> str:
    """The id behind which a new mapping begins."""
    if record.starting_position == "LATEST":
        return newest or "0-0"
    if record.starting_position == "AT_TIMESTAMP":
        return before(record.starting_position_ms or 0)
    return "0-0"
