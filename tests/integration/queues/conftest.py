"""Queues on a real Valkey, with a clock that tests move."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from prometheus_client import CollectorRegistry

from lambent_platform.contracts.queues import Message, NewMessage, QueueCounts, QueueRecord, Received, Sent
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.front.queues import HotQueues
from lambent_platform.gateway.queue_api.service import QueueService
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


@dataclass
class QueueApi:
    """A gateway that serves queues, and boto3 as its client."""

    client: Any
    url: str
    service: QueueService
    redis: RedisStore
    timer: MovableTimer
    metrics: CollectorRegistry

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call an operation off the event loop."""
        run: Callable[..., dict[str, Any]] = getattr(self.client, method)
        return await asyncio.to_thread(functools.partial(run, **params))

    async def refused(self, method: str, **params: Any) -> tuple[str, str]:
        """Code and message of a call that must fail as a mistake of the client."""
        with pytest.raises(ClientError) as caught:
            await self.call(method, **params)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        error = caught.value.response["Error"]
        return str(error["Code"]), str(error["Message"])

    async def create(self, name: str = "q", **attributes: Any) -> str:
        """Create a queue; returns its URL."""
        given = {key: str(value) for key, value in attributes.items()}
        if name.endswith(".fifo"):
            given["FifoQueue"] = "true"
        made = await self.call("create_queue", QueueName=name, Attributes=given)
        return str(made["QueueUrl"])

    async def receive(self, url: str, count: int = 10, **more: Any) -> list[dict[str, Any]]:
        """Receive messages."""
        got = await self.call("receive_message", QueueUrl=url, MaxNumberOfMessages=count, **more)
        found: list[dict[str, Any]] = got.get("Messages", [])
        return found

    async def bodies(self, url: str, count: int = 10, **more: Any) -> list[str]:
        """Receive messages for their bodies."""
        return [message["Body"] for message in await self.receive(url, count, **more)]

    async def attribute(self, url: str, name: str) -> str:
        """One attribute of a queue."""
        got = await self.call("get_queue_attributes", QueueUrl=url, AttributeNames=[name])
        return str(got["Attributes"][name])


def sqs_client(url: str, region: str = REGION) -> Any:
    """Make a client that tries once."""
    return boto3.client(
        "sqs",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id="a",
        aws_secret_access_key="s",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )


@pytest.fixture(params=["hot", "general"])
async def api(
    redis_url: str, request: pytest.FixtureRequest, service_catalog: ServiceCatalog
) -> AsyncIterator[QueueApi]:
    """A gateway with no queues, with and without its short way for what is hot: both must answer alike."""
    async with open_redis(redis_url, partitions=2) as redis:
        await redis.client.flushall()
        timer, registry = MovableTimer(), Registry()
        metrics = CollectorRegistry()
        service = QueueService(redis, QueueStore(redis), timer, process="gateway-1", metrics=metrics)
        service.serve(registry)
        hot = HotQueues(registry, service_catalog).routes() if request.param == "hot" else ()
        app = make_app(registry, catalog=service_catalog)
        async with service.running(), listening(app, "127.0.0.1", 0, drain_s=0.2, hot=hot) as port:
            url = f"http://127.0.0.1:{port}"
            yield QueueApi(sqs_client(url), url, service, redis, timer, metrics)
            service.polling.end()
