"""Event source mappings on a real Valkey, and the supervisor that keeps a poller for each."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from lambent_platform.contracts.mappings import CALL_FAILED, INTERNAL, MappingRecord
from lambent_platform.core.mappings import changed, deleted
from lambent_platform.scheduler.pollers.port import Assignment
from lambent_platform.scheduler.pollers.supervisor import MappingSupervisor
from lambent_platform.store.mappings import MappingStore, PairTaken
from lambent_platform.store.redis import RedisStore, open_redis

ACCOUNT, REGION = "000000000000", "us-east-1"


def record(queue: str = "q", function: str = "f", **more: Any) -> MappingRecord:
    """A mapping that was just asked for."""
    given: dict[str, Any] = {
        "uuid": str(uuid.uuid4()),
        "account": ACCOUNT,
        "region": REGION,
        "source_arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        "function_arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}",
        "batch_size": 10,
    }
    return MappingRecord(**{**given, **more})


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty store."""
    async with open_redis(redis_url, partitions=3) as store:
        await store.client.flushall()
        yield store


async def until(condition: Callable[[], Any], *, within_s: float = 5) -> None:
    """Wait until a condition holds; it may be one that has to be awaited."""
    async with asyncio.timeout(within_s):
        while not (await found if inspect.isawaitable(found := condition()) else found):  # noqa: ASYNC110 - polls Redis
            await asyncio.sleep(0.01)


async def made(store: MappingStore, one: MappingRecord) -> MappingRecord:
    """Write a new mapping, and read it."""
    assert await store.write(one)
    found = await store.load(one.uuid)
    assert found is not None
    return found


async def test_written_against_what_was_read(redis: RedisStore) -> None:
    """A mapping that was changed or deleted since it was read is not written."""
    store = MappingStore(redis)
    one = await made(store, record())
    assert await store.write(replace(one, batch_size=3))
    assert not await store.write(replace(one, batch_size=4))
    current = await store.load(one.uuid)
    assert current is not None
    assert current.batch_size == 3
    assert not await store.delete(one)
    assert await store.delete(current)
    assert await store.load(one.uuid) is None
    assert not await store.write(current)
    left = {key.decode().rpartition(":")[2] async for key in redis.client.scan_iter("*mapping*")}
    assert left == {"mapping-generation", "wake-mappings"}


async def test_one_mapping_a_source_and_function(redis: RedisStore) -> None:
    """A second mapping of a pair is refused with the first one's id, also when a change would make the pair."""
    store = MappingStore(redis)
    one = await made(store, record(function="f"))
    with pytest.raises(PairTaken) as taken:
        await store.write(record(function="f"))
    assert taken.value.uuid == one.uuid
    other = await made(store, record(function="g"))
    with pytest.raises(PairTaken):
        await store.write(replace(other, function_arn=one.function_arn))
    assert await store.delete(one)
    assert await store.write(replace(other, function_arn=one.function_arn))
    await made(store, record(function="g"))


async def test_pages_by_what_is_asked_for(redis: RedisStore) -> None:
    """Mappings are found by owner, function, source and both, in pages, each mapping once."""
    store = MappingStore(redis)
    pairs = [(queue, function) for queue in ("a", "aa", "b") for function in ("f", "ff")]
    all_of = {pair: await made(store, record(*pair)) for pair in pairs}
    await made(store, record("a", "f", account="111111111111", function_arn="arn:other"))

    async def ids(size: int = 2, **by: str) -> list[str]:
        found: list[str] = []
        while page := await store.page(ACCOUNT, REGION, after=found[-1] if found else "", limit=size, **by):
            found += page
        return found

    assert await ids() == sorted(one.uuid for one in all_of.values())
    a, f = all_of["a", "f"].source_arn, all_of["a", "f"].function_arn
    assert await ids(source_arn=a) == sorted(all_of["a", name].uuid for name in ("f", "ff"))
    assert await ids(function_arn=f) == sorted(all_of[queue, "f"].uuid for queue in ("a", "aa", "b"))
    assert await ids(function_arn=f, source_arn=a) == [all_of["a", "f"].uuid]


class Recorder:
    """A kind of poller that notes what it is told."""

    def __init__(self) -> None:
        self.polling: dict[str, Assignment] = {}
        self.calls = 0
        self.failing: set[str] = set()
        self.forgotten: list[str] = []
        self.beginning = False
        """Pollers do not say that they have begun while this is set."""
        self.holding = asyncio.Event()
        self.holding.set()

    async def poll(self, assignment: Assignment) -> None:
        """Hold a mapping while it is enabled, and until what is in hand is done."""
        self.calls += 1
        if assignment.record.function.name in self.failing:
            raise RuntimeError("no good")
        self.polling[assignment.record.uuid] = assignment
        if not self.beginning:
            assignment.ready.set()
        try:
            while assignment.enabled:
                assignment.changed.clear()
                await assignment.changed.wait()
            await self.holding.wait()
        finally:
            del self.polling[assignment.record.uuid]

    async def forget(self, record: MappingRecord) -> None:
        """Note what is cleaned up."""
        self.forgotten.append(record.uuid)


@pytest_asyncio.fixture
async def supervised(redis: RedisStore) -> AsyncIterator[tuple[MappingStore, Recorder, MappingSupervisor]]:
    """A supervisor at work."""
    store, kind = MappingStore(redis), Recorder()
    supervisor = MappingSupervisor(store, {"sqs": kind})
    running = asyncio.create_task(supervisor.run())
    yield store, kind, supervisor
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not kind.polling


async def settled(store: MappingStore, one: MappingRecord) -> MappingRecord | None:
    """Wait until the supervisor has made of a mapping what it was wanted to be."""

    async def rests() -> bool:
        found = await store.load(one.uuid)
        return found is None or not found.changing

    await until(rests)
    return await store.load(one.uuid)


async def result(store: MappingStore, one: MappingRecord) -> str:
    """What its last batch ended with."""
    found = await store.load(one.uuid)
    return found.last_result if found else ""


Supervised = tuple[MappingStore, Recorder, MappingSupervisor]


async def test_a_mappings_life(supervised: Supervised) -> None:
    """Made, changed, disabled, enabled and deleted, a mapping is settled at once and polled while it is enabled."""
    store, kind, supervisor = supervised
    one = await settled(store, await made(store, record()))
    assert one is not None
    assert one.state == "Enabled"
    await until(lambda: one.uuid in kind.polling)
    assignment = kind.polling[one.uuid]

    await store.write(changed(one, {"batch_size": 3}, now_ms=1))
    one = await settled(store, one)
    assert one is not None
    assert (one.state, assignment.record.batch_size, kind.calls) == ("Enabled", 3, 1)

    await store.write(changed(one, {"enabled": False}, now_ms=2))
    one = await settled(store, one)
    assert one is not None
    assert one.state == "Disabled"
    await until(lambda: supervisor.polling == 0)

    await store.write(changed(one, {"enabled": True}, now_ms=3))
    one = await settled(store, one)
    assert one is not None
    await until(lambda: one.uuid in kind.polling)

    kind.holding.clear()
    await store.write(deleted(one, now_ms=4))
    assert await settled(store, one) is None
    assert one.uuid in kind.polling, "what is in hand ends although the mapping is gone"
    assert not kind.forgotten
    kind.holding.set()
    await until(lambda: kind.forgotten == [one.uuid] and not kind.polling)


async def test_one_mappings_trouble_is_its_own(supervised: Supervised) -> None:
    """A poller that fails is reported and tried again; the others go on, and it recovers."""
    store, kind, _ = supervised
    kind.failing = {"bad"}
    good, bad = await made(store, record(function="good")), await made(store, record("r", function="bad"))
    await settled(store, bad)

    async def reports(text: str) -> bool:
        return await result(store, bad) == text

    await until(lambda: reports(INTERNAL))
    await until(lambda: good.uuid in kind.polling)
    kind.failing = set()
    await until(lambda: bad.uuid in kind.polling)
    kind.polling[bad.uuid].report(CALL_FAILED)
    await until(lambda: reports(CALL_FAILED))


async def test_pollers_derive_from_what_is_stored(redis: RedisStore) -> None:
    """A supervisor that starts finds what was made before, and settles what nobody settled."""
    store, kind = MappingStore(redis), Recorder()
    waiting, gone = await made(store, record()), await made(store, record("r"))
    await store.write(replace(gone, state="Deleting", enabled=False))
    off = await made(store, record("s", enabled=False))
    running = asyncio.create_task(MappingSupervisor(store, {"sqs": kind}).run())
    try:
        await until(lambda: waiting.uuid in kind.polling)
        assert await settled(store, gone) is None
        found = await settled(store, off)
        assert found is not None
        assert found.state == "Disabled"
        assert list(kind.polling) == [waiting.uuid]
        await until(lambda: kind.forgotten == [gone.uuid])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_mapping_is_enabled_once_it_is_polled(
    supervised: tuple[MappingStore, Recorder, MappingSupervisor],
) -> None:
    """A new mapping goes on being created until its poller has begun, so that nothing added after that is missed."""
    store, kind, _ = supervised
    kind.beginning = True
    one = await made(store, record("q"))
    await until(lambda: one.uuid in kind.polling)
    await asyncio.sleep(0.1)
    found = await store.load(one.uuid)
    assert found is not None
    assert found.state == "Creating"
    kind.polling[one.uuid].ready.set()
    await until(lambda: state_is(store, one.uuid, "Enabled"))


async def state_is(store: MappingStore, mapping: str, state: str) -> bool:
    """Whether a mapping is in a state."""
    found = await store.load(mapping)
    return found is not None and found.state == state
