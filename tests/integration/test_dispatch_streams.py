"""Streamed replies between a real dispatcher and a worker that the test plays, over a real Valkey in partitions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import orjson
import pytest

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.environment import EnvironmentRecord, EnvironmentState, WorkerRecord
from lambent_platform.contracts.errors import ApiError, ResourceNotFound, TooManyRequests
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.limits import STREAM_CHUNK_BYTES, STREAM_WINDOW_BYTES
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.contracts.response_streams import Credit
from lambent_platform.dispatch.dispatcher import Dispatcher
from lambent_platform.dispatch.metrics import MeasuredCall
from lambent_platform.dispatch.streams import ReplyStream
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import Call, InvocationStore, Outcome, Work
from lambent_platform.store.redis import RedisStore, open_redis
from lambent_platform.store.response_streams import ResponseStreamStore
from lambent_workers.streams import Stream, StreamPump

NAMES = [f"f{n}" for n in range(6)]
HOUR = "2026-01-01T00"


class Metrics:
    """Keeps what calls ended with."""

    def __init__(self) -> None:
        self.calls: list[MeasuredCall] = []

    @contextmanager
    def measured(self, kind: str) -> Iterator[MeasuredCall]:
        """Keep one."""
        self.calls.append(MeasuredCall())
        yield self.calls[-1]

    def watch_in_flight(self, count: Any) -> None:
        """Ignore."""


class Bench:
    """A dispatcher, functions in several partitions, and a worker with one environment for each."""

    def __init__(self, redis: RedisStore) -> None:
        self.redis = redis
        self.invocations = InvocationStore(redis)
        self.fleet = FleetStore(redis)
        self.pump = StreamPump(ResponseStreamStore(redis), "w")
        self.metrics = Metrics()
        self.dispatcher = Dispatcher(
            redis, self.invocations, self.fleet, FunctionStore(redis), SystemClock(),
            gateway_id="g", capacity_wait_s=0.2, metrics=self.metrics,
        )  # fmt: skip
        self.calls: dict[str, asyncio.Queue[Work]] = {name: asyncio.Queue() for name in NAMES}
        self.room = {name: asyncio.Event() for name in NAMES}
        self.heard: list[Credit] = []

    async def deploy(self) -> None:
        """Make the functions, each with an environment of the worker that waits for a call."""
        record = WorkerRecord(id="w", driver="process", capacity_mb=1000)
        await self.fleet.heartbeat(record, [], now_ms=await self.redis.now_ms(), register=True)
        for name in NAMES:
            version = FunctionVersion(
                account="000000000000", region="us-east-1", name=name, revision="r", runtime="python3.13",
                handler="a.b", code=CodePackage(source_key="k", runnable_key="k"), state="Active", timeout_s=20,
            )  # fmt: skip
            await FunctionStore(self.redis).create(version.ref.ident, FunctionRecord(versions={LATEST: version}))
            environment = EnvironmentRecord(
                id=name.encode().hex().zfill(32), worker="w", target=version.target, runtime="python3.13",
                state=EnvironmentState.READY, memory_mb=128, started_at_ms=0,
            )  # fmt: skip
            await self.invocations.offer(
                "w",
                environment.id,
                version.target,
                now_ms=await self.redis.now_ms(),
                record=orjson.dumps(environment.to_dict()),
            )

    async def play(self, prefix: str) -> None:
        """Take what an inbox has: calls for the tests, credit for the streams."""
        while True:
            for item in await self.invocations.inbox("w", wait_s=0.2, prefix=prefix):
                if isinstance(item, Call):
                    self.calls[item.work.invocation.target.split(":")[2]].put_nowait(item.work)
                elif isinstance(item, Credit):
                    self.heard.append(item)
                    self.pump.hear(item)

    async def take(self, name: str) -> tuple[Work, Stream]:
        """Take a call, and begin to stream."""
        async with asyncio.timeout(5):
            work = await self.calls[name].get()
        return work, self.pump.open(work.invocation, "text/x", self.room[name].set)

    async def end(self, work: Work, stream: Stream, *, error: bytes = b"") -> None:
        """End a call, as a worker does."""
        _, rest = stream.end()
        reply = Reply(
            id=work.invocation.id, payload=error, function_error="Unhandled" if error else "", streamed=rest,
        )  # fmt: skip
        outcome = Outcome(environment_id="e", invocation=work.invocation, reply=reply, keep=False)
        await self.invocations.finish("w", [outcome], now_ms=0, hour=HOUR)

    async def boxed(self) -> int:
        """How many parts wait for the gateway."""
        return sum([int(await self.redis.client.llen(f"{p}parts:g")) for p in self.redis.keys.prefixes])


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    """All of it, in three partitions."""
    async with open_redis(redis_url, partitions=3) as redis:
        await redis.client.flushall()
        found = Bench(redis)
        async with found.dispatcher.running():
            await found.deploy()
            tasks = [asyncio.create_task(found.play(prefix)) for prefix in redis.keys.prefixes]
            tasks.append(asyncio.create_task(found.pump.run()))
            yield found
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_streams_of_several_partitions(bench: Bench) -> None:
    """Streams of functions wherever they live come whole and in order, more than a window of each, read at once."""
    assert len({bench.redis.keys.prefix(FunctionRef(name).ident) for name in NAMES}) > 1
    blocks = [bytes([n]) * STREAM_CHUNK_BYTES for n in range(24)]

    async def write(name: str) -> None:
        work, stream = await bench.take(name)
        for block in blocks:
            stream.write(block)
            if stream.full:
                bench.room[name].clear()
                await bench.room[name].wait()
        await bench.end(work, stream)

    async def read(name: str) -> bytes:
        async with bench.dispatcher.stream(FunctionRef(name), b"{}") as stream:
            assert (stream.content_type, stream.executed_version) == ("text/x", LATEST)
            return b"".join([part async for part in stream])

    writers = [asyncio.create_task(write(name)) for name in NAMES]
    async with asyncio.timeout(20):
        assert await asyncio.gather(*(read(name) for name in NAMES)) == [b"".join(blocks)] * len(NAMES)
    await asyncio.gather(*writers)
    assert [call.outcome for call in bench.metrics.calls] == ["ok"] * len(NAMES)
    assert await bench.boxed() == 0


@asynccontextmanager
async def streaming(bench: Bench, name: str, *parts: bytes) -> AsyncIterator[tuple[ReplyStream, Work, Stream]]:
    """A stream that has begun with some parts, seen from both ends."""
    taking = asyncio.create_task(bench.take(name))

    async def write() -> tuple[Work, Stream]:
        work, stream = await taking
        for part in parts:
            stream.write(part)
        return work, stream

    writing = asyncio.create_task(write())
    async with bench.dispatcher.stream(FunctionRef(name), b"{}") as read:
        yield (read, *await writing)


async def test_the_box_is_read_only_while_it_is_wanted(bench: Bench) -> None:
    """Without streams nothing asks Redis for parts."""
    box = bench.dispatcher._box(FunctionRef("f1"))
    assert box._reading is None
    async with streaming(bench, "f1", b"x") as (read, work, stream):
        assert box._reading is not None
        await bench.end(work, stream)
        assert [part async for part in read] == [b"x"]
    deadline = time.monotonic() + 5
    while box._reading is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_reader_that_leaves(bench: Bench) -> None:
    """The worker is told at once, sends no more, and ends its call as ever; nothing is left in the box."""
    async with streaming(bench, "f0", b"x" * 2 * STREAM_WINDOW_BYTES) as (read, work, stream):
        await anext(read)
    assert bench.metrics.calls[0].outcome == "abandoned"
    deadline = time.monotonic() + 5
    while not any(credit.abandoned for credit in bench.heard) or await bench.boxed():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    stream.write(b"more")
    await asyncio.sleep(0.1)
    assert await bench.boxed() == 0
    await bench.end(work, stream)
    deadline = time.monotonic() + 5
    while bench.dispatcher._box(FunctionRef("f0"))._reading is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_errors_of_function_and_platform(bench: Bench) -> None:
    """A function's error is the end of its stream; a worker that was given up is raised, after what it had sent."""
    async with streaming(bench, "f0", b"x") as (read, work, stream):
        assert await anext(read) == b"x"
        await bench.end(work, stream, error=b'{"errorType":"E"}')
        assert [part async for part in read] == []
        assert read.end is not None
        assert (read.end.function_error, read.end.payload) == ("Unhandled", b'{"errorType":"E"}')
    async with streaming(bench, "f2", b"x") as (read, _, _):
        assert await anext(read) == b"x"
        await bench.fleet.bury("w", now_ms=0, lease_ms=0, code="ServiceException", message="The worker was lost.")
        with pytest.raises(ApiError, match="lost"):
            await anext(read)
    assert [call.outcome for call in bench.metrics.calls] == ["function_error", "abandoned"]


async def test_refusals(bench: Bench) -> None:
    """What refuses a call refuses a stream, before its block begins: no function, no room, an error of the platform."""
    with pytest.raises(ResourceNotFound):
        await bench.dispatcher.stream(FunctionRef("absent"), b"{}").__aenter__()
    reading = asyncio.create_task(bench.take("f0"))
    first = asyncio.create_task(bench.dispatcher.stream(FunctionRef("f0"), b"{}").__aenter__())
    work, stream = await reading
    with pytest.raises(TooManyRequests):
        await bench.dispatcher.stream(FunctionRef("f0"), b"{}").__aenter__()
    reply = Reply(id=work.invocation.id, payload=b"no", failure="ServiceException")
    stream.end()
    await bench.invocations.finish(
        "w", [Outcome(environment_id="e", invocation=work.invocation, reply=reply, keep=False)], now_ms=0, hour=HOUR
    )
    with pytest.raises(ApiError, match="no"):
        await first


async def test_a_gateway_that_ends(bench: Bench) -> None:
    """Its box goes with it, and its workers hear at the next part that nobody reads."""
    async with streaming(bench, "f0", b"x") as (read, _, stream):
        await anext(read)
        await bench.fleet.forget_gateway("g")
        stream.write(b"y" * STREAM_WINDOW_BYTES)
        await asyncio.sleep(0.2)
        assert await bench.boxed() == 0
        assert not stream.full
