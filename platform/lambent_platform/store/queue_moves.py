"""Tasks that move a dead-letter queue's messages elsewhere, a step at a time; their state is on Redis alone."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from lambent_platform.contracts.queues import QueueRecord, QueueRef
from lambent_platform.core.queue_messages import address
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import RedisStore, translated

TASKS_KEPT: Final = 10
STEP_COUNT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveTask:
    """One task; `status` is RUNNING, CANCELLING, CANCELLED, COMPLETED or FAILED."""

    id: str
    status: str = "RUNNING"
    destination: str = ""
    """ARN of the queue; empty where each message goes back to where it died."""
    per_second: int = 0
    """Most messages a second; 0 for as many as it can."""
    started_ms: int = 0
    """Event time."""
    moved: int = 0
    to_move: int = 0
    reason: str = ""
    """Why it failed, as SQS names it."""

    def allowance(self, now_ms: int) -> int:
        """How many messages may leave now."""
        if not self.per_second:
            return STEP_COUNT
        due = self.per_second * max(0, now_ms - self.started_ms) // 1000
        return max(0, min(STEP_COUNT, due - self.moved))


class MoveTaskActive(Exception):
    """A task of this queue is active already."""


class MoveTaskStore:
    """Tasks by queue. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore, queues: QueueStore) -> None:
        self._redis = redis
        self._queues = queues

    async def start(self, queue: QueueRecord, *, destination: str, per_second: int, now_ms: int) -> MoveTask | None:
        """Begin a task; the scheduler goes on with it. None where the queue is gone.

        Raises:
            MoveTaskActive: there is one.
        """
        task = MoveTask(id=str(uuid.uuid4()), destination=destination, per_second=per_second, started_ms=now_ms)
        args = [queue.ident, now_ms, queue.delay_s * 1000, task.id, orjson.dumps(asdict(task)), TASKS_KEPT]
        found = await self._redis.run("queues/move_start", self._redis.keys.prefix(queue.ident), args)
        if found == -1:
            raise MoveTaskActive
        return task if found >= 0 else None

    async def tasks(self, ref: QueueRef) -> list[MoveTask]:
        """Return a queue's tasks, the newest first."""
        with translated():
            found = await self._redis.client.hvals(f"{self._redis.keys.prefix(ref.ident)}qmoves:{ref.ident}")
        return sorted((_task(text) for text in found), key=lambda task: task.started_ms, reverse=True)

    async def cancel(self, ref: QueueRef, task_id: str) -> int:
        """Have a task end; returns how many messages it has moved, -1 where it is not running, -2 without it."""
        args = [ref.ident, task_id]
        return int(await self._redis.run("queues/move_cancel", self._redis.keys.prefix(ref.ident), args))

    async def busy(self) -> list[QueueRef]:
        """Return the queues that a task is active for, or that have messages on their way to others."""
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._redis.keys.prefixes:
                pipe.smembers(f"{prefix}moving")
                pipe.smembers(f"{prefix}outgoing")
            found = await pipe.execute()
        return [QueueRef(*ident.split(":")) for ident in sorted({i.decode() for idents in found for i in idents})]

    async def step(self, ref: QueueRef, *, now_ms: int) -> int:
        """Do a little more of what a queue has under way; returns how many messages arrived elsewhere, or came back."""
        queue = await self._queues.find(ref.account, ref.region, ref.name)
        if queue is None:
            return 0
        # What was on its way when somebody died goes first.
        moved = await self._queues.forward(ref, now_ms=now_ms)
        for task in await self.tasks(ref):
            if task.status in ("RUNNING", "CANCELLING") and await self._leave(queue, task, now_ms):
                moved += await self._queues.forward(ref, now_ms=now_ms)
        return moved

    async def _leave(self, queue: QueueRecord, task: MoveTask, now_ms: int) -> int:
        target = QueueRef.parse(task.destination) if task.destination else None
        args: list[Any] = [queue.ident, now_ms, queue.retention_s * 1000, queue.delay_s * 1000, task.id]
        args += [task.allowance(now_ms), address(target.ident if target is not None else "", task=task.id)]
        return int(await self._redis.run("queues/move_step", self._redis.keys.prefix(queue.ident), args))


def _task(text: bytes) -> MoveTask:
    return MoveTask(**orjson.loads(text))
