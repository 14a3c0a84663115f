"""What was accepted outlives the server, however it ends."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.contracts.queues import NewMessage, QueueRecord
from lambent_platform.main.valkey import EmbeddedValkey
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import open_redis

NOW_MS = 1_790_000_000_000


@asynccontextmanager
async def running(server: EmbeddedValkey) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run a server, which is killed at the end."""
    server.prepare()
    process = await asyncio.to_thread(subprocess.Popen, server.argv(), stdout=subprocess.DEVNULL)
    try:
        async with open_redis(server.url) as redis, asyncio.timeout(20):
            while True:
                try:
                    await redis.ping()
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.02)
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


async def test_a_server_killed_under_load_loses_nothing_accepted() -> None:
    """Waiting for the disk, every message that its sender was told of is there after a kill, and what was held too."""
    with tempfile.TemporaryDirectory(prefix="lambent-test-") as folder:
        server = EmbeddedValkey(folder=Path(folder) / "data", socket=Path(folder) / "valkey.sock")
        accepted: set[str] = set()
        many = asyncio.Event()
        async with running(server) as process, open_redis(server.url) as redis:
            store = QueueStore(redis, wait_for_disk=True)
            queue = await store.create(QueueRecord(account="000000000000", region="us-east-1", name="q"))
            assert queue is not None

            async def send(sender: int) -> None:
                for number in range(1000):
                    message = NewMessage(body=f"{sender} {number}")
                    (sent,) = await store.send(queue, [message], now_ms=NOW_MS)
                    accepted.add(sent.id)
                    if len(accepted) == 200:
                        many.set()

            senders = [asyncio.create_task(send(n)) for n in range(8)]
            await many.wait()
            held = (await store.receive(queue, count=10, now_ms=NOW_MS, visibility_timeout_s=60)).messages
            assert len(held) == 10
            process.kill()
            ends = await asyncio.gather(*senders, return_exceptions=True)
            assert all(isinstance(end, StoreUnavailable) for end in ends), "it was killed too late"
        async with running(server), open_redis(server.url) as redis:
            store = QueueStore(redis, wait_for_disk=True)
            queue = await store.find("000000000000", "us-east-1", "q")
            assert queue is not None
            found: set[str] = set()
            while messages := (await store.receive(queue, count=10, now_ms=NOW_MS + 60_000)).messages:
                found |= {message.id for message in messages}
            assert accepted <= found
