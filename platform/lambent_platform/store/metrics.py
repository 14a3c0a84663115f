"""Metrics of roles that serve no HTTP: each leaves its newest snapshot, every gateway shows them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.redis import RedisStore, translated

FRESH_MS: Final = 30_000
PUBLISH_S: Final = 5.0


class MetricsStore:
    """Snapshots by role instance (`worker:host-1a2b3c`), in Prometheus's text format."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._key = f"{redis.keys.home}metrics"

    async def publish(self, instance: str, text: str) -> None:
        """Replace an instance's snapshot."""
        now_ms = await self._redis.now_ms()
        with translated():
            await self._redis.client.hset(self._key, instance, orjson.dumps([now_ms, text]))

    async def withdraw(self, instance: str) -> None:
        """Drop an instance's snapshot: it has ended."""
        with translated():
            await self._redis.client.hdel(self._key, instance)

    async def snapshots(self) -> dict[str, str]:
        """Every instance's text; instances that have been silent for 30 s are dropped for good."""
        now_ms = await self._redis.now_ms()
        with translated():
            found: dict[bytes, Any] = await self._redis.client.hgetall(self._key)
        fresh: dict[str, str] = {}
        stale: list[bytes] = []
        for instance, data in found.items():
            at_ms, text = orjson.loads(data)
            if at_ms < now_ms - FRESH_MS:
                stale.append(instance)
            else:
                fresh[instance.decode()] = text
        if stale:
            with translated():
                await self._redis.client.hdel(self._key, *stale)
        return fresh


@asynccontextmanager
async def published(store: MetricsStore, instance: str, text: Callable[[], str]) -> AsyncIterator[None]:
    """Publish a role's snapshot every `PUBLISH_S` seconds for the length of the block, then withdraw it.

    Metrics are no reason to fail: while Redis is away there are none.
    """
    publishing = asyncio.create_task(_publish(store, instance, text), name=f"metrics of {instance}")
    try:
        yield
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):
            await store.withdraw(instance)


async def _publish(store: MetricsStore, instance: str, text: Callable[[], str]) -> None:
    while True:
        with contextlib.suppress(StoreUnavailable):
            await store.publish(instance, text())
        await asyncio.sleep(PUBLISH_S)
