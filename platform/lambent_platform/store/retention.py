"""What outlives its use on Redis: metering of long ago, and what deleted functions leave behind."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import RedisStore, translated

OWNER_OBJECT: Final = "owner"
"""The object that says which data on Redis an object store belongs to."""


class RetentionStore:
    """Finds and removes it. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    @property
    def partitions(self) -> tuple[str, ...]:
        """What to go through one after the other."""
        return self._redis.keys.prefixes

    async def meter_fields(self, idents: Sequence[str]) -> list[list[str]]:
        """Return, for each function, the names of its meter's fields (`2026-11-23T10:requests`)."""
        if not idents:
            return []
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for ident in idents:
                pipe.hkeys(self._meter(ident))
            return [[name.decode() for name in names] for names in await pipe.execute()]

    async def drop_meter_fields(self, ident: str, names: Sequence[str]) -> None:
        """Remove fields of a function's meter."""
        with translated():
            await self._redis.client.hdel(self._meter(ident), *names)

    async def deleted(self, partition: str, *, limit: int) -> list[tuple[str, int]]:
        """Return the functions that were deleted longest ago, with when that was (liveness time)."""
        with translated():
            found = await self._redis.client.zrange(f"{partition}deleted", 0, limit - 1, withscores=True)
        return [(ident.decode(), int(deleted_ms)) for ident, deleted_ms in found]

    async def purge(self, ident: str, *, last: bool) -> bool:
        """Remove what a deleted function has left; `last`: nothing more is to be expected of it.

        False where there is a function of this name again: then nothing is removed.
        """
        return bool(await self._redis.run("purge", self._redis.keys.prefix(ident), [ident, int(last)]))

    async def owns(self, objects: ObjectStore) -> bool:
        """Whether an object store belongs to this data, and to no other; one that is nobody's is claimed.

        Only then does "no function refers to it" mean that nobody does.
        """
        key = f"{self._redis.keys.home}objects-owner"
        with translated():
            await self._redis.client.set(key, secrets.token_hex(16), nx=True)
            owner: bytes = await self._redis.client.get(key)
        found = await objects.get(OWNER_OBJECT)
        if found is None:
            await objects.put(OWNER_OBJECT, owner)
            found = await objects.get(OWNER_OBJECT)
        return found == owner

    def _meter(self, ident: str) -> str:
        return f"{self._redis.keys.prefix(ident)}meter:{ident}"
