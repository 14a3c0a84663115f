"""A real worker on a real Valkey, with real processes as its sandboxes. The test is its gateway and its scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.environment import EnvironmentRecord, EnvironmentState
from lambent_platform.contracts.events import EventMeta
from lambent_platform.contracts.function import CodePackage, FunctionVersion
from lambent_platform.contracts.invocation import Invocation, Reply
from lambent_platform.contracts.limits import STREAM_BYTES
from lambent_platform.core.keepalive import KeepAlive
from lambent_platform.dispatch.streams import ReplyStream, StreamBox
from lambent_platform.store.fleet import FleetStore, StartOrder
from lambent_platform.store.habits import HabitStore
from lambent_platform.store.invocations import InvocationStore, Placement, start_order
from lambent_platform.store.logs import LogEvent
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import RedisStore, open_redis
from lambent_platform.store.response_streams import ResponseStreamStore
from lambent_workers.code_cache import CodeCache
from lambent_workers.drivers.port import Driver
from lambent_workers.drivers.process.driver import ProcessDriver, ProcessSettings
from lambent_workers.logs import Appender, LogPump
from lambent_workers.settings import WorkerSettings
from lambent_workers.worker import Worker

DEADLINE_S = 20.0


class Logs:
    """Keeps every line."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def at(self, account: str, region: str) -> Appender:
        """Return the same for everyone."""
        return self

    async def append(self, group: str, events: list[LogEvent]) -> None:
        """Keep."""
        self.events += events


@dataclass
class Bench:
    """One worker and what a test needs around it."""

    redis: RedisStore
    worker: Worker
    objects: ObjectStore
    logs: Logs
    folder: Path
    runtimes: Mapping[str, str]
    """What this machine has, as the driver says it."""
    invocations: InvocationStore = field(init=False)
    fleet: FleetStore = field(init=False)
    box: StreamBox = field(init=False)
    """Where the parts of streamed replies arrive."""
    replies: dict[str, asyncio.Future[Reply]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runtime = next(name for name, state in self.runtimes.items() if state == "ready")
        self.invocations = InvocationStore(self.redis)
        self.fleet = FleetStore(self.redis)
        self.box = StreamBox(ResponseStreamStore(self.redis), "g", self.redis.keys.home)

    async def deploy(self, source: str = "", *, files: dict[str, str] | None = None, **fields: Any) -> FunctionVersion:
        """Make a function's package and its record on Redis."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, text in (files or {"app.py": source}).items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = 0o755 << 16
                archive.writestr(entry, text)
        key = f"code/{hashlib.sha256(buffer.getvalue()).hexdigest()}.zip"
        await self.objects.put(key, buffer.getvalue())
        defaults: dict[str, Any] = {
            "account": "000000000000", "region": "us-east-1", "name": f"f-{uuid.uuid4().hex[:8]}",
            "revision": uuid.uuid4().hex[:8], "runtime": self.runtime, "handler": "app.handler",
            "code": CodePackage(source_key=key, runnable_key=key),
        }  # fmt: skip
        version = FunctionVersion(**(defaults | fields))
        await self.make_live(version)
        return version

    async def make_live(self, version: FunctionVersion) -> None:
        """Deploy a version, in place of what was there."""
        key = self.redis.keys.function(version.ref.ident)
        await self.redis.client.hset(key, mapping={"gen": 1, f"live:{version.version}": version.revision})

    async def start(self, version: FunctionVersion) -> str:
        """Order one environment, as the scheduler does."""
        environment_id = uuid.uuid4().hex
        record = EnvironmentRecord(
            id=environment_id, worker="w", target=version.target, runtime=version.runtime,
            state=EnvironmentState.STARTING, memory_mb=version.memory_mb, started_at_ms=await self.redis.now_ms(),
        )  # fmt: skip
        assert await self.fleet.start([StartOrder(record, start_order(environment_id, version.to_dict()))]) == [True]
        return environment_id

    async def place(
        self, version: FunctionVersion, event: Any = None, *, order: bool = True, **fields: Any
    ) -> asyncio.Future[Reply]:
        """Place one synchronous call, and `order` an environment where it has to wait."""
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        call = Invocation(
            id=str(uuid.uuid4()), target=version.target, gateway="g",
            qualified_arn=version.ref.qualified_arn, payload=payload, **fields,
        )  # fmt: skip
        future = self.replies[call.id] = asyncio.get_running_loop().create_future()
        [placement] = await self.invocations.place([(call, 1)])
        assert placement in (Placement.QUEUED, Placement.PLACED)
        if order and placement is Placement.QUEUED:
            await self.start(version)
        return future

    async def invoke(self, version: FunctionVersion, event: Any = None, **fields: Any) -> Reply:
        """Place one call and wait for its reply."""
        async with asyncio.timeout(DEADLINE_S):
            return await (await self.place(version, event, **fields))

    async def call(self, version: FunctionVersion, event: Any = None, **fields: Any) -> Any:
        """Make one call that must succeed."""
        reply = await self.invoke(version, event, **fields)
        assert (reply.function_error, reply.failure) == ("", ""), reply
        return json.loads(reply.payload)

    async def fail(self, version: FunctionVersion, event: Any = None) -> dict[str, Any]:
        """Make one call that must end with a function error."""
        reply = await self.invoke(version, event)
        assert reply.function_error == "Unhandled", reply
        return dict(json.loads(reply.payload))

    @contextlib.asynccontextmanager
    async def stream(self, version: FunctionVersion, event: Any = None, **fields: Any) -> AsyncIterator[ReplyStream]:
        """Place a call whose reply is read while it comes, once there is something of it."""
        call_id = str(uuid.uuid4())
        ending = self.replies[call_id] = asyncio.get_running_loop().create_future()
        call = Invocation(
            id=call_id, target=version.target, gateway="g", qualified_arn=version.ref.qualified_arn,
            payload=json.dumps(event if event is not None else {}).encode(), streamed=True, **fields,
        )  # fmt: skip
        with self.box.reading(call_id, ending) as found:
            found.deadline_s += 30
            [placement] = await self.invocations.place([(call, 1)])
            if placement is Placement.QUEUED:
                await self.start(version)
            async with asyncio.timeout(30):
                await found.begun
                yield found

    async def read(self, version: FunctionVersion, event: Any = None, **fields: Any) -> tuple[bytes, Reply]:
        """Read a whole stream."""
        async with self.stream(version, event, **fields) as found:
            data = b"".join([part async for part in found])
            assert found.end is not None
            return data, found.end

    async def send(self, version: FunctionVersion, event: Any = None, *, retries_max: int = 2, age_s: int = 60) -> str:
        """Accept one asynchronous event; returns its id."""
        accepted_at = SystemClock().now_ms() - (60 - age_s) * 1000
        meta = EventMeta(
            accepted_at_ms=accepted_at, function_arn=version.ref.qualified_arn, retries_max=retries_max, age_max_s=60
        )
        call = Invocation(
            id=str(uuid.uuid4()), target=version.target, kind="event",
            qualified_arn=version.ref.qualified_arn, payload=json.dumps(event).encode(),
        )  # fmt: skip
        assert await self.invocations.accept([(call, 1, meta)]) == [Placement.PLACED]
        return call.id

    async def pump(self) -> None:
        """Be the gateway that reads its reply box."""
        while True:
            for reply in await self.invocations.replies("g", wait_s=0.5, prefix=self.redis.keys.home):
                self.replies.pop(reply.id).set_result(reply)

    async def until(self, condition: Callable[[], Any], *, within_s: float = DEADLINE_S) -> None:
        """Wait for a condition."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
            await asyncio.sleep(0.02)

    async def held(self) -> dict[bytes, bytes]:
        """The calls that this worker holds on Redis."""
        return dict(await self.redis.client.hgetall(f"{self.redis.keys.home}held:w"))

    async def idle(self, version: FunctionVersion) -> int:
        """How many idle slots a version has."""
        return int(await self.redis.client.zcard(f"{self.redis.keys.home}idle:{version.target}"))

    async def lines(self, *wanted: str) -> list[str]:
        """The log, once all of `wanted` are in it."""
        async with asyncio.timeout(5):
            while True:
                text = [event.message.rstrip("\n") for event in self.logs.events]
                if all(any(part in line for line in text) for part in wanted):
                    return text
                await asyncio.sleep(0.05)


def process_driver(platform_id: str, folder: Path) -> Driver:
    """Make the driver that needs nothing but this machine."""
    endpoint_url = "http://127.0.0.1:4566"
    return ProcessDriver(
        ProcessSettings(platform_id=platform_id, endpoint_url=endpoint_url, state_dir=folder / "process")
    )


Make = Callable[..., contextlib.AbstractAsyncContextManager[Bench]]


@pytest.fixture
def make(redis_url: str) -> Make:
    """Makes benches; the keepalive's fields are arguments. The worker's driver and way to Redis may be others."""

    @contextlib.asynccontextmanager
    async def bench(
        *,
        worker_redis_url: str = "",
        reconcile_interval_s: float = 5.0,
        stream_bytes_max: int = STREAM_BYTES,
        driver_of: Callable[[str, Path], Driver] = process_driver,
        **keepalive: Any,
    ) -> AsyncIterator[Bench]:
        folder = Path(tempfile.mkdtemp(prefix="lw-"))
        driver = driver_of(f"t{folder.name[-6:]}".replace("_", "x"), folder)
        try:
            info = await driver.open()
            logs, objects = Logs(), ObjectStore.local(folder / "objects")
            async with (
                open_redis(redis_url) as redis,
                open_redis(worker_redis_url or redis_url) as own,
                LogPump(logs) as pump,
            ):
                await redis.client.flushall()
                worker = Worker(
                    WorkerSettings(
                        worker_id="w", capacity_mb=4096, environments_dir=folder / "env", drain_timeout_s=3,
                        keepalive=KeepAlive(**({"stems": 0} | keepalive)), retry_delays_s=(0.1,),
                        reconcile_interval_s=reconcile_interval_s, stream_bytes_max=stream_bytes_max,
                    ),
                    invocations=InvocationStore(own), streams=ResponseStreamStore(own), fleet=FleetStore(own),
                    habits=HabitStore(own),                     driver=driver, driver_info=info,
                    code=CodeCache(objects, folder / "cache"), logs=pump, clock=SystemClock(),
                    liveness_ms=own.now_ms,
                )  # fmt: skip
                started = asyncio.Event()
                tasks = [asyncio.create_task(worker.run(started=started))]
                await started.wait()
                found = Bench(redis, worker, objects, logs, folder, info.runtimes)
                await found.fleet.beat_gateway("g", now_ms=await redis.now_ms())
                tasks.append(asyncio.create_task(found.pump()))
                try:
                    yield found
                finally:
                    worker.stop()
                    await tasks[0]
                    tasks[1].cancel()
                    await asyncio.gather(tasks[1], return_exceptions=True)
                    await found.box.close()
                assert not any((folder / "env").iterdir() if (folder / "env").exists() else ()), "folders were left"
        finally:
            await driver.close()
            shutil.rmtree(folder, ignore_errors=True)

    return bench


@pytest.fixture
async def bench(make: Make) -> AsyncIterator[Bench]:
    """A worker without stems."""
    async with make() as found:
        yield found
