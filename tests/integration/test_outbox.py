"""The outbox is worked off: each destination for itself, nothing twice, nothing dropped in silence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import orjson
import pytest

from lambent_platform.contracts.events import EventMeta
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.contracts.queues import QueueRecord
from lambent_platform.core.destinations import DELIVERY_AGE_MAX_MS
from lambent_platform.core.retries import Attempt, expire, settle
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.scheduler.outbox import OutboxLoop
from lambent_platform.store.dead_events import DeadEventStore
from lambent_platform.store.demand import DemandStore, WaitingEvent
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.outbox import OutboxStore
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import RedisStore, open_redis

SOURCE, AFTER, OTHER = FunctionRef("source"), FunctionRef("after"), FunctionRef("other")
META = EventMeta(accepted_at_ms=0, function_arn=SOURCE.qualified_arn)


class Clock:
    """Event time that stands still until it is moved."""

    def __init__(self) -> None:
        self.at_ms = 1_000

    def now_ms(self) -> int:
        """The time that it shows."""
        return self.at_ms


class Post:
    """Three functions that no worker runs, and the loop."""

    def __init__(self, redis: RedisStore) -> None:
        self.redis = redis
        self.clock = Clock()
        self.functions = FunctionStore(redis)
        self.invocations = InvocationStore(redis)
        self.demand = DemandStore(redis)
        self.dead = DeadEventStore(redis)
        self.outbox = OutboxStore(redis)
        self.queues = QueueStore(redis)
        self.deliverer = Deliverer(self.invocations, self.functions, self.queues, self.clock)
        self.sent = 0

    async def set_up(self) -> None:
        """Deploy the functions."""
        for ref in (SOURCE, AFTER, OTHER):
            version = FunctionVersion(
                account=ref.account,
                region=ref.region,
                name=ref.name,
                revision="r1",
                runtime="python3.13",
                state="Active",
                code=CodePackage(runnable_key="code/x.zip"),
            )
            await self.functions.create(ref.ident, FunctionRecord(versions={LATEST: version}))

    async def set_state(self, ref: FunctionRef, state: str) -> None:
        """Put a function into a state."""
        before = await self.functions.load(ref.ident)
        assert before is not None
        latest = replace(before.latest, state=state)  # type: ignore[arg-type]
        assert await self.functions.write(ref.ident, before, replace(before, versions={LATEST: latest}))

    async def end(self, payload: bytes = b"{}", response: bytes | None = None, **meta: str) -> str:
        """End an event of the source: too old, or with `response` well; returns its id."""
        self.sent += 1
        rules = replace(META, **meta)  # type: ignore[arg-type]
        event = Invocation(
            id=f"{self.sent:036d}",
            target=f"{SOURCE.ident}:{LATEST}:r1",
            kind="event",
            qualified_arn=SOURCE.arn,
            payload=payload,
        )
        await self.invocations.accept([(event, 1, rules)])
        settlement = (
            expire(0, rules, now_ms=self.clock.at_ms)
            if response is None
            else settle(Attempt(number=1, response=response), rules, now_ms=self.clock.at_ms)
        )
        waiting = WaitingEvent(self.redis.keys.prefix(SOURCE.ident), event.id, 0, rules)
        assert await self.demand.drop(waiting, settlement, look_again_ms=0)
        return event.id

    async def received(self, ref: FunctionRef) -> list[dict[str, object]]:
        """The events that wait for a function."""
        events = await self.demand.queued_events(f"{ref.ident}:{LATEST}:r1")
        found = []
        for event in events:
            message = await self.redis.client.hget(f"{event.prefix}ev:{event.id}", "message")
            found.append(orjson.loads(Invocation.decode(message).payload))
        return found

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run a loop of its own for the length of the block."""
        task = asyncio.create_task(OutboxLoop(self.outbox, self.deliverer, self.clock).step())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, condition: Callable[[], object], *, within_s: float = 10) -> None:
        """Wait until something awaited is true."""
        async with asyncio.timeout(within_s):
            while not await condition():  # type: ignore[misc]  # noqa: ASYNC110 - what is waited for is on Redis
                await asyncio.sleep(0.02)


@pytest.fixture
async def post(redis_url: str) -> AsyncIterator[Post]:
    """A post on an empty Valkey."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushall()
        post = Post(redis)
        await post.set_up()
        yield post


async def test_deliveries_are_made(post: Post) -> None:
    """More than one batch reaches its destination in Lambda's envelope, and nothing of it stays behind."""
    ids = [await post.end(on_failure=AFTER.arn) for _ in range(100)]

    async def all_there() -> bool:
        return await post.outbox.boxes() == []

    async with post.working():
        await post.until(all_there)
    found = await post.received(AFTER)
    assert sorted(one["requestContext"]["requestId"] for one in found) == sorted(ids)  # type: ignore[index]
    assert (await post.demand.event_counts())["delivered_on_failure"] == 100
    assert await post.dead.functions() == {}


async def test_one_that_cannot_take_it_holds_nobody_up(post: Post) -> None:
    """While one destination is still being made the other gets its own; then the first gets it too."""
    await post.set_state(AFTER, "Pending")
    await post.end(on_failure=AFTER.arn)
    await post.end(on_failure=OTHER.arn)

    async def other_has() -> bool:
        return len(await post.received(OTHER)) == 1

    async def after_has() -> bool:
        return len(await post.received(AFTER)) == 1

    async with post.working():
        await post.until(other_has)
        assert [box.arn for box in await post.outbox.boxes()] == [AFTER.arn]
        await post.set_state(AFTER, "Active")
        await post.until(after_has)


async def test_what_is_refused_for_good_is_kept(post: Post) -> None:
    """A destination that is not there, and an envelope over the limit: dead events of the source, with the reason."""
    missing = await post.end(on_failure=FunctionRef("missing").arn)
    large = await post.end(response=b'"' + b"x" * 2_000_000 + b'"', on_success=AFTER.arn)

    async def both_dead() -> bool:
        return len(await post.dead.ids(SOURCE.ident)) == 2

    async with post.working():
        await post.until(both_dead)
    dead = {one.invocation.id: one for one in await post.dead.load(SOURCE.ident, [missing, large])}
    assert dead[missing].refusals["on_failure"].startswith("ResourceNotFoundException: Function not found: arn:")
    assert dead[large].refusals["on_success"].startswith("RequestTooLargeException: Request must be smaller than")
    assert (dead[missing].undelivered, dead[large].undelivered) == (False, True)
    counts = await post.demand.event_counts()
    assert (counts["refused_on_failure"], counts["refused_on_success"], counts["dead"]) == (1, 1, 2)


async def test_a_dead_letter_queue_and_a_destination_both_get_theirs(post: Post) -> None:
    """The queue gets the event itself with what happened in attributes, the destination the envelope."""
    record = QueueRecord(account=SOURCE.account, region=SOURCE.region, name="dlq")
    queue = await post.queues.create(record)
    assert queue is not None
    event_id = await post.end(b'{"n":  1}', dead_letter=record.arn, on_failure=AFTER.arn)

    async def all_there() -> bool:
        return await post.outbox.boxes() == []

    async with post.working():
        await post.until(all_there)
    [message] = (await post.queues.receive(queue, count=10, now_ms=post.clock.at_ms)).messages
    assert message.body == '{"n":  1}'
    shown = {name: (one["DataType"], one["StringValue"]) for name, one in message.message_attributes.items()}
    assert shown == {
        "RequestID": ("String", event_id),
        "ErrorCode": ("Number", "429"),
        "ErrorMessage": ("String", "The event is older than its maximum age of 21600 seconds."),
    }
    [envelope] = await post.received(AFTER)
    assert envelope["requestContext"]["condition"] == "EventAgeExceeded"  # type: ignore[index]
    assert envelope["requestPayload"] == {"n": 1}
    assert await post.dead.functions() == {}


async def test_a_queue_that_was_deleted(post: Post) -> None:
    """A dead letter whose queue is gone stays a dead event of its function."""
    record = QueueRecord(account=SOURCE.account, region=SOURCE.region, name="dlq")
    assert await post.queues.create(record) is not None
    await post.queues.drop(record.ref)
    event_id = await post.end(dead_letter=record.arn)

    async def is_dead() -> bool:
        return await post.dead.ids(SOURCE.ident) == [event_id]

    async with post.working():
        await post.until(is_dead)
    [dead] = await post.dead.load(SOURCE.ident, [event_id])
    assert dead.refusals == {"dead_letter": "QueueDoesNotExist: The specified queue does not exist."}


async def test_a_delivery_is_given_up_after_hours(post: Post) -> None:
    """A destination that cannot take it for six hours of event time is given up, and the event kept."""
    await post.set_state(AFTER, "Pending")
    event_id = await post.end(on_failure=AFTER.arn)
    post.clock.at_ms += DELIVERY_AGE_MAX_MS + 1

    async def is_dead() -> bool:
        return await post.dead.ids(SOURCE.ident) == [event_id]

    async with post.working():
        await post.until(is_dead)
    [dead] = await post.dead.load(SOURCE.ident, [event_id])
    assert dead.refusals["on_failure"].startswith("It could not be delivered within 6 hours: ")
    assert dead.died_at_ms == post.clock.at_ms


async def test_a_loop_that_is_killed_delivers_once(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivered, but not noted down: the next scheduler delivers again, and it is one event."""
    await post.end(on_failure=AFTER.arn)
    reached, never = asyncio.Event(), asyncio.Event()

    async def killed(*_: object) -> bool:
        reached.set()
        await never.wait()
        return True

    with monkeypatch.context() as patched:
        patched.setattr(post.outbox, "delivered", killed)
        async with post.working():
            await asyncio.wait_for(reached.wait(), 10)
    assert len(await post.outbox.boxes()) == 1

    async def done() -> bool:
        return await post.outbox.boxes() == []

    async with post.working():
        await post.until(done)
    assert len(await post.received(AFTER)) == 1
