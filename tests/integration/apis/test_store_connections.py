"""Connections and APIs on a real Valkey, in one partition and in several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lambent_platform.contracts.apis import ApiRecord
from lambent_platform.contracts.connections import ConnectionRecord, Order, OrderDone, decode_item
from lambent_platform.store.apis import ApiStore, new_id
from lambent_platform.store.connections import ConnectionStore
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.redis import RedisStore, open_redis


@pytest.fixture(params=[1, 5])
async def redis(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[RedisStore]:
    """An empty store in which gateways `a` and `b` live."""
    async with open_redis(redis_url, partitions=request.param) as redis:
        await redis.client.flushall()
        for gateway in ("a", "b"):
            await FleetStore(redis).beat_gateway(gateway, now_ms=await redis.now_ms())
        yield redis


def record(store: ConnectionStore, api: str) -> ConnectionRecord:
    """A new connection of an API."""
    return ConnectionRecord(
        id=store.new_id(api), api_id=api, stage="dev", connected_ms=1, source_ip="", user_agent="", domain=""
    )


def order(connection: ConnectionRecord, payload: bytes = b"x") -> Order:
    """A post that gateway `b` asks for."""
    return Order(id="o", kind="post", connection_id=connection.id, asker="b", payload=payload)


async def take(redis: RedisStore, connection: ConnectionRecord, gateway: str) -> list[bytes]:
    """What is in a gateway's box on the connection's partition."""
    prefix = redis.keys.prefix(connection.id)
    return await ConnectionStore(redis).take(prefix, gateway, wait_s=0.05, count=100)


async def test_an_order_and_its_end(redis: RedisStore) -> None:
    """An order is in the box of the connection's gateway, its end in that of the one that asked."""
    store = ConnectionStore(redis)
    made = record(store, new_id(10))
    assert redis.keys.prefix(made.id) == redis.keys.prefix(made.api_id)
    assert await store.open(made, "a")
    assert not await store.open(made, "b")
    assert await store.order(order(made), wait_ms=5000) == "sent"
    assert [decode_item(item) for item in await take(redis, made, "a")] == [order(made)]
    done = OrderDone(id="o", end="ok", facts={})
    await store.answer(redis.keys.prefix(made.id), [("b", done), ("nobody", done)])
    assert [decode_item(item) for item in await take(redis, made, "b")] == [done]
    assert await store.held(redis.keys.prefix(made.id), "a") == {made.id}
    assert not await store.close(made.id, "b")
    assert await store.close(made.id, "a")
    assert not await store.close(made.id, "a")
    assert await store.order(order(made), wait_ms=5000) == "gone"


async def test_orders_have_an_end(redis: RedisStore) -> None:
    """An order that nobody has taken in its time is never carried out."""
    store = ConnectionStore(redis)
    made = record(store, new_id(10))
    assert await store.open(made, "a")
    assert await store.order(order(made, b"late"), wait_ms=20) == "sent"
    assert await store.order(order(made, b"in time"), wait_ms=5000) == "sent"
    await asyncio.sleep(0.05)
    found = [decode_item(item) for item in await take(redis, made, "a")]
    assert [one.payload for one in found if isinstance(one, Order)] == [b"in time"]


async def test_boxes_are_bounded(redis: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box takes so many orders and no more."""
    monkeypatch.setattr("lambent_platform.store.connections.BOX_ITEMS_MAX", 3)
    store = ConnectionStore(redis)
    made = record(store, new_id(10))
    assert await store.open(made, "a")
    assert [await store.order(order(made), wait_ms=5000) for _ in range(5)] == ["sent"] * 3 + ["full"] * 2


async def test_silent_gateways(redis: RedisStore) -> None:
    """A gateway that says nothing is told nothing, but its connections are not given up for that."""
    store = ConnectionStore(redis)
    made = record(store, new_id(10))
    assert await store.open(made, "a")
    await FleetStore(redis).beat_gateway("a", now_ms=await redis.now_ms() - 7_000)
    assert await store.order(order(made), wait_ms=5000) == "full"
    await FleetStore(redis).forget_gateway("a")
    assert await store.order(order(made), wait_ms=5000) == "full"
    assert not await store.open(record(store, made.api_id), "a")


async def test_orphans(redis: RedisStore) -> None:
    """What a gateway held is found once it is gone, in bounded portions, and is nowhere when all of it is closed."""
    store = ConnectionStore(redis)
    made = [record(store, new_id(10)) for _ in range(20)]
    for at, one in enumerate(made):
        assert await store.open(one, "a" if at % 2 else "b")
    assert await store.orphans(limit=100) == []
    await FleetStore(redis).forget_gateway("a")
    mine = {one.id for at, one in enumerate(made) if at % 2}
    closed: set[str] = set()
    while found := await store.orphans(limit=2):
        assert len(found) <= 2 * len(store.partitions)
        for gateway, key, decoded in found:
            assert (gateway, decoded and decoded.id) == ("a", key)
            assert await store.close(key, gateway)
            closed.add(key)
    assert closed == mine
    left = [key async for key in redis.client.scan_iter() if b"sockets:a" in key]
    assert left == []


async def test_apis_in_every_partition(redis: RedisStore) -> None:
    """APIs are written against the generation that was read, listed in order across partitions, and deleted whole."""
    store = ApiStore(redis)
    made = [
        ApiRecord(id=new_id(10), account="1", region="r", settings={"Name": str(at), "ProtocolType": "HTTP"})
        for at in range(12)
    ]
    for one in made:
        assert await store.create(one)
        assert not await store.create(one)
    assert await store.create(replace(made[0], id=new_id(10), account="2"))
    ids = sorted(one.id for one in made)
    first = await store.page("1", "r", after="", limit=7)
    assert first == ids[:7]
    assert await store.page("1", "r", after=first[-1], limit=7) == ids[7:]
    assert await store.count("1", "r") == 12
    before = await store.load(ids[0])
    assert before is not None
    after = replace(before, routes={"r1": {"RouteId": "r1"}}, stages={"$default": {"StageName": "$default"}})
    assert await store.write(before, after)
    assert not await store.write(before, after)
    read = await store.load(ids[0])
    assert read is not None
    assert replace(read, generation=0) == replace(after, generation=0)
    assert await store.generation(ids[0]) == read.generation > before.generation
    assert await store.write(read, replace(read, routes={}))
    changed = await store.load(ids[0])
    assert changed is not None
    assert changed.routes == {}
    assert not await store.delete(read)
    assert await store.delete(changed)
    assert await store.load(ids[0]) is None
    assert await store.generation(ids[0]) == 0
    assert await store.count("1", "r") == 11
