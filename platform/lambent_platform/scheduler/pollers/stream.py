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
from lambent_platform.store.streams import StreamError, StreamGroup, StreamNotes, StreamStore, before, older

FORGET_S: Final = 5.0

log = structlog.get_logger("scheduler")


class StreamPoller:
    """Polls Redis streams. Raises `StoreUnavailable` to be called again later; it has been reported then."""

    def __init__(self, streams: StreamStore, notes: StreamNotes, functions: Functions, parts: LaneParts) -> None:
        self._streams = streams
        self._notes = notes
        self._functions = functions
        self._parts = parts
        self._troubled: set[str] = set()

    async def poll(self, assignment: Assignment) -> None:
        """Feed one mapping's function until the mapping is no longer enabled, and the call in hand has ended."""
        uuid = assignment.record.uuid
        try:
            while assignment.enabled:
                await self._session(assignment)
        except (StoreUnavailable, StreamError) as error:
            self._troubled.add(uuid)
            assignment.report(f"PROBLEM: The stream cannot be read: {error}"[:512])
            raise StoreUnavailable(str(error)) from error

    async def forget(self, record: MappingRecord) -> None:
        """Take back what a mapping that is deleted had on Redis: its consumer group, and its notes."""
        stream = StreamRef.parse(record.source_arn)
        self._troubled.discard(record.uuid)
        if stream is None:
            return
        group = self._streams.group(stream.key, record.uuid)
        try:
            async with asyncio.timeout(FORGET_S):
                await self._notes.forget(record.uuid)
                await group.destroy()
        except (TimeoutError, StoreUnavailable, StreamError) as error:
            log.warning("consumer group stays", mapping=record.uuid, stream=stream.key, error=str(error))
        finally:
            group.close()

    async def _session(self, assignment: Assignment) -> None:
        """Poll until the mapping is disabled, or so changed that it must be begun anew."""
        record = assignment.record
        stream = StreamRef.parse(record.source_arn)
        if stream is None:
            raise StreamError(f"{record.source_arn} is not the ARN of a stream")
        group = self._streams.group(stream.key, record.uuid)
        try:
            start, noted = await self._open(group, record)
            if record.uuid in self._troubled:
                self._troubled.discard(record.uuid)
                assignment.report(NO_RECORDS)
            role_arn = await self._role(record)

            async def save(text: str) -> None:
                await self._notes.save(record.uuid, start, text)

            session = StreamSession(assignment, stream, group, self._parts, noted=noted, save=save, role_arn=role_arn)
            await session.run()
        finally:
            group.close()

    async def _open(self, group: StreamGroup, record: MappingRecord) -> tuple[str, str]:
        """Make the group where it is missing. A stream that was deleted and made again is read from its beginning."""
        start, noted = await self._notes.load(record.uuid)
        newest = await group.last_id()
        if not start:
            start = _start(record, newest)
            await self._notes.save(record.uuid, start, "")
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
