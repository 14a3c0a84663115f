"""The janitor: what nobody needs any more goes, a little at a time.

A round goes through logs, deleted functions, all functions (to learn which objects they refer to, and to trim their
meters), and then the object store. It has no deadline, so each step does a few pages of it and no more; its cost does
not grow with what the platform holds, only its length does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final, TypeVar

import structlog

from lambent_platform.contracts.build import log_key
from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.runtimes import Runtime
from lambent_platform.core.retention import (
    expired_buckets,
    leaves_no_more,
    marks_hold,
    may_go,
    objects_in_use,
    unused_since,
)
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.jobs import JobStore
from lambent_platform.store.logs import LogStore
from lambent_platform.store.objects import ObjectStore, StoredObject
from lambent_platform.store.redis import RedisStore
from lambent_platform.store.retention import OWNER_OBJECT, RetentionStore

PAGES_PER_STEP: Final = 8
FUNCTIONS_PER_PAGE: Final = 100
REMOVALS_PER_PAGE: Final = 50
DELETED_MAX: Final = 10_000
"""Deleted functions that a round looks at, the longest deleted first."""
UNUSED_OBJECTS_MAX: Final = 20_000
"""Unused objects that are watched at a time; the rest waits until those are gone."""

T = TypeVar("T")

log = structlog.get_logger("scheduler")


class Janitor:
    """Removes what is past its time."""

    def __init__(
        self,
        redis: RedisStore,
        functions: FunctionStore,
        jobs: JobStore,
        objects: ObjectStore,
        logs: LogStore,
        clock: EventClock,
        *,
        image_tag: Callable[[Runtime], str],
    ) -> None:
        """`logs` knows the retention of logs; `image_tag` names a runtime's image, as where builds are ordered."""
        self._redis = redis
        self._functions = functions
        self._jobs = jobs
        self._objects = objects
        self._logs = logs
        self._clock = clock
        self._image_tag = image_tag
        self._retention = RetentionStore(redis)
        self._pages: AsyncIterator[None] | None = None
        self._unused: dict[str, int] = {}
        self._told = False
        self.rounds = 0
        """How many rounds are done."""

    async def step(self) -> None:
        """Do the next few pages of the round, at most to its end."""
        pages, self._pages = self._pages or self._round(), None  # a round that fails begins anew
        for _ in range(PAGES_PER_STEP):
            try:
                await anext(pages)
            except StopAsyncIteration:
                self.rounds += 1
                return
        self._pages = pages

    async def _round(self) -> AsyncIterator[None]:
        async for _ in self._expire_logs():
            yield
        async for _ in self._purge_deleted():
            yield
        marked_at_ms = await self._redis.now_ms()
        in_use: set[str] = set()
        async for _ in self._read_functions(in_use):
            yield
        async for _ in self._sweep(in_use, marked_at_ms):
            yield

    async def _expire_logs(self) -> AsyncIterator[None]:
        removed = 0
        for partition in self._retention.partitions:
            after = ""
            while True:
                now_ms = self._clock.now_ms()
                gone, after = await self._logs.expire_page(now_ms, partition=partition, after=after)
                removed += gone
                yield
                if not after:
                    break
        if removed:
            log.info("logs expired", chunks=removed)

    async def _purge_deleted(self) -> AsyncIterator[None]:
        """Remove what deleted functions left; again and again, as long as what they had under way may leave more."""
        for partition in self._retention.partitions:
            now_ms = await self._redis.now_ms()
            deleted = await self._retention.deleted(partition, limit=DELETED_MAX)
            for page in _pages(deleted, FUNCTIONS_PER_PAGE):
                for ident, deleted_ms in page:
                    await self._retention.purge(ident, last=leaves_no_more(deleted_ms, now_ms))
                yield

    async def _read_functions(self, in_use: set[str]) -> AsyncIterator[None]:
        for partition in self._retention.partitions:
            after = ""
            while True:
                idents = await self._functions.page_of_all(partition, after=after, limit=FUNCTIONS_PER_PAGE)
                for record in await self._functions.load_many(idents):
                    in_use |= objects_in_use(record, self._image_tag)
                await self._trim_meters(idents)
                yield
                if len(idents) < FUNCTIONS_PER_PAGE:
                    break
                after = idents[-1]

    async def _trim_meters(self, idents: list[str]) -> None:
        now_ms = self._clock.now_ms()
        for ident, fields in zip(idents, await self._retention.meter_fields(idents), strict=True):
            expired = expired_buckets(fields, now_ms)
            if expired:
                await self._retention.drop_meter_fields(ident, expired)

    async def _sweep(self, in_use: set[str], marked_at_ms: int) -> AsyncIterator[None]:
        """Remove packages and build logs that were in no use, for a while, when the functions were read."""
        if not await self._owns_objects():
            return
        logs = [found async for found in self._objects.walk("builds/")]
        in_use |= await self._known_builds([PurePosixPath(found.key).stem for found in logs])
        unused = [found for found in logs if found.key not in in_use]
        async for found in self._objects.walk("code/"):
            if found.key not in in_use and len(unused) < UNUSED_OBJECTS_MAX:
                unused.append(found)
        self._unused = unused_since(self._unused, (found.key for found in unused), marked_at_ms=marked_at_ms)
        ripe = [found.key for found in unused if self._may_go(found, marked_at_ms)]
        yield
        for page in _pages(ripe, REMOVALS_PER_PAGE):
            if not marks_hold(marked_at_ms, await self._redis.now_ms()):
                log.warning("a round took too long: nothing more is removed by what it found")
                return
            for key in page:
                # Looked at once more, and last of all: it may have been put again.
                found_now = await self._objects.head(key)
                if found_now is not None and self._may_go(found_now, marked_at_ms):
                    await self._objects.delete(key)
                    log.info("unused object removed", key=key, size_bytes=found_now.size_bytes)
            yield

    def _may_go(self, found: StoredObject, marked_at_ms: int) -> bool:
        return may_go(modified_ms=found.modified_ms, unused_since_ms=self._unused[found.key], marked_at_ms=marked_at_ms)

    async def _known_builds(self, build_ids: Sequence[str]) -> set[str]:
        """The logs of builds that are still known, and what these built: it is given to whoever wants the same."""
        in_use: set[str] = set()
        for page in _pages(build_ids, FUNCTIONS_PER_PAGE):
            for build_id, result in (await self._jobs.results(page)).items():
                in_use |= {log_key(build_id), result}
        return in_use

    async def _owns_objects(self) -> bool:
        owns = await self._retention.owns(self._objects)
        if not owns and not self._told:
            log.warning(
                "the object store belongs to other data than this Redis holds, so that nothing in it is removed; "
                f"to give it to this platform remove its object {OWNER_OBJECT!r}",
                url=self._objects.url,
            )
        self._told = not owns
        return owns


def _pages(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))
