"""Queues' records on Redis: set up, changed, found, deleted."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from lambent_platform.contracts.queue_errors import QueueBusy, QueueDoesNotExist
from lambent_platform.contracts.queues import QueueRecord, QueueRef
from lambent_platform.store.redis import RedisStore, translated

CACHED_QUEUES_MAX: Final = 10_000
STALE_TRIES: Final = 5


class QueueRecords:
    """Records of queues, with a bounded cache of them; every script checks that what it is given is current.

    Every method raises `StoreUnavailable` where Redis is away.
    """

    def __init__(self, redis: RedisStore, *, wait_for_disk: bool = False) -> None:
        self._redis = redis
        self._client: Any = redis.client
        self._write = redis.run_durably if wait_for_disk else redis.run
        self._cache: dict[str, QueueRecord] = {}

    async def find(self, account: str, region: str, name: str) -> QueueRecord | None:
        """Read a queue's record; None where there is none."""
        ref = QueueRef(account, region, name)
        gen, record = await self._redis.hot("HMGET", self._key(ref.ident), "gen", "record")
        if gen is None:
            self._cache.pop(ref.ident, None)
            return None
        return self._keep(_decode(ref, int(gen), record))

    async def find_arn(self, arn: str) -> QueueRecord | None:
        """Read the record of the queue of an ARN; None where there is none, or it is no queue's ARN."""
        ref = QueueRef.parse(arn) if arn.startswith("arn:") else None
        return await self.find(ref.account, ref.region, ref.name) if ref is not None else None

    async def known(self, ref: QueueRef) -> QueueRecord:
        """Return a record as it was read last, perhaps a while ago: scripts check that it is current.

        Raises:
            QueueDoesNotExist: there is none.
        """
        return self._cache.get(ref.ident) or await self.current(ref)

    async def current(self, ref: QueueRef) -> QueueRecord:
        """Read a record.

        Raises:
            QueueDoesNotExist: there is none.
        """
        record = await self.find(ref.account, ref.region, ref.name)
        if record is None:
            raise QueueDoesNotExist
        return record

    async def create(self, record: QueueRecord) -> QueueRecord | None:
        """Create a queue; None where there is one of this name."""
        return await self._save(replace(record, incarnation=secrets.token_hex(6), generation=0))

    async def update(self, ref: QueueRef, change: Callable[[QueueRecord], QueueRecord]) -> QueueRecord:
        """Change a record by a pure function of the current one, which may be called again.

        Raises:
            QueueDoesNotExist: there is none.
            QueueBusy: it was changed by others each time.
            ApiError: what `change` raises.
        """
        for _ in range(STALE_TRIES):
            written = await self._save(change(await self.current(ref)))
            if written is not None:
                return written
        raise QueueBusy

    async def _save(self, record: QueueRecord) -> QueueRecord | None:
        dead = QueueRef.parse(record.dead_letter_arn) if record.dead_letter_arn else None
        stored = {
            "attributes": dict(record.attributes),
            "tags": dict(record.tags),
            "created_at_ms": record.created_at_ms,
            "modified_at_ms": record.modified_at_ms,
            "incarnation": record.incarnation,
        }
        generation = await self._write(
            "queues/write",
            self._prefix(record.ident),
            [
                record.ident,
                record.generation or "",
                orjson.dumps(stored),
                record.incarnation,
                int(record.fifo),
                dead.ident if dead is not None else "",
            ],
        )
        return self._keep(replace(record, generation=int(generation))) if generation else None

    async def drop(self, ref: QueueRef) -> None:
        """Delete a queue with all its messages.

        Raises:
            QueueDoesNotExist: there is none.
        """
        self._cache.pop(ref.ident, None)
        if not await self._write("queues/drop", self._prefix(ref.ident), [ref.ident]):
            raise QueueDoesNotExist

    async def purge(self, ref: QueueRef, *, now_ms: int, pause_ms: int) -> bool:
        """Delete all messages of a queue; False where that was done within `pause_ms`.

        Raises:
            QueueDoesNotExist: there is none.
        """
        said = await self._write("queues/purge", self._prefix(ref.ident), [ref.ident, now_ms, pause_ms])
        if said == b"gone":
            raise QueueDoesNotExist
        return bool(said == b"ok")

    async def names(self, account: str, region: str, prefix: str = "") -> list[str]:
        """Return the names of all queues of an account and region that begin so, in order."""
        start = f"{account}:{region}:"
        found: list[str] = []
        for partition in self._redis.keys.prefixes:
            with translated():
                low, high = f"[{start}{prefix}", f"[{start}{prefix}\x7f"
                found += [i.decode() for i in await self._client.zrangebylex(f"{partition}queues", low, high)]
        return sorted(ident[len(start) :] for ident in found)

    async def sources(self, ref: QueueRef) -> list[QueueRef]:
        """Return the queues whose dead letters go to this one, by name."""
        found: list[QueueRef] = []
        for partition in self._redis.keys.prefixes:
            with translated():
                rows = await self._client.hgetall(f"{partition}deadletters")
            found += [
                QueueRef(*ident.decode().split(":")) for ident, dead in rows.items() if dead.decode() == ref.ident
            ]
        return sorted(found, key=lambda source: source.name)

    async def idents(self, *, after: str, limit: int) -> list[str]:
        """Return queues of all accounts and regions, in order, from the first after one; none is missed."""
        found: list[str] = []
        low = f"({after}" if after else "-"
        for partition in self._redis.keys.prefixes:
            with translated():
                rows = await self._client.zrangebylex(f"{partition}queues", low, "+", start=0, num=limit)
            found += [ident.decode() for ident in rows]
        return sorted(found)[:limit]

    async def expire(self, ident: str, *, now_ms: int) -> bool:
        """Drop messages past their retention; True where there may be more to drop."""
        queue = await self.find(*ident.split(":"))
        if queue is None:
            return False
        args = [ident, now_ms, queue.retention_s * 1000, queue.delay_s * 1000]
        return bool(await self._redis.run("queues/expire", self._prefix(ident), args))

    def _key(self, ident: str) -> str:
        return f"{self._prefix(ident)}queue:{ident}"

    def _prefix(self, ident: str) -> str:
        return self._redis.keys.prefix(ident)

    def _keep(self, record: QueueRecord) -> QueueRecord:
        self._cache[record.ident] = record
        if len(self._cache) > CACHED_QUEUES_MAX:
            self._cache.pop(next(iter(self._cache)))
        return record


def _decode(ref: QueueRef, generation: int, stored: bytes) -> QueueRecord:
    return QueueRecord(
        account=ref.account, region=ref.region, name=ref.name, generation=generation, **orjson.loads(stored)
    )
