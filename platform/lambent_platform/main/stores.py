"""Opening the stores that every role shares, as the settings say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.main.role import CannotStart
from lambent_platform.main.settings import Settings
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import RedisStore, open_redis

REDIS_WAIT_S: Final = 30.0
"""How long a role that starts waits for Redis, which may be starting too, or reading a large file."""
_PROBE_S: Final = 0.02


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[RedisStore]:
    """Connect to Redis and wait until it answers.

    Raises:
        CannotStart: no Redis is set.
        StoreUnavailable: it did not answer in time.
    """
    if not settings.redis:
        raise CannotStart("a role alone needs --redis URL (or LAMBENT_REDIS); `lambent up` brings its own")
    async with open_redis(settings.redis, partitions=settings.partitions) as store:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REDIS_WAIT_S
        while True:
            try:
                await store.ping()
                break
            except StoreUnavailable:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(_PROBE_S)
        yield store


def open_objects(settings: Settings) -> ObjectStore:
    """Open the object store.

    Raises:
        CannotStart: it cannot be opened.
    """
    try:
        return ObjectStore.from_url(settings.of_objects())
    except StoreUnavailable as error:
        raise CannotStart(str(error)) from error
