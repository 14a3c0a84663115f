"""What functions' calls are like, on a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from lambent_platform.contracts.environment import WorkerRecord
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST
from lambent_platform.core.idle_history import HISTORY_MAX, Habits, bin_of, observed
from lambent_platform.scheduler.expected import ExpectedLoop
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.habits import HabitStore, Note
from lambent_platform.store.invocations import InvocationStore, Start
from lambent_platform.store.redis import RedisStore, open_redis

IDENT = "000000000000:us-east-1:f"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty store with one function, in several partitions."""
    async with open_redis(redis_url, partitions=3) as found:
        await found.client.flushall()
        await found.client.hset(found.keys.function(IDENT), "gen", 1)
        yield found


async def known(redis: RedisStore) -> Habits:
    """What is known of the function."""
    [habits] = await HabitStore(redis).load([IDENT])
    return habits


async def test_idle_times_are_counted_in_their_bins(redis: RedisStore) -> None:
    """Bins on Redis are those of the decision's code, whatever the idle time."""
    store, counts, at_ms = HabitStore(redis), (), 1_000_000
    assert await known(redis) == Habits()
    for idle_ms in (1000, 1349, 1351, 60_000, 3_600_000, 14_000_000, 10**9):
        await store.note([Note(IDENT, "warm", at_ms + idle_ms, at_ms)])
        counts = observed(counts, idle_ms / 1000)
        at_ms += idle_ms
    assert await known(redis) == Habits(counts=counts, warm=7)


async def test_what_is_no_return_is_not_counted(redis: RedisStore) -> None:
    """A pause under a second, an unknown one, and a call that another worker's calls overlap are no idle times."""
    store = HabitStore(redis)
    await store.note([Note(IDENT, "warm", 5_999, 5_000), Note(IDENT, "warm", 5_000)])
    await store.note([Note(IDENT, "end", 9_000), Note(IDENT, "end", 8_000), Note(IDENT, "warm", 8_900, 1_000)])
    assert await known(redis) == Habits(last_ms=9_000)


async def test_a_function_is_idle_since_its_last_call_anywhere(redis: RedisStore) -> None:
    """An environment that was idle for longer than its function counts for the function's idle time alone."""
    await HabitStore(redis).note([Note(IDENT, "end", 100_000), Note(IDENT, "warm", 103_000, 1_000)])
    assert (await known(redis)).counts[bin_of(3.0)] == 1


async def test_a_cold_start_counts_from_the_last_end(redis: RedisStore) -> None:
    """A function's first cold start has no idle time, a later one the time since its last call ended."""
    store = HabitStore(redis)
    await store.note([Note(IDENT, "cold", 1_000), Note(IDENT, "init", 250), Note(IDENT, "end", 2_000)])
    await store.note([Note(IDENT, "cold", 902_000)])
    found = await known(redis)
    assert (found.cold, found.warm, found.observations, found.init_s, found.last_ms) == (2, 0, 1, 0.25, 2_000)
    assert found.counts[bin_of(900.0)] == 1


async def test_counts_are_bounded(redis: RedisStore) -> None:
    """Where there are too many idle times all counts are halved, and times stay what they are."""
    key = f"{redis.keys.prefix(IDENT)}habits:{IDENT}"
    await redis.client.hset(key, mapping={"3": HISTORY_MAX, "5": 0, "warm": 100, "cold": 7, "last_ms": 9, "init_ms": 8})
    await HabitStore(redis).note([Note(IDENT, "warm", 20_000, 10_000)])
    found = await known(redis)
    assert (found.counts[3], found.warm, found.cold, found.last_ms, found.init_s) == (HISTORY_MAX // 2, 50, 3, 9, 0.008)


async def test_nothing_is_kept_of_a_function_that_is_gone(redis: RedisStore) -> None:
    """Its habits go with a function, and what a worker tells of it later is dropped."""
    await redis.client.flushall()
    functions, store = FunctionStore(redis), HabitStore(redis)
    await create(functions)
    await store.note([Note(IDENT, "end", 5_000)])
    assert (await known(redis)).last_ms == 5_000
    record = await functions.load(IDENT)
    assert record is not None
    assert await functions.delete(IDENT, record)
    assert await known(redis) == Habits()
    await store.note([Note(IDENT, "end", 6_000), Note(IDENT, "cold", 6_000)])
    assert await known(redis) == Habits()


async def create(functions: FunctionStore, **fields: Any) -> FunctionVersion:
    """Deploy the function."""
    version = FunctionVersion(
        account="000000000000", region="us-east-1", name="f", revision="r1", runtime="python3.13", state="Active",
        **({"code": CodePackage(source_key="k", runnable_key="k")} | fields),
    )  # fmt: skip
    assert await functions.create(IDENT, FunctionRecord(versions={LATEST: version}))
    return version


class Expecting:
    """A scheduler's loop, and the worker that it gives orders to."""

    def __init__(self, redis: RedisStore) -> None:
        self.redis, self.fleet, self.habits = redis, FleetStore(redis), HabitStore(redis)
        self.functions, self.invocations = FunctionStore(redis), InvocationStore(redis)
        self.loop = ExpectedLoop(redis, self.fleet, self.functions)

    async def register(self, capacity_mb: int = 1024) -> None:
        """Be a worker."""
        record = WorkerRecord(id="w", driver="process", capacity_mb=capacity_mb, runtimes={"python3.13": "ready"})
        await self.fleet.heartbeat(record, [], now_ms=await self.redis.now_ms(), register=True)

    async def inbox(self) -> list[Start]:
        """What the worker is told to start."""
        prefix = self.redis.keys.prefix(IDENT)
        items = await self.invocations.inbox("w", wait_s=0.05, prefix=prefix)
        return [item for item in items if isinstance(item, Start)]


@pytest.fixture
async def expecting(redis: RedisStore) -> Expecting:
    """A loop and a worker with room."""
    await redis.client.flushall()
    found = Expecting(redis)
    await found.register()
    return found


async def test_an_expected_function_is_brought_up_in_time(expecting: Expecting) -> None:
    """What is due gets one environment, which knows of the last call; what is not due yet, or is there, gets none."""
    version = await create(expecting.functions)
    now_ms = await expecting.redis.now_ms()
    await expecting.habits.note([Note(IDENT, "end", now_ms - 5_000)])
    await expecting.habits.expect(version.target, now_ms + 300)
    await expecting.loop.step()
    assert await expecting.inbox() == []
    await asyncio.sleep(0.35)
    await expecting.loop.step()
    [order] = await expecting.inbox()
    assert (order.version["name"], order.last_call_ms) == ("f", now_ms - 5_000)
    await expecting.habits.expect(version.target, now_ms)
    await expecting.loop.step()
    assert await expecting.inbox() == []
    assert expecting.loop.ordered == 1


@pytest.mark.parametrize("case", ["updated", "gone", "hot reload", "throttled", "no room"])
async def test_what_is_not_brought_up(expecting: Expecting, case: str) -> None:
    """Another revision, a deleted, throttled or hot-reloaded function, and one that finds no room, are let be."""
    fields: dict[str, Any] = {"code": CodePackage(hot_reload_path="/x")} if case == "hot reload" else {}
    version = await create(expecting.functions, **fields)
    record = await expecting.functions.load(IDENT)
    assert record is not None
    if case == "updated":
        other = replace(version, revision="r2")
        assert await expecting.functions.write(IDENT, record, replace(record, versions={LATEST: other}))
    elif case == "gone":
        assert await expecting.functions.delete(IDENT, record)
    elif case == "throttled":
        assert await expecting.functions.write(IDENT, record, replace(record, reserved_concurrency=0))
    elif case == "no room":
        await expecting.register(capacity_mb=64)
    await expecting.habits.expect(version.target, 1)
    await expecting.loop.step()
    assert await expecting.inbox() == []
    assert await expecting.habits.take_expected(2**50) == []
