"""Schedules and rules on Redis: what ticks when, and the firings that wait for their target.

A schedule lies in one partition with its ticks and firings, so that a tick becomes firings in one script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any, Final

import orjson

from lambent_platform.contracts.errors import LambentError
from lambent_platform.contracts.schedules import (
    FIRINGS_MAX,
    PENDING_MAX,
    PENDING_SHARE,
    SCHEDULES_MAX,
    Firing,
    SourceRecord,
)
from lambent_platform.store.redis import RedisStore, translated

LOOK_AGAIN_MS: Final = 1000
"""When a schedule with too many pending firings is looked at again, in event time."""
TOKEN_KEPT_S: Final = 600
"""How long a request that deleted may be repeated."""
_FIELDS: Final = ("gen", "record", "next", "passed")


class TooManySources(LambentError):
    """There are as many schedules as there may be; nothing was written."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """What a tick makes of its schedule: the firings with the time to send each, and what follows."""

    firings: Sequence[tuple[int, Firing]]
    next_ms: int | None
    passed: int
    over: bool = False
    """The schedule goes with its last tick."""


class ScheduleStore:
    """Schedules and rules, by id. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._client = redis.client
        self.prefixes = redis.keys.prefixes

    def _prefix(self, source: str) -> str:
        return self._redis.keys.prefix(source)

    async def load(self, source: str) -> SourceRecord | None:
        """Read one; None where there is none."""
        found = await self.load_many([source])
        return found[0] if found else None

    async def load_many(self, sources: Sequence[str]) -> list[SourceRecord]:
        """Read several, in the order given; those that are gone are left out."""
        if not sources:
            return []
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for source in sources:
                pipe.hmget(f"{self._prefix(source)}source:{source}", *_FIELDS)
            rows = await pipe.execute()
        return [
            SourceRecord(
                id=source,
                data=orjson.loads(record),
                next_ms=int(next_ms) if next_ms is not None else None,
                passed=int(passed or 0),
                generation=int(gen),
            )
            for source, (gen, record, next_ms, passed) in zip(sources, rows, strict=True)
            if gen is not None
        ]

    async def write(self, record: SourceRecord, *, keep_next: bool = False) -> bool:
        """Write one as it was read and changed (generation 0: make it); False where it was changed or made since.

        With `keep_next` its next tick stays as it is by now, whatever the record says.

        Raises:
            TooManySources: there is no room for a new one.
        """
        args: list[Any] = [
            record.id,
            record.generation,
            orjson.dumps(record.data),
            "keep" if keep_next else "" if record.next_ms is None else record.next_ms,
            SCHEDULES_MAX,
        ]
        said = int(await self._redis.run("schedules/write", self._prefix(record.id), args))
        if said < 0:
            raise TooManySources(f"there are {SCHEDULES_MAX} schedules")
        return said > 0

    async def delete(self, record: SourceRecord, *, token: str = "") -> bool:
        """Drop one as it was read; False where it was changed or deleted since. A token is remembered for a while."""
        args = [record.id, record.generation, token, TOKEN_KEPT_S]
        return bool(await self._redis.run("schedules/delete", self._prefix(record.id), args))

    async def deleted_by(self, source: str, token: str) -> bool:
        """Whether a schedule was deleted by a request with this token, not long ago."""
        with translated():
            return bool(await self._client.exists(f"{self._prefix(source)}deleted-by:{source}:{token}"))

    async def page(self, prefix: str, *, after: str = "", limit: int) -> list[str]:
        """Return at most `limit` ids that begin with `prefix`, in order, behind the id `after`."""
        low = f"({after}" if after else f"[{prefix}"
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for partition in self.prefixes:
                pipe.zrange(f"{partition}sources", low, f"({prefix}\x7f", bylex=True, offset=0, num=limit)
            pages = await pipe.execute()
        return [source.decode() for source in islice(merge(*pages), limit)]

    async def count(self, prefix: str) -> int:
        """How many ids begin with `prefix`."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for partition in self.prefixes:
                pipe.zlexcount(f"{partition}sources", f"[{prefix}", f"({prefix}\x7f")
            return sum(await pipe.execute())

    async def due(self, now_ms: int, *, limit: int) -> tuple[list[str], int | None]:
        """Return schedules whose tick has come, those first that wait longest, and when the next one behind is due."""
        return await self._due("ticks", now_ms, limit)

    async def due_firings(self, now_ms: int, *, limit: int) -> tuple[list[str], int | None]:
        """Return the ids of firings that are to be sent now, and when the next one behind is due."""
        return await self._due("firingsdue", now_ms, limit)

    async def _due(self, key: str, now_ms: int, limit: int) -> tuple[list[str], int | None]:
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for partition in self.prefixes:
                pipe.zrange(f"{partition}{key}", "-inf", now_ms, byscore=True, offset=0, num=limit, withscores=True)
                pipe.zrange(f"{partition}{key}", f"({now_ms}", "+inf", byscore=True, offset=0, num=1, withscores=True)
            rows = await pipe.execute()
        due = sorted((score, member) for page in rows[0::2] for member, score in page)
        later = [int(score) for page in rows[1::2] for _, score in page]
        return [member.decode() for _, member in due[:limit]], min(later, default=None)

    async def tick(self, record: SourceRecord, ticked: Ticked, *, now_ms: int) -> int:
        """Turn due ticks into firings and go on to the next, if the schedule is still as it was read.

        Returns 1; 0 where it is not; -1 where too many of its firings are pending, and its ticks wait.
        """
        args: list[Any] = [
            record.id,
            record.generation,
            record.next_ms,
            "" if ticked.next_ms is None else ticked.next_ms,
            ticked.passed,
            PENDING_MAX,
            PENDING_SHARE,
            FIRINGS_MAX,
            now_ms + LOOK_AGAIN_MS,
            int(ticked.over),
        ]
        for send_ms, firing in ticked.firings:
            args += [firing.id, send_ms, orjson.dumps(firing.to_dict())]
        return int(await self._redis.run("schedules/tick", self._prefix(record.id), args))

    async def look_again(self, source: str, *, at_ms: int) -> None:
        """Leave a due schedule alone until a time."""
        with translated():
            await self._client.zadd(f"{self._prefix(source)}ticks", {source: at_ms}, xx=True)

    async def put(self, source: str, firings: Sequence[Firing], *, due_ms: int) -> bool:
        """Store firings of a rule that matched an event; False where too many of it are pending."""
        args: list[Any] = [source, PENDING_MAX, due_ms]
        for firing in firings:
            args += [firing.id, orjson.dumps(firing.to_dict())]
        return bool(await self._redis.run("schedules/put", self._prefix(source), args))

    async def firings(self, ids: Sequence[str]) -> list[Firing]:
        """Read firings; those that are over are left out."""
        if not ids:
            return []
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for partition in self.prefixes:
                pipe.hmget(f"{partition}firings", *ids)
            pages = await pipe.execute()
        return [Firing.from_dict(orjson.loads(text)) for page in pages for text in page if text is not None]

    async def sent(self, firing: Firing) -> None:
        """A firing is over: it was sent, or given up."""
        await self._redis.run("schedules/settle", self._prefix(firing.source), [firing.id, firing.source, "", ""])

    async def postpone(self, firing: Firing, *, due_ms: int) -> None:
        """Write a firing as it is now, to be sent later."""
        args = [firing.id, firing.source, due_ms, orjson.dumps(firing.to_dict())]
        await self._redis.run("schedules/settle", self._prefix(firing.source), args)

    async def counts(self) -> tuple[int, int]:
        """How many schedules and rules wait for a tick, and how many firings for their target."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for partition in self.prefixes:
                pipe.zcard(f"{partition}ticks")
                pipe.zcard(f"{partition}firingsdue")
            found = await pipe.execute()
        return sum(found[0::2]), sum(found[1::2])

    async def woken(self, partition: str, *, wait_s: float) -> bool:
        """Sleep until a schedule of a partition is made or changed; False after `wait_s`."""
        return bool(await self._redis.drain(f"{partition}wake-schedules", wait_s=wait_s, count=10))


class GroupStore:
    """Groups of schedules, by account and region, in the home partition."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._client = redis.client
        self._home = redis.keys.home

    def _key(self, account: str, region: str) -> str:
        return f"{self._home}schedule-groups:{account}:{region}"

    async def all(self, account: str, region: str) -> dict[str, dict[str, Any]]:
        """Return every group that was made (a few hundred at most), by name."""
        with translated():
            found = await self._client.hgetall(self._key(account, region))
        return {name.decode(): orjson.loads(text) for name, text in found.items()}

    async def load(self, account: str, region: str, name: str) -> dict[str, Any] | None:
        """Read one; None where there is none."""
        with translated():
            text = await self._client.hget(self._key(account, region), name)
        return orjson.loads(text) if text is not None else None

    async def write(
        self, account: str, region: str, name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> bool:
        """Replace a group as it was read (None: there is none); False where it was changed since."""
        args = [
            f"{account}:{region}",
            name,
            orjson.dumps(before) if before is not None else b"",
            orjson.dumps(after) if after is not None else b"",
        ]
        return bool(await self._redis.run("schedules/group", self._home, args))

    async def deleting(self) -> list[tuple[str, str, str]]:
        """The groups that are being deleted, as (account, region, name)."""
        with translated():
            found = await self._client.smembers(f"{self._home}schedule-groups-deleting")
        parts = (member.decode().split(":", 2) for member in found)
        return [(account, region, name) for account, region, name in parts]
