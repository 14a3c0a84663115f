"""What the scheduler sends reaches functions once, and says whether it is worth trying again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.errors import (
    ApiError,
    RequestTooLarge,
    ResourceNotFound,
    TooManyRequests,
)
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.limits import ASYNC_PAYLOAD_BYTES
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.contracts.queue_errors import MissingParameter, QueueDoesNotExist, QueueParameterInvalid
from lambent_platform.contracts.queues import MESSAGE_BYTES_MAX, Message, QueueRecord
from lambent_platform.core.lineage import TURNS_MAX, next_turn, turns
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.store.dead_events import DeadEventStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import RedisStore, open_redis

F = FunctionRef("f")
QUEUE = QueueRecord(account=F.account, region=F.region, name="q")
FIFO = QueueRecord(account=F.account, region=F.region, name="q.fifo", attributes={"FifoQueue": "true"})


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty Valkey with one function and two queues."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushall()
        version = FunctionVersion(
            account=F.account,
            region=F.region,
            name=F.name,
            revision="r1",
            runtime="python3.13",
            state="Active",
            code=CodePackage(runnable_key="code/x.zip"),
        )
        await FunctionStore(redis).create(F.ident, FunctionRecord(versions={LATEST: version}))
        for queue in (QUEUE, FIFO):
            assert await QueueStore(redis).create(queue) is not None
        yield redis


async def received(redis: RedisStore, queue: QueueRecord = QUEUE) -> list[Message]:
    """What can be received of a queue."""
    queues = QueueStore(redis)
    return (await queues.receive(await queues.known(queue.ref), count=10, now_ms=SystemClock().now_ms())).messages


@pytest.fixture
def deliverer(redis: RedisStore) -> Deliverer:
    """A deliverer on it."""
    return Deliverer(InvocationStore(redis), FunctionStore(redis), QueueStore(redis), SystemClock())


async def queued(redis: RedisStore) -> list[bytes]:
    """The ids of the events that wait for f."""
    return list(await redis.client.lrange(f"{redis.keys.prefix(F.ident)}evq:{F.ident}:{LATEST}:r1", 0, -1))


async def test_a_delivery_to_a_function_is_accepted_once(redis: RedisStore, deliverer: Deliverer) -> None:
    """The same delivery again is none, also when the event that it was has ended and is gone."""
    await deliverer.deliver(F.arn, b"{}", delivery_id="one")
    await deliverer.deliver(F.arn, b"{}", delivery_id="one")
    [event_id] = await queued(redis)
    await redis.client.delete(
        f"{redis.keys.prefix(F.ident)}ev:{event_id.decode()}",
        f"{redis.keys.prefix(F.ident)}evq:{F.ident}:{LATEST}:r1",
    )
    await deliverer.deliver(F.qualified_arn, b"{}", delivery_id="one")
    assert await queued(redis) == []
    await deliverer.deliver(F.arn, b"{}", delivery_id="two")
    assert len(await queued(redis)) == 1


@pytest.mark.parametrize(
    ("arn", "body", "error"),
    [
        (F.at(None).arn + "x", b"{}", ResourceNotFound),
        (F.at("7").qualified_arn, b"{}", ResourceNotFound),
        (F.arn, b" " * (ASYNC_PAYLOAD_BYTES + 1), RequestTooLarge),
        ("arn:aws:sns:us-east-1:000000000000:topic", b"{}", ApiError),
        (QUEUE.arn + "x", b"{}", QueueDoesNotExist),
        (QUEUE.arn, b" " * (MESSAGE_BYTES_MAX + 1), QueueParameterInvalid),
        (FIFO.arn, b"{}", MissingParameter),
    ],
)
async def test_what_is_refused_for_good(deliverer: Deliverer, arn: str, body: bytes, error: type[ApiError]) -> None:
    """A target that is not there, and what is too large, will not do better later."""
    with pytest.raises(error) as raised:
        await deliverer.deliver(arn, body, delivery_id="x")
    assert not isinstance(raised.value, TooManyRequests)


async def test_what_may_do_better_later(redis: RedisStore, deliverer: Deliverer) -> None:
    """A function that is still being made can take the delivery when it is."""
    functions = FunctionStore(redis)
    before = await functions.load(F.ident)
    assert before is not None
    pending = replace(before, versions={LATEST: replace(before.latest, state="Pending")})
    assert await functions.write(F.ident, before, pending)
    with pytest.raises(TooManyRequests):
        await deliverer.deliver(F.arn, b"{}", delivery_id="x")
    now = await functions.load(F.ident)
    assert now is not None
    assert await functions.write(F.ident, now, replace(now, versions=before.versions))
    await deliverer.deliver(F.arn, b"{}", delivery_id="x")
    assert len(await queued(redis)) == 1


async def test_a_delivery_to_a_queue_is_one_message(redis: RedisStore, deliverer: Deliverer) -> None:
    """Sent twice with the same id it is there once, also after it was received and deleted."""
    attributes = {"RequestID": {"DataType": "String", "StringValue": "r"}}
    for _ in range(2):
        await deliverer.deliver(
            QUEUE.arn, b'{"n": 1}', delivery_id="one", trace_id="Root=1-x", message_attributes=attributes
        )
    [message] = await received(redis)
    assert message.body == '{"n": 1}'
    assert message.message_attributes == attributes
    assert message.attributes["AWSTraceHeader"] == "Root=1-x"
    queues = QueueStore(redis)
    queue = await queues.known(QUEUE.ref)
    assert await queues.delete(queue, [message.receipt_handle], now_ms=SystemClock().now_ms()) == [None]
    await deliverer.deliver(QUEUE.arn, b'{"n": 1}', delivery_id="one")
    assert await received(redis) == []


async def test_a_delivery_to_a_fifo_queue(redis: RedisStore, deliverer: Deliverer) -> None:
    """With a group it keeps its order, and its id tells duplicates."""
    for delivery_id in ("one", "two", "one"):
        await deliverer.deliver(FIFO.arn, delivery_id.encode(), delivery_id=delivery_id, group_id="g")
    assert [message.body for message in await received(redis, FIFO)] == ["one", "two"]


async def test_a_body_that_a_queue_would_refuse(redis: RedisStore, deliverer: Deliverer) -> None:
    """What is no text that a queue takes arrives with those characters replaced, rather than not at all."""
    await deliverer.deliver(QUEUE.arn, b"a\x00\xffb", delivery_id="x")
    assert [message.body for message in await received(redis)] == ["a\ufffd\ufffdb"]


async def test_a_loop_is_stopped(redis: RedisStore, deliverer: Deliverer) -> None:
    """A delivery that would be one turn too many ends as a dead event without being run; `Allow` lets it run."""
    header = ""
    for _ in range(TURNS_MAX):
        header = next_turn(header, F.ident, "0" * 32).trace_id
    await deliverer.deliver(F.arn, b"{}", delivery_id="one", trace_id=header)
    await deliverer.deliver(F.arn, b"{}", delivery_id="one", trace_id=header)
    assert await queued(redis) == []
    dead = DeadEventStore(redis)
    [found] = await dead.load(F.ident, await dead.ids(F.ident))
    assert (found.ending.error_type, found.ending.attempts) == ("RecursiveInvocationException", 0)
    assert turns(found.invocation.trace_id, F.ident) == TURNS_MAX + 1
    functions = FunctionStore(redis)
    before = await functions.load(F.ident)
    assert before is not None
    assert await functions.write(F.ident, before, replace(before, recursive_loop="Allow"))
    await deliverer.deliver(F.arn, b"{}", delivery_id="two", trace_id=header)
    assert len(await queued(redis)) == 1
