"""Builds on Redis: their state in our own keys, and the queue that hands them to builders.

A build's state is a hash `job:<id>` in the home partition: phase, due_ms, owner, attempts, ended_ms, reason, code,
result. RQ only carries the order to a builder and may lose it: a queued build that nobody begins, and a running one
whose lease is not renewed, are overdue, and whoever still wants them queues them again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final, cast

import redis
import rq
from rq.serializers import JSONSerializer

from lambent_platform.contracts.build import BuildOrder, BuildPhase, BuildRecord
from lambent_platform.core.preparation import ATTEMPTS_MAX
from lambent_platform.store.redis import COMMAND_TIMEOUT_S, CONNECT_TIMEOUT_S, RedisStore, translated

QUEUE_NAME: Final = "lambent:builds"
ENTRY_POINT: Final = "lambent_platform.builder.jobs.build"
JOB_TIMEOUT_S: Final = 1800
"""A backstop: what a job does has deadlines of its own."""
QUEUE_LEASE_MS: Final = 30_000
WORK_LEASE_MS: Final = 15_000
KEPT_MS: Final = {"image": 60_000, "dependencies": 24 * 3600 * 1000}
"""How long a build is known that nobody wants. Whether an engine has an image is for its worker to say, so that one is
soon forgotten."""
KEPT_IN_QUEUE_S: Final = 3600
LOST: Final = "The build was lost with its builder each time that it was tried."


class JobStore:
    """States of builds. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._prefix = store.keys.home

    async def order(self, order: BuildOrder) -> tuple[bool, BuildRecord]:
        """Want a build. True where it has to be put into the queue now, by this caller; and what is known of it."""
        args = [order.id, QUEUE_LEASE_MS, ATTEMPTS_MAX, KEPT_MS[order.kind], LOST]
        enqueue, phase, attempts, ended, reason, code, result, now = await self._store.run(
            "order_job", self._prefix, args
        )
        return bool(enqueue), BuildRecord(
            id=order.id,
            phase=cast(BuildPhase, phase.decode()),
            attempts=attempts,
            ended_at_ms=ended,
            read_at_ms=now,
            reason=reason.decode(),
            reason_code=code.decode(),
            result=result.decode(),
        )

    async def read(self, build_id: str) -> BuildRecord | None:
        """What is known of a build, without wanting it."""
        names = ("phase", "attempts", "ended_ms", "reason", "code", "result")
        with translated():
            values = await self._store.client.hmget(f"{self._prefix}job:{build_id}", *names)
        if values[0] is None:
            return None
        phase, attempts, ended, reason, code, result = (value.decode() if value else "" for value in values)
        return BuildRecord(
            id=build_id,
            phase=cast(BuildPhase, phase),
            attempts=int(attempts or 0),
            ended_at_ms=int(ended or 0),
            read_at_ms=await self._store.now_ms(),
            reason=reason,
            reason_code=code,
            result=result,
        )

    async def results(self, build_ids: Sequence[str]) -> dict[str, str]:
        """Of those builds that are known: what each has built, "" where it has not yet."""
        with translated():
            pipe = self._store.client.pipeline(transaction=False)
            for build_id in build_ids:
                pipe.hmget(f"{self._prefix}job:{build_id}", "phase", "result")
            found = await pipe.execute() if build_ids else []
        return {
            build_id: (result or b"").decode()
            for build_id, (phase, result) in zip(build_ids, found, strict=True)
            if phase is not None
        }

    async def forget(self, build_ids: Iterable[str]) -> None:
        """Drop what is known of builds, so that who wants one next starts it anew."""
        keys = [f"{self._prefix}job:{build_id}" for build_id in build_ids]
        if keys:
            with translated():
                await self._store.client.delete(*keys)

    async def claim(self, build_id: str, owner: str) -> int | None:
        """Begin a build; returns how often it was failed by infrastructure before. None: it is not to be had."""
        held = await self._store.run("claim_job", self._prefix, [build_id, owner, WORK_LEASE_MS, "begin"])
        return None if held < 0 else int(held)

    async def renew(self, build_id: str, owner: str) -> bool:
        """Go on holding a build; False where it was lost."""
        return bool(await self._store.run("claim_job", self._prefix, [build_id, owner, WORK_LEASE_MS, "renew"]) >= 0)

    async def is_live(self, build_id: str) -> bool:
        """Whether a builder holds it now."""
        with translated():
            phase, due = await self._store.client.hmget(f"{self._prefix}job:{build_id}", "phase", "due_ms")
        return phase == b"running" and int(due) > await self._store.now_ms()

    async def succeed(self, build_id: str, owner: str, *, result: str) -> bool:
        """End a build well; False where its owner had lost it."""
        return await self._end(build_id, owner, "succeeded", result=result)

    async def fail(self, build_id: str, owner: str, *, reason: str, code: str) -> bool:
        """End a build that can never succeed; False where its owner had lost it."""
        return await self._end(build_id, owner, "failed", reason=reason, code=code)

    async def put_off(self, build_id: str, owner: str, *, delay_s: float, failed: bool, reason: str = "") -> bool:
        """Give a build back, to be tried again; `failed` counts it as an attempt."""
        return await self._end(
            build_id, owner, "waiting", reason=reason, delay_ms=int(delay_s * 1000), attempts=int(failed)
        )

    async def _end(
        self,
        build_id: str,
        owner: str,
        phase: BuildPhase,
        *,
        reason: str = "",
        code: str = "",
        result: str = "",
        delay_ms: int = 0,
        attempts: int = 0,
    ) -> bool:
        args = [build_id, owner, phase, reason, code, result, delay_ms, attempts]
        return bool(await self._store.run("end_job", self._prefix, args))

    async def sleep(self, wait_s: float) -> bool:
        """Sleep until a function awaits preparation or a build has ended; False after `wait_s`."""
        keys = [f"{prefix}wake-preparation" for prefix in self._store.keys.prefixes]
        with translated():
            return await self._store.client.blpop(keys, timeout=wait_s) is not None


def open_queue(url: str) -> rq.Queue:
    """Connect to the queue of builds; blocking."""
    client = redis.Redis.from_url(url, socket_timeout=COMMAND_TIMEOUT_S, socket_connect_timeout=CONNECT_TIMEOUT_S)
    return rq.Queue(QUEUE_NAME, connection=client, serializer=JSONSerializer)


class JobQueue:
    """The queue from the side of those who order; its blocking client works in threads."""

    def __init__(self, queue: rq.Queue) -> None:
        self._queue = queue

    async def put(self, order: BuildOrder) -> None:
        """Queue an order, unless it is in the queue already.

        Raises:
            StoreUnavailable: Redis is away.
        """
        await asyncio.to_thread(self._put, order)

    async def waiting(self) -> int:
        """How many orders nobody has taken yet.

        Raises:
            StoreUnavailable: Redis is away.
        """
        with translated():
            return await asyncio.to_thread(lambda: self._queue.count)

    def _put(self, order: BuildOrder) -> None:
        with translated():
            if order.id in self._queue.get_job_ids():
                return
            self._queue.enqueue_call(
                ENTRY_POINT,
                args=(dataclasses.asdict(order),),
                job_id=order.id,
                timeout=JOB_TIMEOUT_S,
                result_ttl=0,
                failure_ttl=KEPT_IN_QUEUE_S,
                description=f"{order.kind} for {order.runtime}",
            )
