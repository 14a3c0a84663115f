"""Calls whose hand-out was lost with a connection, on a real Valkey: taken back once, and nothing else is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lambent_platform.contracts.environment import EnvironmentRecord, EnvironmentState, WorkerRecord
from lambent_platform.contracts.events import EventMeta
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.contracts.names import target_id
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.invocations import Call, InvocationStore, Lease, Outcome, Placement, SlotAnswer, Work
from lambent_platform.store.redis import RedisStore, open_redis

IDENT = "000000000000:us-east-1:f"
TARGET = target_id(IDENT, "$LATEST", "r1")
ENV = "a" * 32
META = EventMeta(accepted_at_ms=0, function_arn="arn")


class Shop:
    """One function, one worker with one environment, one gateway."""

    def __init__(self, redis: RedisStore) -> None:
        self.client = redis.client
        self.prefix = redis.keys.home
        self.invocations = InvocationStore(redis)
        self.fleet = FleetStore(redis)
        self.function_key = redis.keys.function(IDENT)

    async def open(self) -> None:
        """Deploy, register, and have the environment idle."""
        await self.client.flushall()
        await self.client.hset(self.function_key, mapping={"gen": 1, "live:$LATEST": "r1"})
        worker = WorkerRecord(id="w", driver="process", capacity_mb=1000)
        await self.fleet.heartbeat(worker, [], now_ms=0, register=True)
        await self.fleet.beat_gateway("g", now_ms=0)
        assert await self.offer() is SlotAnswer.IDLE

    async def offer(self) -> object:
        """Offer the environment."""
        record = EnvironmentRecord(
            id=ENV, worker="w", target=TARGET, runtime="python3.13", state=EnvironmentState.READY, memory_mb=128,
            started_at_ms=0,
        )  # fmt: skip
        data = str(record.to_dict()).replace("'", '"').encode()
        return await self.invocations.offer("w", ENV, TARGET, now_ms=0, record=data)

    def call(self, number: int, kind: str = "sync") -> Invocation:
        """Make a call of the function."""
        return Invocation(
            id=f"{number:036d}", target=TARGET, kind=kind, gateway="g" if kind == "sync" else "",  # type: ignore[arg-type]
            qualified_arn="arn", payload=b'{"n": 1}\nmore',
        )  # fmt: skip

    async def send(self, number: int) -> None:
        """Accept one event."""
        assert await self.invocations.accept([(self.call(number, "event"), 1, META)]) == [Placement.PLACED]

    async def take(self) -> list[object]:
        """Take what is in the inbox."""
        return list(await self.invocations.inbox("w", wait_s=0.05, prefix=self.prefix))

    async def recover(self, lost: list[Lease]) -> tuple[int, int]:
        """Take back what was lost."""
        return await self.invocations.recover("w", lost, code="ServiceException", message="lost")

    async def running(self) -> int:
        """How many calls count as running."""
        return int(await self.client.hget(f"{self.prefix}running", "*") or 0)


@pytest.fixture
async def shop(redis_url: str) -> AsyncIterator[Shop]:
    """An empty store with one of everything."""
    async with open_redis(redis_url) as redis:
        found = Shop(redis)
        await found.open()
        yield found


async def test_lost_event_goes_back_to_its_queue(shop: Shop) -> None:
    """An event that no worker got is queued again, does not count as attempted, and is the next one handed out."""
    await shop.send(1)
    await shop.take()
    leases = await shop.invocations.held("w")
    assert [(lease.call_id, lease.environment_id) for lease in leases] == [(f"{1:036d}", ENV)]
    await shop.send(2)
    assert await shop.recover(leases) == (1, 0)
    assert await shop.running() == 0
    assert await shop.invocations.held("w") == []
    again = await shop.offer()
    assert isinstance(again, Work)
    assert (again.invocation.id, again.invocation.attempt, again.invocation.payload) == (
        f"{1:036d}",
        1,
        b'{"n": 1}\nmore',
    )


async def test_lost_call_is_answered(shop: Shop) -> None:
    """A caller whose payload is nowhere any more hears an error at once, and its place is free again."""
    assert await shop.invocations.place([(shop.call(1), 1)]) == [Placement.PLACED]
    await shop.take()
    assert await shop.recover(await shop.invocations.held("w")) == (0, 1)
    [reply] = await shop.invocations.replies("g", wait_s=0.05, prefix=shop.prefix)
    assert (reply.id, reply.failure, reply.payload) == (f"{1:036d}", "ServiceException", b"lost")
    assert await shop.running() == 0


async def test_what_follows_a_call_is_found_when_its_reply_is_lost(shop: Shop) -> None:
    """Ending a call twice, as after a lost answer, hands out nothing more; the first answer's call is recovered."""
    first = shop.call(1)
    await shop.invocations.place([(first, 1)])
    await shop.take()
    await shop.send(2)
    outcome = Outcome(environment_id=ENV, invocation=first, keep=True)
    [unseen] = await shop.invocations.finish("w", [outcome], now_ms=0, hour="h")
    assert isinstance(unseen, Work)
    assert await shop.invocations.finish("w", [outcome], now_ms=0, hour="h") == [SlotAnswer.LOST]
    assert await shop.recover(await shop.invocations.held("w")) == (1, 0)
    again = await shop.offer()
    assert isinstance(again, Work)
    assert again.invocation.id == unseen.invocation.id


async def test_unread_and_changed_leases_stay(shop: Shop) -> None:
    """What is still in the inbox is not lost, nor what was ended or handed out anew since it was looked at."""
    await shop.invocations.place([(shop.call(1), 1)])
    leases = await shop.invocations.held("w")
    assert await shop.recover(leases) == (0, 0)
    [item] = await shop.take()
    assert isinstance(item, Call)
    other = Lease(leases[0].prefix, leases[0].call_id, leases[0].value.replace(b"a" * 32, b"b" * 32))
    assert await shop.recover([other]) == (0, 0)
    await shop.invocations.finish("w", [Outcome(environment_id=ENV, invocation=item.work.invocation, keep=True)],
                                  now_ms=0, hour="h")  # fmt: skip
    assert await shop.recover(leases) == (0, 0)
    assert await shop.running() == 0


async def test_held_reads_every_page(shop: Shop) -> None:
    """However many calls a worker holds, all are found."""
    await shop.client.hset(f"{shop.prefix}held:w", mapping={f"call-{n}": f"{ENV}|i|1|sync|g|t" for n in range(2000)})
    assert len(await shop.invocations.held("w")) == 2000
