"""Queues on a real Valkey, with a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from lambent_platform.contracts.queues import Message, NewMessage, QueueCounts, QueueRecord, Received, Sent
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import RedisStore, open_redis

ACCOUNT, REGION = "000000000000", "us-east-1"
START_MS = 1_790_000_000_000


@dataclass
class MovableTimer:
    """Event time that stands still until it is moved."""

    time_ms: int = START_MS
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self.time_ms

    async def sleep_until(self, due_ms: int) -> None:
        """Wait until it was moved so far."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.time_ms >= due_ms)

    async def move(self, seconds: float) -> None:
        """Let time pass."""
        async with self._moved:
            self.time_ms += round(seconds * 1000)
            self._moved.notify_all()


@dataclass
class Queues:
    """A store and short ways to use it."""

    store: QueueStore
    redis: RedisStore
    timer: MovableTimer

    async def create(self, name: str = "q", **attributes: Any) -> QueueRecord:
        """Create a queue."""
        given = {key: str(value) for key, value in attributes.items()}
        if name.endswith(".fifo"):
            given["FifoQueue"] = "true"
        queue = await self.store.create(
            QueueRecord(account=ACCOUNT, region=REGION, name=name, attributes=given, created_at_ms=self.timer.now_ms())
        )
        assert queue is not None
        return queue

    async def alter(self, queue: QueueRecord, **attributes: Any) -> QueueRecord:
        """Change attributes."""
        new = {key: str(value) for key, value in attributes.items()}
        return await self.store.update(queue.ref, lambda old: replace(old, attributes={**old.attributes, **new}))

    async def send(self, queue: QueueRecord, *bodies: str, **more: Any) -> list[Sent]:
        """Send messages that differ in their body; in a FIFO queue it is the deduplication id, too."""
        given: Mapping[str, Any] = {"group_id": "g"} | more if queue.fifo else more
        messages = [
            NewMessage(body=body, **({"deduplication_id": body} if queue.fifo else {}) | dict(given)) for body in bodies
        ]
        return await self.store.send(queue, messages, now_ms=self.timer.now_ms())

    async def take(self, queue: QueueRecord, count: int = 10, **more: Any) -> list[Message]:
        """Receive messages."""
        return (await self.receive(queue, count, **more)).messages

    async def receive(self, queue: QueueRecord, count: int = 10, **more: Any) -> Received:
        """Receive, with all that is told."""
        return await self.store.receive(queue, count=count, now_ms=self.timer.now_ms(), **more)

    async def bodies(self, queue: QueueRecord, count: int = 10, **more: Any) -> list[str]:
        """Receive messages for their bodies."""
        return [message.body for message in await self.take(queue, count, **more)]

    async def delete(self, queue: QueueRecord, messages: Sequence[Message]) -> list[str | None]:
        """Delete received messages; for each what was said against it."""
        answers = await self.store.delete(queue, [m.receipt_handle for m in messages], now_ms=self.timer.now_ms())
        return [None if answer is None else answer.code for answer in answers]

    async def hold(self, queue: QueueRecord, message: Message, seconds: int) -> str | None:
        """Change a visibility timeout; returns what was said against it."""
        changes = [(message.receipt_handle, seconds)]
        answer = (await self.store.change_visibility(queue, changes, now_ms=self.timer.now_ms()))[0]
        return None if answer is None else answer.code

    async def counts(self, queue: QueueRecord) -> tuple[int, int, int]:
        """Visible, in flight, delayed."""
        found: QueueCounts = await self.store.counts(queue, now_ms=self.timer.now_ms())
        return found.visible, found.in_flight, found.delayed

    async def keys(self) -> list[str]:
        """The keys that are left, but for the counter of generations."""
        found: list[bytes] = await self.redis.client.keys("*")
        return sorted(key.decode() for key in found if not key.endswith(b":queue-generation"))


@pytest.fixture(params=[1, 7], ids=["one-partition", "partitions"])
async def queues(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Queues]:
    """An empty store; with several partitions, a queue and its dead-letter queue may be apart."""
    async with open_redis(redis_url, partitions=request.param) as redis:
        await redis.client.flushall()
        yield Queues(QueueStore(redis), redis, MovableTimer())
