"""What tests of schedules share: a store, a clock that is moved in this process, targets, and a boto3 client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.scheduler_api import ScheduleServices, serve_scheduler
from lambent_platform.scheduler.schedules import ScheduleLoop
from lambent_platform.store.clock import ClockStore, MovableTimer
from lambent_platform.store.redis import RedisStore, open_redis
from lambent_platform.store.schedules import GroupStore, ScheduleStore

ROLE = "arn:aws:iam::000000000000:role/any"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
OFF = {"Mode": "OFF"}


@dataclass
class Sent:
    """One delivery that reached its target."""

    arn: str
    body: Any
    delivery_id: str
    more: dict[str, Any]


@dataclass
class Targets:
    """Stands for functions and queues, as a `Deliverer` does; what comes twice with one id is known as one."""

    sent: list[Sent] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    failing: dict[str, Callable[[], Exception]] = field(default_factory=dict)
    stuck: asyncio.Event | None = None

    async def deliver(self, arn: str, body: bytes, *, delivery_id: str, **more: Any) -> None:
        """Take a delivery, or fail as told."""
        self.attempts.append(delivery_id)
        if self.stuck is not None:
            await self.stuck.wait()
        if arn in self.failing:
            raise self.failing[arn]()
        if delivery_id not in {one.delivery_id for one in self.sent}:
            told: Any = body.decode()
            with contextlib.suppress(ValueError):
                told = json.loads(body)
            self.sent.append(Sent(arn, told, delivery_id, {name: value for name, value in more.items() if value}))


async def eventually(condition: Callable[[], bool], *, within_s: float = 10) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what the parts under test do sets no event
            await asyncio.sleep(0.005)


class Bench:
    """A store, a clock, and schedulers over both."""

    def __init__(self, redis: RedisStore) -> None:
        self.redis = redis
        self.timer = MovableTimer()
        self.clocks = ClockStore(redis)
        self.targets = Targets()
        self._loops: list[asyncio.Task[None]] = []

    def start(self, targets: Targets | None = None) -> ScheduleLoop:
        """Start one more scheduler."""
        loop = ScheduleLoop(
            ScheduleStore(self.redis),
            GroupStore(self.redis),
            self.clocks,
            targets or self.targets,
            self.timer,  # type: ignore[arg-type]
        )
        self._loops.append(asyncio.create_task(loop.step()))
        return loop

    async def kill(self) -> None:
        """End all schedulers at once, whatever they are doing."""
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops.clear()

    async def advance(self, by: timedelta) -> None:
        """Move the clock ahead."""
        ms = by // timedelta(milliseconds=1)
        self.timer.move(await self.clocks.advance(ms, real_ms=SystemClock().now_ms()))

    async def to(self, moment: str) -> None:
        """Move it to a moment in UTC."""
        to_ms = round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
        self.timer.move(await self.clocks.set(to_ms, real_ms=SystemClock().now_ms()))

    async def until(self, count: int, *, within_s: float = 10) -> list[Sent]:
        """Wait for so many deliveries, and a little for one too many."""
        await eventually(lambda: len(self.targets.sent) >= count, within_s=within_s)
        await asyncio.sleep(0.15)
        assert len(self.targets.sent) == count
        return self.targets.sent


@pytest.fixture
async def bench(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Bench]:
    """An empty store with no scheduler yet; of one partition, or of as many as the parameter says."""
    async with open_redis(redis_url, partitions=getattr(request, "param", 1)) as redis:
        await redis.client.flushall()
        bench = Bench(redis)
        yield bench
        await bench.kill()


@contextlib.asynccontextmanager
async def calling(service: str, registry: Registry, catalog: ServiceCatalog) -> AsyncIterator[Any]:
    """Serve a registry; yields a boto3 client of a service, called in a thread: `await call(name, **parameters)`."""
    async with listening(make_app(registry, catalog=catalog), "127.0.0.1", 0, drain_s=0.1) as port:
        client = boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )

        async def call(name: str, **params: Any) -> Any:
            answer = await asyncio.to_thread(getattr(client, name), **params)
            answer.pop("ResponseMetadata")
            return answer

        yield call


@pytest.fixture
async def client(bench: Bench, service_catalog: ServiceCatalog) -> AsyncIterator[Any]:
    """A boto3 client of `scheduler`: `await client(name, **parameters)`."""
    registry = Registry()
    services = ScheduleServices(schedules=ScheduleStore(bench.redis), groups=GroupStore(bench.redis), clock=bench.timer)
    serve_scheduler(registry, services)
    async with calling("scheduler", registry, service_catalog) as call:
        yield call


async def create(client: Any, name: str = "s", expression: str = "rate(1 hour)", **more: Any) -> str:
    """Make a schedule of a function."""
    target = {"Arn": FUNCTION, "RoleArn": ROLE} | more.pop("target", {})
    given = {"Name": name, "ScheduleExpression": expression, "FlexibleTimeWindow": OFF, "Target": target} | more
    return str((await client("create_schedule", **given))["ScheduleArn"])


@contextlib.contextmanager
def refused(code: str, text: str = "") -> Iterator[None]:
    """Expect an error of the service."""
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == code
    assert text in caught.value.response["Error"]["Message"]
