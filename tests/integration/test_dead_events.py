"""What becomes of events that ended, on a real Valkey: told to whom they name, or kept, and never both or neither."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lambent_platform.contracts.events import Ending, EventMeta, Settlement
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.contracts.names import target_id
from lambent_platform.core.retries import Attempt, expire, settle
from lambent_platform.store.dead_events import DeadEventStore
from lambent_platform.store.demand import DemandStore, WaitingEvent
from lambent_platform.store.invocations import InvocationStore, Placement
from lambent_platform.store.outbox import Box, OutboxStore
from lambent_platform.store.redis import RedisStore, open_redis

IDENT = "000000000000:us-east-1:f"
TARGET = target_id(IDENT, "$LATEST", "r1")
DLQ, AFTER = "arn:aws:sqs:us-east-1:000000000000:dlq", "arn:aws:lambda:us-east-1:000000000000:function:after"
META = EventMeta(accepted_at_ms=0, function_arn="arn", age_max_s=60)


class House:
    """The stores, and one function that no worker runs."""

    def __init__(self, redis: RedisStore) -> None:
        self.redis = redis
        self.prefix = redis.keys.prefix(IDENT)
        self.invocations = InvocationStore(redis)
        self.demand = DemandStore(redis)
        self.outbox = OutboxStore(redis)
        self.dead = DeadEventStore(redis)
        self.events = 0

    async def accept(self, meta: EventMeta = META, payload: bytes = b'{"n": 1}') -> WaitingEvent:
        """Accept one more event of f."""
        self.events += 1
        event = Invocation(
            id=f"{self.events:036d}",
            target=TARGET,
            kind="event",
            qualified_arn="arn",
            payload=payload,
            trace_id="Root=1",
        )
        assert await self.invocations.accept([(event, 1, meta)]) == [Placement.PLACED]
        return WaitingEvent(self.prefix, event.id, 0, meta)

    async def end(self, event: WaitingEvent, settlement: Settlement | None = None) -> None:
        """End an event that waits; by default as one that is too old."""
        settlement = settlement or expire(0, event.meta, now_ms=5)
        assert await self.demand.drop(event, settlement, look_again_ms=0)

    async def keys(self) -> set[str]:
        """The names of all keys but those of the function itself, and the counts."""
        found = {key.decode().removeprefix(self.prefix) for key in await self.redis.client.keys("*")}
        return found - {f"fn:{IDENT}", "demand", "wake", "wake-outbox", "eventcounts"}


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    """A house on an empty Valkey."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushall()
        await redis.client.hset(redis.keys.function(IDENT), mapping={"gen": 1, "live:$LATEST": "r1"})
        yield House(redis)


async def test_both_are_told_and_then_it_is_gone(house: House) -> None:
    """A dead-letter queue and a destination each get their delivery; the event stays until the last one is made."""
    event = await house.accept(replace(META, dead_letter=DLQ, on_failure=AFTER))
    await house.end(event)
    boxes = [Box(house.prefix, DLQ), Box(house.prefix, AFTER)]
    assert sorted(await house.outbox.boxes(), key=lambda box: box.arn) == sorted(boxes, key=lambda box: box.arn)
    assert await house.outbox.entries(boxes[0], 10) == [(event.id, "dead_letter")]
    assert await house.outbox.entries(boxes[1], 10) == [(event.id, "on_failure")]
    ended = await house.outbox.load(house.prefix, event.id)
    assert ended is not None
    assert (ended.invocation.payload, ended.invocation.trace_id) == (b'{"n": 1}', "Root=1")
    assert (ended.ending.condition, ended.since_ms) == ("EventAgeExceeded", 5)
    assert b"EventAgeExceeded" in ended.response
    assert await house.outbox.delivered(boxes[0], event.id, "dead_letter")
    assert not await house.outbox.delivered(boxes[0], event.id, "dead_letter")
    assert await house.outbox.boxes() == [boxes[1]]
    assert await house.outbox.load(house.prefix, event.id) == ended
    assert await house.outbox.delivered(boxes[1], event.id, "on_failure")
    assert await house.keys() == set()
    assert await house.demand.event_counts() == {"delivered_dead_letter": 1, "delivered_on_failure": 1}


async def test_what_is_refused_is_kept_with_the_reason(house: House) -> None:
    """One of two deliveries is refused: the event is dead with the reason, whichever ends first."""
    for refused_first in (True, False):
        event = await house.accept(replace(META, dead_letter=DLQ, on_failure=AFTER))
        await house.end(event)
        dlq, after = Box(house.prefix, DLQ), Box(house.prefix, AFTER)
        if not refused_first:
            assert await house.outbox.delivered(after, event.id, "on_failure")
        assert await house.outbox.refused(dlq, event.id, "dead_letter", reason="no such queue", now_ms=9)
        if refused_first:
            assert await house.outbox.delivered(after, event.id, "on_failure")
        assert await house.outbox.boxes() == []
        assert await house.dead.ids(IDENT) == [event.id]
        [dead] = await house.dead.load(IDENT, [event.id])
        assert dead.refusals == {"dead_letter": "no such queue"}
        assert (dead.died_at_ms, dead.ending.ended_at_ms) == (9, 5)
        assert dead.invocation.payload == b'{"n": 1}'
        assert await house.dead.remove(IDENT, [event.id]) == 1
        assert await house.keys() == set()


async def test_a_purge_leaves_deliveries_alone(house: House) -> None:
    """An event that is purged as dead while another delivery is under way is still delivered there."""
    event = await house.accept(replace(META, dead_letter=DLQ, on_failure=AFTER))
    await house.end(event)
    await house.outbox.refused(Box(house.prefix, DLQ), event.id, "dead_letter", reason="no", now_ms=9)
    assert await house.dead.remove(IDENT, [event.id]) == 1
    assert await house.dead.functions() == {}
    assert await house.outbox.load(house.prefix, event.id) is not None
    assert await house.outbox.delivered(Box(house.prefix, AFTER), event.id, "on_failure")
    assert await house.keys() == set()


async def test_dead_events_are_kept_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many, or too large ones, the oldest go, and are counted; the newest is always kept."""
    monkeypatch.setattr("lambent_platform.store.demand.DEAD_LIMITS", (3, 3_000))
    events = [await house.accept() for _ in range(5)]
    for event in events:
        await house.end(event)
    assert await house.dead.ids(IDENT) == [event.id for event in events[2:]]
    large = await house.accept(payload=b'"' + b"x" * 5_000 + b'"')
    await house.end(large)
    assert await house.dead.ids(IDENT) == [large.id]
    assert await house.dead.functions() == {IDENT: 1}
    assert await house.demand.event_counts() == {"dead": 6, "dead_dropped": 5}
    assert await house.dead.remove(IDENT, [large.id, "other"]) == 1
    assert await house.keys() == set()


async def test_a_redriven_event_is_a_new_one(house: House) -> None:
    """It has fresh attempts and rules, waits for its function, and is not dead any more; a second try finds nothing."""
    event = await house.accept()
    await house.end(event)
    [dead] = await house.dead.load(IDENT, [event.id])
    fresh = replace(dead.invocation, id="new")
    meta = replace(META, accepted_at_ms=100)
    assert await house.dead.redrive(IDENT, event.id, 2, fresh, meta) == "stale"
    assert await house.dead.ids(IDENT) == [event.id]
    assert await house.dead.redrive(IDENT, event.id, 1, fresh, meta) == "redriven"
    assert await house.dead.redrive(IDENT, event.id, 1, fresh, meta) == "gone"
    assert await house.dead.ids(IDENT) == []
    [waiting] = await house.demand.queued_events(TARGET)
    assert (waiting.id, waiting.attempts, waiting.meta) == ("new", 0, meta)
    assert await house.keys() == {f"evq:{TARGET}", "ev:new", "expiries"}
    await house.end(waiting)
    [again] = await house.dead.load(IDENT, ["new"])
    assert again.invocation == fresh


async def test_a_success_that_nobody_took_is_delivered_again(house: House) -> None:
    """A redrive of an event that ran well makes its delivery again, and does not run it again."""
    meta = replace(META, on_success=DLQ)
    event = await house.accept(meta)
    await house.end(event, settle(Attempt(number=1, response=b"[7]"), meta, now_ms=5))
    box = Box(house.prefix, DLQ)
    assert await house.outbox.refused(box, event.id, "on_success", reason="too large", now_ms=9)
    [dead] = await house.dead.load(IDENT, [event.id])
    assert dead.undelivered
    assert await house.dead.redeliver(IDENT, event.id, now_ms=50) == "redriven"
    assert await house.dead.redeliver(IDENT, event.id, now_ms=50) == "gone"
    assert await house.outbox.entries(box, 10) == [(event.id, "on_success")]
    ended = await house.outbox.load(house.prefix, event.id)
    assert ended is not None
    assert (ended.response, ended.since_ms) == (b"[7]", 50)
    assert await house.outbox.refused(box, event.id, "on_success", reason="still", now_ms=60)
    [dead] = await house.dead.load(IDENT, [event.id])
    assert dead.refusals == {"on_success": "still"}


async def test_expiry(house: House) -> None:
    """Events are found when they are too old, whatever stands before them in the queue, and one that runs is let be."""
    await house.accept(replace(META, age_max_s=600))
    young = await house.accept(replace(META, age_max_s=60))
    assert await house.demand.expired(60_000) == []
    assert await house.demand.expired(60_001) == [young]
    assert await house.demand.drop(young, expire(0, young.meta, now_ms=60_001), look_again_ms=0)
    assert await house.demand.expired(60_001) == []
    running = await house.accept(replace(META, age_max_s=60))
    await house.redis.client.lrem(f"{house.prefix}evq:{TARGET}", 1, running.id)
    assert not await house.demand.drop(running, expire(0, META, now_ms=60_001), look_again_ms=70_000)
    assert await house.demand.expired(69_999) == []
    assert await house.demand.expired(70_001) == [running]


async def test_an_event_that_is_never_run(house: House) -> None:
    """What ends an event can be known when it is accepted; accepted twice it ends once, also after that."""
    event = Invocation(id="e", target=TARGET, kind="event", qualified_arn="arn", payload=b"{}")
    settlement = Settlement(
        action="dead", ending=Ending(condition="RetriesExhausted", ended_at_ms=1, attempts=0, error_type="T")
    )
    assert await house.invocations.accept_ended(event, META, settlement, once_s=60)
    assert not await house.invocations.accept_ended(event, META, settlement, once_s=60)
    assert await house.dead.ids(IDENT) == ["e"]
    await house.dead.remove(IDENT, ["e"])
    assert not await house.invocations.accept_ended(event, META, settlement, once_s=60)
    assert await house.dead.ids(IDENT) == []
    assert (await house.demand.event_counts())["recursive"] == 1
