"""What the scheduler sends reaches functions once, and says whether it is worth trying again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.errors import ApiError, RequestTooLarge, ResourceNotFound, TooManyRequests
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.limits import ASYNC_PAYLOAD_BYTES
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.redis import RedisStore, open_redis

F = FunctionRef("f")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty Valkey with one function."""
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
        yield redis


@pytest.fixture
def deliverer(redis: RedisStore) -> Deliverer:
    """A deliverer on it."""
    return Deliverer(InvocationStore(redis), FunctionStore(redis), SystemClock())


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
