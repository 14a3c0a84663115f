"""Redis streams that mappings read: a consumer group for each mapping, on the Redis that producers write to.

The group is `lambent:<mapping>`, with one consumer, `poller`. Only the leading scheduler polls, so whoever leads next
finds what a dead poller held among its own pending entries, at once and in order, without waiting for an idle time.
Producers need know nothing but the name of the stream.

What a mapping remembers besides is on the platform's own Redis: where its group began, and how far batches that fail
have got (`stream-notes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import hiredis
import orjson
import redis.asyncio
import redis.exceptions

from lambent_platform.contracts.errors import LambentError, StoreUnavailable
from lambent_platform.contracts.streams import StreamEntry, entry_order
from lambent_platform.store.cancellable import cancellable_pool
from lambent_platform.store.redis import (
    COMMAND_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    CONNECTIONS_MAX,
    RedisStore,
    translated,
)
from lambent_platform.store.wire import Wire

CONSUMER: Final = "poller"
DEAD_ENTRIES_MAX: Final = 100_000
"""About how many entries a dead-letter stream keeps, the newest ones; Redis trims it by whole nodes."""
ACK_COUNT: Final = 1000
BLOCK_MS_MAX: Final = 5_000
"""Longest wait of one read; whoever waits longer reads again."""
Fields = tuple[tuple[bytes, bytes], ...]
_LARGEST: Final = 2**64 - 1
_REFUSALS: Final = (hiredis.ReplyError, redis.exceptions.ResponseError)
_PASSING: Final = (redis.exceptions.ReadOnlyError, redis.exceptions.ClusterDownError, redis.exceptions.TryAgainError)
_PASSING_CODES: Final = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "TRYAGAIN", "BUSY ")
"""Refusals that are over by themselves."""


class StreamError(LambentError):
    """The server does not do what is asked of this stream: another type, no rights, no memory. The text says which."""


class GroupMissing(StreamError):
    """The stream was deleted, or its group was."""


class StreamGroup:
    """One mapping's group of one stream. Reading waits, and has a connection of its own."""

    def __init__(self, client: redis.asyncio.Redis, url: str, stream: str, mapping: str) -> None:
        self._client: Any = client
        self._stream = stream.encode()
        self._group = f"lambent:{mapping}"
        self._reads = Wire(url, timeout_s=COMMAND_TIMEOUT_S + BLOCK_MS_MAX / 1000)

    def close(self) -> None:
        """End the connection; what was read and not acknowledged stays pending."""
        self._reads.close()

    async def last_id(self) -> str | None:
        """The newest id that the stream ever had; None where there is no stream.

        Raises:
            StreamError: it is no stream.
        """
        try:
            with _understood():
                info = await self._client.xinfo_stream(self._stream)
        except StreamError as error:
            if "no such key" in str(error):
                return None
            raise
        return bytes(info["last-generated-id"]).decode()

    async def create(self, start: str) -> bool:
        """Make the group, and the stream where there is none; it is given what comes after `start`.

        False where the group is there already.

        Raises:
            StreamError: it is no stream.
        """
        try:
            with _understood():
                await self._client.xgroup_create(self._stream, self._group, start, mkstream=True)
        except StreamError as error:
            if str(error).startswith("BUSYGROUP"):
                return False
            raise
        return True

    async def destroy(self) -> None:
        """Drop the group, where there is one; the stream stays."""
        try:
            with _understood():
                await self._client.xgroup_destroy(self._stream, self._group)
        except StreamError as error:
            if not ("key to exist" in str(error) or "no such key" in str(error) or "WRONGTYPE" in str(error)):
                raise

    async def pending(self, after: str, count: int) -> list[StreamEntry]:
        """Entries that were handed out before and not acknowledged, from behind an id on.

        One that was trimmed from the stream in the meantime comes without fields: nothing is left of it.
        """
        return await self._read(count, after)

    async def pending_count(self) -> int:
        """How many entries were handed out and not acknowledged."""
        with _understood():
            summary = await self._client.xpending(self._stream, self._group)
        return int(summary["pending"])

    async def fresh(self, count: int, *, block_ms: int) -> list[StreamEntry]:
        """Entries that were not handed out yet; waits up to `block_ms` (0: not at all) for the first."""
        return await self._read(count, ">", *(("BLOCK", min(block_ms, BLOCK_MS_MAX)) if block_ms > 0 else ()))

    async def _read(self, count: int, after: str, *waiting: Any) -> list[StreamEntry]:
        with _understood():
            reply = await self._reads.call(
                "XREADGROUP", "GROUP", self._group, CONSUMER, "COUNT", count, *waiting, "STREAMS", self._stream, after
            )
        return [_entry(row) for row in reply[0][1]] if reply else []

    async def ack(self, ids: Sequence[str]) -> None:
        """Be done with entries."""
        for first in range(0, len(ids), ACK_COUNT):
            with _understood():
                await self._client.xack(self._stream, self._group, *ids[first : first + ACK_COUNT])

    async def bury(self, dead_letters: str, entries: Sequence[tuple[str, Fields]]) -> None:
        """Add entries (their ids, and the fields to write) to a dead-letter stream and be done with them, in one step.

        Raises:
            StreamError: the dead-letter stream is no stream; nothing was done.
        """
        with _understood():
            kind = bytes(await self._client.type(dead_letters))
        if kind not in (b"none", b"stream"):
            raise StreamError(f"WRONGTYPE the dead-letter stream {dead_letters} is a {kind.decode()}")
        with _understood():
            async with self._client.pipeline(transaction=True) as steps:
                for _, fields in entries:
                    parts = [part for pair in fields for part in pair]
                    steps.execute_command("XADD", dead_letters, "MAXLEN", "~", DEAD_ENTRIES_MAX, "*", *parts)
                steps.xack(self._stream, self._group, *(entry_id for entry_id, _ in entries))
                await steps.execute()


class StreamStore:
    """The Redis that producers write to. Every call raises `StoreUnavailable` where it is away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = cancellable_pool(
            url,
            socket_timeout=COMMAND_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            max_connections=CONNECTIONS_MAX,
            health_check_interval=0,
        )
        self._client = redis.asyncio.Redis.from_pool(self._pool)

    def group(self, stream: str, mapping: str) -> StreamGroup:
        """One mapping's group; whoever takes it closes it."""
        return StreamGroup(self._client, self._url, stream, mapping)

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()


@contextmanager
def _understood() -> Iterator[None]:
    """Turn refusals into `StreamError`, and everything else into `StoreUnavailable`."""
    try:
        with translated():
            yield
    except StoreUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, _REFUSALS) and not isinstance(cause, _PASSING):
            text = str(cause)
            if text.startswith(_PASSING_CODES):
                raise
            raise (GroupMissing if text.startswith(("NOGROUP", "UNBLOCKED")) else StreamError)(text) from error
        raise


class StreamNotes:
    """What mappings of streams remember, on the platform's Redis. Raises `StoreUnavailable` where it is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._client = redis.client
        self._key = f"{redis.keys.home}stream-notes"

    async def load(self, mapping: str) -> tuple[str, str]:
        """Where a mapping's group began, and what was noted of its batches; empty where nothing is known."""
        with translated():
            found = await self._client.hget(self._key, mapping)
        start, batches, _ = orjson.loads(found) if found else ("", "", "")
        return start, batches

    async def save(self, mapping: str, start: str, batches: str, *, stream: str) -> None:
        """Write both, and which stream has the group."""
        with translated():
            await self._client.hset(self._key, mapping, orjson.dumps((start, batches, stream)))

    async def streams(self) -> dict[str, str]:
        """Every mapping that something is known of, and its stream."""
        with translated():
            found = await self._client.hgetall(self._key)
        return {mapping.decode(): orjson.loads(note)[2] for mapping, note in found.items()}

    async def forget(self, mapping: str) -> None:
        """Drop what was noted of a mapping that is gone."""
        with translated():
            await self._client.hdel(self._key, mapping)


def before(ms: int) -> str:
    """The id behind which everything is that was added at a moment or later."""
    return f"{ms - 1}-{_LARGEST}" if ms > 0 else "0-0"


def older(one: str, other: str) -> bool:
    """Whether an id comes before another."""
    return entry_order(one) < entry_order(other)


def _entry(row: list[Any]) -> StreamEntry:
    entry_id, parts = row
    fields = tuple(zip(parts[::2], parts[1::2], strict=True)) if parts else ()
    return StreamEntry(entry_id.decode(), fields)
