"""What functions print: chunks in the object store, an index and a short recent tail on Redis.

A chunk holds the lines that one worker collected for one group in about a second, so that Redis sees one entry a
second for a function instead of one a line. Keys, each below the prefix of the group's partition
(`ident` is `account:region:group`):

    loggroups ZSET of idents, all of score 0, in their order · log:<ident> HASH created_ms, stored_bytes
    logchunks:<ident> ZSET chunk → its first ms · logstreams:<ident> ZSET stream → its last ms
    logfirsts:<ident> HASH stream → its first ms · logtail:<ident> LIST of the newest small chunks, with their lines

A chunk's object is one JSON array a line: `[timestamp ms, ingestion ms, stream, message]`. The object is written
first: a crash in between leaves an object that nothing names, never an entry without its object.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import re
import secrets
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson

from lambent_platform.contracts.clock import EventClock, SystemClock
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import RedisStore, translated

RETENTION_DAYS_DEFAULT: Final = 7
CHUNK_SPAN_MS_MAX: Final = 5_000
"""No chunk is longer, so a reader knows how far before a time a chunk with that time can begin."""
CHUNKS_PER_GROUP_MAX: Final = 100_000
"""Over a day of uninterrupted calls on one worker; `expire` removes the oldest beyond it."""
TAIL_CHUNKS: Final = 16
TAIL_CHUNK_BYTES_MAX: Final = 16 * 1024
TAIL_TTL_MS: Final = 600_000
"""The tail is a cache of objects: how long it stays decides nothing but speed."""
READ_CHUNKS_MAX: Final = 256
"""A read that opened so many chunks returns a token, whether or not it found anything."""
_PAGE: Final = 64
_FETCHES: Final = 8
_DAY_MS: Final = 86_400_000
_STREAMS_MAX: Final = 10_000


class LogEvent(NamedTuple):
    """One line. `ingestion_ms` and `id` are given by the store."""

    timestamp_ms: int
    stream: str
    message: str
    ingestion_ms: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class LogGroup:
    """A group, such as `/aws/lambda/<function>`."""

    name: str
    created_ms: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class LogStream:
    """A stream: one environment's lines."""

    name: str
    first_ms: int
    last_ms: int


class _Chunk(NamedTuple):
    """An entry of the index."""

    first_ms: int
    last_ms: int
    size: int
    serial: str

    def member(self) -> bytes:
        return orjson.dumps(tuple(self))


class LogStore:
    """The logs of one account and region; `at` gives those of another over the same connections."""

    def __init__(
        self,
        redis: RedisStore,
        objects: ObjectStore,
        *,
        account: str = DEFAULT_ACCOUNT,
        region: str = DEFAULT_REGION,
        retention_days: float = RETENTION_DAYS_DEFAULT,
        clock: EventClock | None = None,
    ) -> None:
        self._redis = redis
        self._objects = objects
        self._account = account
        self._region = region
        self._retention_days = retention_days
        self._clock = clock or SystemClock()
        self._writer = secrets.token_hex(6)
        self._serials = itertools.count()

    def at(self, account: str, region: str) -> LogStore:
        """Return the logs of another account and region."""
        return LogStore(
            self._redis,
            self._objects,
            account=account,
            region=region,
            retention_days=self._retention_days,
            clock=self._clock,
        )

    async def append(self, group: str, events: Sequence[LogEvent]) -> None:
        """Store lines of one group, of any of its streams, as one chunk (or one for each `CHUNK_SPAN_MS_MAX`).

        Raises:
            StoreUnavailable: nothing, or a part of them, was stored.
        """
        for part in _spans(sorted(events, key=lambda event: event.timestamp_ms)):
            await self._append_chunk(group, part)

    async def _append_chunk(self, group: str, events: Sequence[LogEvent]) -> None:
        now_ms = self._clock.now_ms()
        data = b"\n".join(orjson.dumps([e.timestamp_ms, now_ms, e.stream, e.message]) for e in events)
        serial = f"{self._writer}{next(self._serials):010d}"
        chunk = _Chunk(events[0].timestamp_ms, events[-1].timestamp_ms, len(data), serial)
        await self._objects.put(self._object_key(group, chunk), data)
        lasts = {event.stream: event.timestamp_ms for event in events}
        ident, prefix = self._ident(group), self._prefix(group)
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            pipe.zadd(f"{prefix}loggroups", {ident: 0})
            pipe.hsetnx(f"{prefix}log:{ident}", "created_ms", now_ms)
            pipe.hincrby(f"{prefix}log:{ident}", "stored_bytes", len(data))
            pipe.zadd(f"{prefix}logchunks:{ident}", {chunk.member(): chunk.first_ms})
            pipe.zadd(f"{prefix}logstreams:{ident}", lasts, gt=True)
            for event in {event.stream: event for event in reversed(events)}.values():
                pipe.hsetnx(f"{prefix}logfirsts:{ident}", event.stream, event.timestamp_ms)
            if len(data) <= TAIL_CHUNK_BYTES_MAX:
                tail = f"{prefix}logtail:{ident}"
                pipe.lpush(tail, chunk.member() + b"\n" + data)
                pipe.ltrim(tail, 0, TAIL_CHUNKS - 1)
                pipe.pexpire(tail, TAIL_TTL_MS)
            await pipe.execute()

    async def groups(self, prefix: str = "", limit: int = 50, after: str = "") -> list[LogGroup]:
        """List groups in the order of their names, those after `after` only."""
        low = f"({self._ident(after)}" if after >= prefix and after else f"[{self._ident(prefix)}"
        high = b"[" + self._ident(prefix).encode() + b"\xff"
        found: list[LogGroup] = []
        with translated():
            for part in self._redis.keys.prefixes:
                idents = await self._redis.client.zrangebylex(f"{part}loggroups", low, high, 0, limit)
                for ident in (raw.decode() for raw in idents):
                    created, stored = await self._redis.client.hmget(f"{part}log:{ident}", "created_ms", "stored_bytes")
                    found.append(LogGroup(ident.split(":", 2)[2], int(created or 0), int(stored or 0)))
        return sorted(found, key=lambda group: group.name)[:limit]

    async def streams(self, group: str) -> list[LogStream]:
        """List a group's streams, the one written last first; empty for a group that does not exist."""
        ident, prefix = self._ident(group), self._prefix(group)
        with translated():
            lasts = await self._redis.client.zrevrange(
                f"{prefix}logstreams:{ident}", 0, _STREAMS_MAX - 1, withscores=True
            )
            firsts = await self._redis.client.hgetall(f"{prefix}logfirsts:{ident}")
        return [LogStream(name.decode(), int(firsts.get(name, last)), int(last)) for name, last in lasts]

    async def read(
        self,
        group: str,
        *,
        streams: Sequence[str] | None = None,
        start_ms: int = 0,
        end_ms: int | None = None,
        limit: int = 10_000,
        token: str | None = None,
    ) -> tuple[list[LogEvent], str | None]:
        """Return lines in the order of their times, and the token to go on with where there may be more.

        `start_ms` is the first time wanted, `end_ms` the last; `streams` are whole names. A page may be empty and
        still have a token: a read opens only some more than `READ_CHUNKS_MAX` chunks.

        Raises:
            ValueError: the token is none of ours.
        """
        after = _parse_token(token) if token else (start_ms, "")
        wanted = frozenset(streams) if streams is not None else None
        found: list[LogEvent] = []
        pending: list[tuple[tuple[int, str], LogEvent]] = []
        async for bound_ms, events in self._batches(group, after[0], end_ms):
            for event in events:
                if (event.timestamp_ms, event.id) <= after or (end_ms is not None and event.timestamp_ms > end_ms):
                    continue
                if wanted is None or event.stream in wanted:
                    heapq.heappush(pending, ((event.timestamp_ms, event.id), event))
            while pending and (bound_ms is None or pending[0][0][0] < bound_ms):
                if len(found) == limit:
                    return found, _token(found[-1])
                found.append(heapq.heappop(pending)[1])
            if bound_ms is None:
                return found, None
            stopped_at = bound_ms
        return found, f"{stopped_at}/"

    async def _batches(
        self, group: str, start_ms: int, end_ms: int | None
    ) -> AsyncIterator[tuple[int | None, list[LogEvent]]]:
        """Yield the lines of chunk after chunk with the time before which nothing more will come (None: the end)."""
        ident, prefix = self._ident(group), self._prefix(group)
        low, high = start_ms - CHUNK_SPAN_MS_MAX, "+inf" if end_ms is None else end_ms
        tail = await self._tail(ident, prefix)
        opened = 0
        for offset in itertools.count(0, _PAGE):
            with translated():
                members = await self._redis.client.zrangebyscore(
                    f"{prefix}logchunks:{ident}", low, high, offset, _PAGE + 1
                )
            bound_ms = _Chunk(*orjson.loads(members[_PAGE])).first_ms if len(members) > _PAGE else None
            chunks = [(raw, _Chunk(*orjson.loads(raw))) for raw in members[:_PAGE]]
            late = [(raw, chunk) for raw, chunk in chunks if chunk.last_ms >= start_ms]
            gate = asyncio.Semaphore(_FETCHES)
            loaded = await asyncio.gather(*(self._load(group, raw, chunk, tail, gate) for raw, chunk in late))
            yield bound_ms, list(itertools.chain.from_iterable(loaded))
            opened += len(late)
            # Only past the start does a token lead further, so a reader never turns in circles.
            if bound_ms is None or (opened >= READ_CHUNKS_MAX and bound_ms > start_ms):
                return

    async def _tail(self, ident: str, prefix: str) -> dict[bytes, bytes]:
        with translated():
            items = await self._redis.client.lrange(f"{prefix}logtail:{ident}", 0, -1)
        return {member: data for member, _, data in (item.partition(b"\n") for item in items)}

    async def _load(
        self, group: str, raw: bytes, chunk: _Chunk, tail: dict[bytes, bytes], gate: asyncio.Semaphore
    ) -> list[LogEvent]:
        data = tail.get(raw)
        if data is None:
            async with gate:
                data = await self._objects.get(self._object_key(group, chunk))
        # None: it went, by `expire` or `delete_group`, since the index was read.
        return list(_events(chunk, data)) if data is not None else []

    async def create_group(self, group: str) -> bool:
        """Make an empty group; False where there is one already. `append` makes a group that is missing."""
        ident, prefix = self._ident(group), self._prefix(group)
        with translated():
            created = await self._redis.client.zadd(f"{prefix}loggroups", {ident: 0}, nx=True)
            await self._redis.client.hsetnx(f"{prefix}log:{ident}", "created_ms", self._clock.now_ms())
        return bool(created)

    async def create_stream(self, group: str, stream: str) -> bool:
        """Make an empty stream, whose times are now; False where there is one already."""
        ident, prefix = self._ident(group), self._prefix(group)
        with translated():
            streams = f"{prefix}logstreams:{ident}"
            return bool(await self._redis.client.zadd(streams, {stream: self._clock.now_ms()}, nx=True))

    async def delete_group(self, group: str) -> bool:
        """Delete a group with all its lines; False where there is none."""
        ident, prefix = self._ident(group), self._prefix(group)
        await self._drop_chunks(group, "+inf")
        with translated():
            await self._redis.client.delete(
                *(f"{prefix}{kind}:{ident}" for kind in ("log", "logchunks", "logstreams", "logfirsts", "logtail"))
            )
            return bool(await self._redis.client.zrem(f"{prefix}loggroups", ident))

    async def expire(self, now_ms: int) -> int:
        """Remove, in every account and region, what is older than the retention; return how many chunks went."""
        removed = 0
        for partition in self._redis.keys.prefixes:
            after = ""
            while True:
                more, after = await self.expire_page(now_ms, partition=partition, after=after)
                removed += more
                if not after:
                    break
        return removed

    async def expire_page(self, now_ms: int, *, partition: str, after: str = "") -> tuple[int, str]:
        """Do a part of `expire`: the groups of one partition behind `after`, some at a time.

        Returns how many chunks went, and the `after` of the next part, "" where there is none.
        """
        cutoff_ms = now_ms - int(self._retention_days * _DAY_MS)
        low = f"({after}" if after else "-"
        with translated():
            found = await self._redis.client.zrangebylex(f"{partition}loggroups", low, "+", 0, _PAGE)
        idents = [raw.decode() for raw in found]
        removed = 0
        for ident in idents:
            account, region, group = ident.split(":", 2)
            removed += await self.at(account, region)._expire_group(group, cutoff_ms)
        return removed, idents[-1] if len(idents) == _PAGE else ""

    async def _expire_group(self, group: str, cutoff_ms: int) -> int:
        ident, prefix = self._ident(group), self._prefix(group)
        chunks, streams = f"{prefix}logchunks:{ident}", f"{prefix}logstreams:{ident}"
        removed = await self._drop_chunks(group, f"({cutoff_ms}")
        with translated():
            excess = await self._redis.client.zcard(chunks) - CHUNKS_PER_GROUP_MAX
            if excess > 0:
                (_, first_ms), *_ = await self._redis.client.zrange(chunks, excess, excess, withscores=True)
                removed += await self._drop_chunks(group, f"({int(first_ms)}")
            gone = await self._redis.client.zrangebyscore(streams, "-inf", f"({cutoff_ms}")
            gone += await self._redis.client.zrange(streams, 0, -_STREAMS_MAX - 1)
            if gone:
                await self._redis.client.zrem(streams, *gone)
                await self._redis.client.hdel(f"{prefix}logfirsts:{ident}", *gone)
        return removed

    async def _drop_chunks(self, group: str, high: str) -> int:
        """Delete the chunks that begin before a time, each entry after its object, so that no object is forgotten."""
        ident, prefix = self._ident(group), self._prefix(group)
        index = f"{prefix}logchunks:{ident}"
        removed = 0
        while True:
            with translated():
                members: list[bytes] = await self._redis.client.zrangebyscore(index, "-inf", high, 0, _PAGE)
            if not members:
                return removed
            chunks = [_Chunk(*orjson.loads(raw)) for raw in members]
            await asyncio.gather(*(self._objects.delete(self._object_key(group, chunk)) for chunk in chunks))
            with translated():
                await self._redis.client.zrem(index, *members)
                await self._redis.client.hincrby(f"{prefix}log:{ident}", "stored_bytes", -sum(c.size for c in chunks))
            removed += len(members)

    def _ident(self, group: str) -> str:
        return f"{self._account}:{self._region}:{group}"

    def _prefix(self, group: str) -> str:
        return self._redis.keys.prefix(self._ident(group))

    def _object_key(self, group: str, chunk: _Chunk) -> str:
        # The folder is for people: two groups may share one, since serials are unique.
        folder = re.sub(r"[^A-Za-z0-9_-]", "_", group)
        return f"logs/{self._account}/{self._region}/{folder}/{chunk.first_ms}-{chunk.serial}"


def _spans(events: Sequence[LogEvent]) -> Iterator[Sequence[LogEvent]]:
    """Cut sorted events so that no part spans more than `CHUNK_SPAN_MS_MAX`."""
    at = 0
    for n, event in enumerate(events):
        if event.timestamp_ms - events[at].timestamp_ms > CHUNK_SPAN_MS_MAX:
            yield events[at:n]
            at = n
    if events:
        yield events[at:]


def _events(chunk: _Chunk, data: bytes) -> Iterator[LogEvent]:
    # Digits only, as CloudWatch's; the order of ids is that of time, then of writing.
    writer = zlib.crc32(chunk.serial[:12].encode())
    for n, line in enumerate(data.split(b"\n")):
        timestamp_ms, ingestion_ms, stream, message = orjson.loads(line)
        ident = f"{timestamp_ms:014d}{writer:010d}{chunk.serial[12:]}{n:06d}"
        yield LogEvent(timestamp_ms, stream, message, ingestion_ms, ident)


def _token(event: LogEvent) -> str:
    return f"{event.timestamp_ms}/{event.id}"


def _parse_token(token: str) -> tuple[int, str]:
    at_ms, slash, ident = token.partition("/")
    if not slash or not at_ms.isdecimal() or not (ident.isdecimal() or not ident):
        raise ValueError("a token of another listing")
    return int(at_ms), ident
