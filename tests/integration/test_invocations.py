"""Calls and events on a real Valkey: in exactly one place at any time, and counted once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from lambent_platform.contracts.environment import EnvironmentRecord, EnvironmentState, WorkerRecord
from lambent_platform.contracts.events import EventMeta, Settlement
from lambent_platform.contracts.invocation import Invocation, Reply
from lambent_platform.contracts.names import target_id
from lambent_platform.core.retries import expire
from lambent_platform.store.demand import DemandStore
from lambent_platform.store.fleet import FleetStore, StartOrder
from lambent_platform.store.invocations import (
    Call,
    InvocationStore,
    Outcome,
    Placement,
    SlotAnswer,
    Start,
    Work,
    start_order,
)
from lambent_platform.store.redis import RedisStore, open_redis

IDENT = "000000000000:us-east-1:f"
TARGET = target_id(IDENT, "$LATEST", "r1")
ENV, OTHER_ENV = "a" * 32, "b" * 32
META = EventMeta(accepted_at_ms=0, function_arn="arn")


class Bench:
    """The stores, one function, one worker and one gateway."""

    def __init__(self, redis: RedisStore) -> None:
        self.redis = redis
        self.client = redis.client
        self.invocations = InvocationStore(redis, account_concurrency=4)
        self.fleet = FleetStore(redis)
        self.demand = DemandStore(redis)
        self.prefix = redis.keys.home
        self.calls = 0

    async def set_up(self) -> None:
        """Deploy f and register worker w and gateway g."""
        await self.client.hset(self.redis.keys.function(IDENT), mapping={"gen": 1, "live:$LATEST": "r1"})
        await self.beat(0, register=True)
        await self.fleet.beat_gateway("g", now_ms=0)

    async def beat(self, now_ms: int, *, register: bool = False, worker: str = "w") -> bool:
        """Let a worker say that it lives."""
        record = WorkerRecord(id=worker, driver="process", capacity_mb=1000)
        return await self.fleet.heartbeat(record, [], now_ms=now_ms, register=register)

    def call(self, kind: str = "sync") -> Invocation:
        """Make one more call of f."""
        self.calls += 1
        return Invocation(
            id=f"{self.calls:036d}",
            target=TARGET,
            kind=kind,  # type: ignore[arg-type]
            gateway="g" if kind == "sync" else "",
            qualified_arn="arn",
            payload=b'{"n":%d}\nnext line' % self.calls,
        )

    async def place(self, call: Invocation) -> Placement:
        """Place one call."""
        return (await self.invocations.place([(call, 1)]))[0]

    async def ready(self, environment: str = ENV) -> object:
        """Let an environment of w become ready."""
        record = EnvironmentRecord(
            id=environment,
            worker="w",
            target=TARGET,
            runtime="python3.13",
            state=EnvironmentState.READY,
            memory_mb=128,
            started_at_ms=0,
        )
        return await self.invocations.offer("w", environment, TARGET, now_ms=1, record=orjson.dumps(record.to_dict()))

    async def inbox(self, worker: str = "w") -> list[Call | Start]:
        """Read a worker's inbox."""
        return await self.invocations.inbox(worker, wait_s=0.05, prefix=self.prefix)

    async def finish(self, call: Invocation, *, keep: bool = True, settlement: Settlement | None = None) -> object:
        """End one call in the first environment."""
        outcome = Outcome(
            environment_id=ENV,
            invocation=call,
            reply=None if settlement else Reply(id=call.id, payload=b"done"),
            settlement=settlement,
            keep=keep,
            billed_ms_mb=128,
        )
        return (await self.invocations.finish("w", [outcome], now_ms=2, hour="2026-01-01T00"))[0]

    async def running(self) -> dict[bytes, bytes]:
        """The counts of running calls that are not zero."""
        counts = await self.client.hgetall(f"{self.prefix}running")
        return {name: value for name, value in counts.items() if value != b"0"}


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    """A bench on an empty Valkey."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushall()
        bench = Bench(redis)
        await bench.set_up()
        yield bench


async def test_a_call_takes_the_slot_and_gives_it_back(bench: Bench) -> None:
    """Placed on the idle environment, read with its bytes unchanged, answered, idle again."""
    assert await bench.ready() is SlotAnswer.IDLE
    call = bench.call()
    assert await bench.place(call) is Placement.PLACED
    assert await bench.inbox() == [Call(ENV, Work(call))]
    assert await bench.finish(call) is SlotAnswer.IDLE
    replies = await bench.invocations.replies("g", wait_s=0.05, prefix=bench.prefix)
    assert replies == [Reply(id=call.id, payload=b"done")]
    assert await bench.running() == {}
    assert await bench.client.hgetall(f"{bench.prefix}meter:{IDENT}") == {
        b"2026-01-01T00:requests": b"1",
        b"2026-01-01T00:ms_mb": b"128",
    }


async def test_the_newest_slot_goes_first(bench: Bench) -> None:
    """The environment that became idle last is taken first, so that the oldest goes cold."""
    await bench.ready(ENV)
    await bench.client.zadd(f"{bench.prefix}idle:{TARGET}", {f"w/{OTHER_ENV}": 99})
    await bench.place(bench.call())
    [item] = await bench.inbox()
    assert isinstance(item, Call)
    assert item.environment_id == OTHER_ENV


async def test_a_waiting_call_goes_to_the_first_free_environment(bench: Bench) -> None:
    """Without a slot a call waits; whoever becomes ready or free takes it, in order, before any event."""
    first, second, event = bench.call(), bench.call(), bench.call("event")
    assert await bench.place(first) is Placement.QUEUED
    assert await bench.place(second) is Placement.QUEUED
    assert await bench.invocations.accept([(event, 1, META)]) == [Placement.PLACED]
    assert await bench.demand.sleep(0.05)
    waiting = (await bench.demand.waiting())[0]
    assert (waiting.target, waiting.calls, waiting.events) == (TARGET, 2, 1)
    assert await bench.ready() == Work(first)
    assert await bench.finish(first) == Work(second)
    assert await bench.finish(second) == Work(event, META)
    assert await bench.finish(event, settlement=Settlement(action="done")) is SlotAnswer.IDLE
    assert await bench.demand.forget(TARGET)
    assert await bench.running() == {}
    assert not await bench.client.exists(f"{bench.prefix}ev:{event.id}")


async def test_limits(bench: Bench) -> None:
    """The account's concurrency bounds what runs and waits; a reserved share is the function's own bound."""
    placements = [await bench.place(bench.call()) for _ in range(5)]
    assert placements == [Placement.QUEUED] * 4 + [Placement.ACCOUNT]
    await bench.client.hset(bench.redis.keys.function(IDENT), "reserved", 4)
    assert await bench.place(bench.call()) is Placement.RESERVED


async def test_a_stale_generation_places_nothing(bench: Bench) -> None:
    """A call for what the function was is sent back, uncounted."""
    await bench.ready()
    await bench.client.hset(bench.redis.keys.function(IDENT), "gen", 2)
    assert await bench.place(bench.call()) is Placement.STALE
    assert await bench.inbox() == []
    assert await bench.running() == {}


async def test_an_environment_of_an_old_revision_retires(bench: Bench) -> None:
    """After an update nothing of what was deployed before becomes idle again."""
    await bench.ready()
    call = bench.call()
    await bench.place(call)
    await bench.client.hset(bench.redis.keys.function(IDENT), "live:$LATEST", "r2")
    assert await bench.finish(call) is SlotAnswer.RETIRE
    assert await bench.ready(OTHER_ENV) is SlotAnswer.RETIRE
    assert await bench.invocations.live([TARGET, target_id(IDENT, "$LATEST", "r2")]) == [False, True]


async def test_waiting_calls_follow_an_update(bench: Bench) -> None:
    """What waits for an old revision moves to the new one; of a deleted version it is answered."""
    call, event = bench.call(), bench.call("event")
    await bench.place(call)
    await bench.invocations.accept([(event, 1, META)])
    new = target_id(IDENT, "$LATEST", "r2")
    assert await bench.invocations.retarget(TARGET, new, code="", message="") == 2
    assert [w.target for w in await bench.demand.waiting()] == [new]
    assert await bench.invocations.retarget(new, "", code="ResourceNotFoundException", message="gone") == 1
    [reply] = await bench.invocations.replies("g", wait_s=0.05, prefix=bench.prefix)
    assert (reply.id, reply.failure, reply.payload) == (call.id, "ResourceNotFoundException", b"gone")
    assert [one.id for one in await bench.demand.queued_events(new)] == [event.id]
    assert [w.target for w in await bench.demand.waiting()] == [new]
    assert await bench.running() == {}


async def test_cancel(bench: Bench) -> None:
    """A waiting call can be taken back once; a placed one cannot."""
    call = bench.call()
    await bench.place(call)
    assert await bench.invocations.cancel(call.id, TARGET)
    assert not await bench.invocations.cancel(call.id, TARGET)
    assert await bench.running() == {}
    assert await bench.ready() is SlotAnswer.IDLE


async def test_a_call_of_a_dead_gateway_is_not_run(bench: Bench) -> None:
    """Nobody is left to be answered, so the environment takes the next one."""
    await bench.place(bench.call())
    await bench.fleet.forget_gateway("g")
    assert await bench.ready() is SlotAnswer.IDLE
    assert await bench.running() == {}


async def test_a_dead_environment_gives_its_call_back(bench: Bench) -> None:
    """A call that the environment never took goes back in front, and keeps its place in the count."""
    await bench.ready()
    call, later = bench.call(), bench.call()
    await bench.place(call)
    await bench.place(later)
    assert await bench.invocations.replace("w", [Work(call)]) == 1
    assert await bench.invocations.retire("w", ENV, TARGET, dead=True)
    assert await bench.ready(OTHER_ENV) == Work(call)
    assert await bench.invocations.replace("w", [Work(later)]) == 0


async def test_retire(bench: Bench) -> None:
    """An idle environment retires; one that was just taken does not."""
    await bench.ready()
    await bench.place(bench.call())
    assert not await bench.invocations.retire("w", ENV, TARGET)
    await bench.ready(OTHER_ENV)
    assert await bench.invocations.retire("w", OTHER_ENV, TARGET)


async def test_retry_promotes_and_counts_attempts(bench: Bench) -> None:
    """A failed attempt is delayed, promoted when due, and carries its number."""
    event = bench.call("event")
    await bench.invocations.accept([(event, 1, META)])
    assert await bench.ready() == Work(event, META)
    assert await bench.finish(event, settlement=Settlement(action="retry", due_ms=5_000)) is SlotAnswer.IDLE
    assert await bench.demand.promote(4_999) == 5_000
    assert (await bench.demand.waiting())[0].events == 0
    await bench.client.hset(bench.redis.keys.function(IDENT), "live:$LATEST", "r2")
    assert await bench.demand.promote(5_000) is None
    [waiting] = await bench.demand.queued_events(target_id(IDENT, "$LATEST", "r2"))
    assert (waiting.id, waiting.attempts, waiting.meta) == (event.id, 1, META)


async def test_a_retry_goes_to_an_idle_environment(bench: Bench) -> None:
    """An event that is queued when its time has come takes an idle slot, as far as concurrency allows."""
    event = bench.call("event")
    await bench.invocations.accept([(event, 1, META)])
    await bench.ready()
    await bench.finish(event, settlement=Settlement(action="retry", due_ms=5_000))
    await bench.demand.promote(5_000)
    await bench.client.hset(bench.redis.keys.function(IDENT), "reserved", 0)
    assert await bench.demand.dispatch(TARGET) == 0
    await bench.client.hdel(bench.redis.keys.function(IDENT), "reserved")
    assert await bench.demand.dispatch(TARGET) == 1
    [placed] = await bench.inbox()
    assert isinstance(placed, Call)
    assert (placed.environment_id, placed.work.invocation.id, placed.work.invocation.attempt) == (ENV, event.id, 2)
    assert await bench.running() == {IDENT.encode(): b"1", b"*": b"1"}
    assert await bench.demand.dispatch(TARGET) == 0


async def test_accepting_twice_is_once(bench: Bench) -> None:
    """A repeated id is accepted without a second event."""
    event = bench.call("event")
    assert await bench.invocations.accept([(event, 1, META), (event, 1, META)]) == [Placement.PLACED] * 2
    assert (await bench.demand.waiting())[0].events == 1


async def test_reserved_zero_keeps_events_queued(bench: Bench) -> None:
    """An event over the function's limit waits; it is not dropped and not run."""
    await bench.client.hset(bench.redis.keys.function(IDENT), "reserved", 0)
    event = bench.call("event")
    assert await bench.invocations.accept([(event, 1, META)]) == [Placement.PLACED]
    assert await bench.ready() is SlotAnswer.IDLE
    assert (await bench.demand.waiting())[0].events == 1
    [waiting] = await bench.demand.queued_events(TARGET)
    assert await bench.demand.drop(waiting, expire(0, META, now_ms=1), look_again_ms=0)
    assert not await bench.demand.drop(waiting, expire(0, META, now_ms=1), look_again_ms=0)


async def test_a_lost_worker_loses_nothing(bench: Bench) -> None:
    """Unread calls go back in front, a running call is answered, a running event stays leased until it is settled."""
    await bench.ready()
    ran, unread = bench.call(), bench.call("event")
    await bench.place(ran)
    assert len(await bench.inbox()) == 1
    await bench.ready(OTHER_ENV)
    await bench.invocations.accept([(unread, 1, META)])
    assert await bench.fleet.bury("w", now_ms=3_000, lease_ms=5_000, code="E", message="m") is None
    assert await bench.fleet.silent_workers(before_ms=1_000) == ["w"]
    assert await bench.fleet.bury("w", now_ms=9_000, lease_ms=5_000, code="E", message="m") == []
    [reply] = await bench.invocations.replies("g", wait_s=0.05, prefix=bench.prefix)
    assert (reply.id, reply.failure) == (ran.id, "E")
    assert await bench.running() == {}
    assert not await bench.beat(9_001)
    assert await bench.finish(ran) is SlotAnswer.LOST
    assert await bench.ready() is SlotAnswer.GONE
    await bench.beat(9_002, register=True)
    assert await bench.ready() == Work(unread, META)
    assert await bench.inbox() == []
    assert await bench.fleet.bury("w", now_ms=9_003, lease_ms=0, code="E", message="m") == [
        (unread.id, Work(unread, META))
    ]
    retry = Settlement(action="retry", due_ms=1)
    assert await bench.fleet.settle("w", unread.id, IDENT, retry)
    assert not await bench.fleet.settle("w", unread.id, IDENT, retry)
    assert await bench.fleet.bury("w", now_ms=9_004, lease_ms=0, code="E", message="m") == []
    assert await bench.demand.promote(1) is None
    assert (await bench.demand.waiting())[0].events == 1


async def test_orders_and_heartbeats(bench: Bench) -> None:
    """An order is read once; the worker's word replaces the table, but not an order that it has not read."""
    record = EnvironmentRecord(
        id=ENV,
        worker="w",
        target=TARGET,
        runtime="python3.13",
        state=EnvironmentState.STARTING,
        memory_mb=128,
        started_at_ms=1_000,
    )
    order = StartOrder(record, start_order(ENV, {"name": "f"}))
    assert await bench.fleet.start([order]) == [True]
    assert await bench.inbox() == [Start(ENV, {"name": "f"})]
    await bench.beat(2_000)
    assert await bench.fleet.environments(["w"]) == [record]
    await bench.beat(40_000)
    assert await bench.fleet.environments(["w"]) == []
    assert [w.id for w in await bench.fleet.workers()] == ["w"]


async def test_a_stem_leaves_the_table_with_the_next_heartbeat(bench: Bench) -> None:
    """Nobody but its worker knows of a stem, so what the worker no longer names is gone."""
    stem = EnvironmentRecord(
        id=ENV, worker="w", runtime="python3.13", state=EnvironmentState.READY, memory_mb=128, started_at_ms=1_000
    )
    worker = WorkerRecord(id="w", driver="process", capacity_mb=1000)
    await bench.fleet.heartbeat(worker, [stem], now_ms=1_100, register=False)
    assert await bench.fleet.environments(["w"]) == [stem]
    await bench.beat(1_200)
    assert await bench.fleet.environments(["w"]) == []


async def test_leadership(bench: Bench) -> None:
    """One holder at a time; giving it back lets another in."""
    assert await bench.fleet.lead("scheduler", "a", lease_ms=5_000)
    assert not await bench.fleet.lead("scheduler", "b", lease_ms=5_000)
    await bench.fleet.resign("scheduler", "b")
    assert await bench.fleet.lead("scheduler", "a", lease_ms=5_000)
    await bench.fleet.resign("scheduler", "a")
    assert await bench.fleet.lead("scheduler", "b", lease_ms=5_000)


async def test_recount(bench: Bench) -> None:
    """Counts that drifted are made true from leases and queues."""
    await bench.ready()
    await bench.place(bench.call())
    await bench.place(bench.call())
    true = await bench.running()
    await bench.client.hset(f"{bench.prefix}running", mapping={IDENT: 77, "*": -3, "other": 5})
    await bench.fleet.recount()
    assert await bench.running() == true


async def test_accept_waits_for_the_disk(bench: Bench) -> None:
    """With `always` an event is accepted only once the append-only file holds it."""
    durable = InvocationStore(bench.redis, wait_for_disk=True)
    assert await durable.accept([(bench.call("event"), 1, META)]) == [Placement.PLACED]
    waited = await bench.client.execute_command("WAITAOF", 1, 0, 1000)
    assert waited[0] == 1
