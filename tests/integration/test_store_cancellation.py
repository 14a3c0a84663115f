"""Cancelling what talks to a real Valkey, at every moment of a command: it ends, and the next command works."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio.connection
import redis.exceptions

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.cancellable import cancellable_pool
from lambent_platform.store.redis import CONNECTIONS_MAX, open_redis


async def test_no_cancellation_is_lost(redis_url: str) -> None:
    """A loop that only ends by being cancelled does so at once, whenever that comes."""
    async with open_redis(redis_url) as store:

        async def forever() -> None:
            while True:
                await store.now_ms()

        for turns in range(60):
            task = asyncio.create_task(forever())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=2)
            assert done, f"it went on after {turns} turns of the loop"
            assert task.cancelled()
        assert await store.now_ms() > 0


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("redis://localhost:1/2", redis.asyncio.connection.Connection),
        ("rediss://localhost:1", redis.asyncio.connection.SSLConnection),
        ("unix:///none", redis.asyncio.connection.UnixDomainSocketConnection),
    ],
)
def test_every_kind_of_connection(url: str, base: type) -> None:
    """The URL says what a connection is, as with the library."""
    assert issubclass(cancellable_pool(url).connection_class, base)


async def test_a_server_that_takes_nothing() -> None:
    """A command is given up after its time, as an error of the store's, when its peer is there but does not read."""
    stalled = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0, limit=1)
    port = stalled.sockets[0].getsockname()[1]
    pool = cancellable_pool(f"redis://127.0.0.1:{port}", socket_timeout=0.2, protocol=2)
    async with redis.asyncio.Redis.from_pool(pool) as client:
        with pytest.raises((redis.exceptions.TimeoutError, TimeoutError)):
            await client.set("k", b"x" * (64 << 20))
    stalled.close()
    async with open_redis("redis://127.0.0.1:1") as store:
        with pytest.raises(StoreUnavailable):
            await store.ping()


async def test_a_burst_waits_for_connections(redis_url: str) -> None:
    """More commands at once than there may be connections: all are answered, by no more connections than that."""
    async with open_redis(redis_url) as store:
        answers = await asyncio.gather(*(store.client.echo(str(at)) for at in range(10 * CONNECTIONS_MAX)))
        assert answers == [str(at).encode() for at in range(10 * CONNECTIONS_MAX)]
        assert len(await store.client.client_list()) < 2 * CONNECTIONS_MAX


async def test_who_finds_no_connection_in_time_is_told(redis_url: str) -> None:
    """The wait ends: Redis is as good as away; and what was given back is there again."""
    pool = cancellable_pool(redis_url, socket_connect_timeout=0.2, max_connections=1)
    client = redis.asyncio.Redis.from_pool(pool)
    held = await pool.get_connection()
    with pytest.raises(redis.exceptions.ConnectionError, match="No connection available"):
        await client.ping()
    await pool.release(held)
    waiting = [asyncio.create_task(client.ping()) for _ in range(20)]
    await asyncio.sleep(0)
    for task in waiting[::2]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await client.ping()
    await client.aclose()
