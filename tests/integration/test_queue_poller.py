"""The poller of queues on a real Valkey: what is received, how a function is called with it, what becomes of it.

Functions here are Python callables behind the dispatcher's two methods; `tests/e2e/test_queue_triggers.py` has the
same with a whole platform.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio

from lambent_platform.contracts.errors import (
    ApiError,
    RecursiveInvocation,
    ResourceNotFound,
    ServiceException,
    StoreUnavailable,
    TooManyRequests,
)
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.mappings import CALL_FAILED, LOOP_STOPPED, PROCESSED, THROTTLED, MappingRecord
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.contracts.queues import NewMessage, QueueRecord
from lambent_platform.core.lineage import TURNS_MAX, next_turn
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.scheduler.pollers import queue_call
from lambent_platform.scheduler.pollers.metrics import PollerMetrics
from lambent_platform.scheduler.pollers.port import Assignment
from lambent_platform.scheduler.pollers.queue_call import QueueCalls
from lambent_platform.scheduler.pollers.queue_poller import QueuePoller
from lambent_platform.store.arrivals import Arrivals
from lambent_platform.store.clock import MovableTimer
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import RedisStore, open_redis

ACCOUNT, REGION = "000000000000", "us-east-1"
Records = list[dict[str, Any]]
Handler = Callable[[Records], Awaitable[Any]]


class FunctionError(Exception):
    """What a handler raises to fail."""


@dataclass
class Function:
    """A function that notes what it is called with; `handler` is its code."""

    handler: Handler
    batches: list[list[str]] = field(default_factory=list)
    """Bodies, by batch, in the order in which calls began."""
    events: list[Records] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    running: int = 0
    most: int = 0
    exists: bool = True
    refusals: list[ApiError] = field(default_factory=list)

    async def check(self, ref: FunctionRef) -> None:
        """Raise what a call would be refused with."""
        if not self.exists:
            raise ResourceNotFound(f"Function not found: {ref.arn}")

    async def invoke(self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None) -> Reply:
        """Run the handler."""
        await self.check(ref)
        if self.refusals:
            raise self.refusals.pop(0)
        if options and next_turn(options.trace_id, ref.ident, str(uuid.uuid4())).stopped("Terminate"):
            raise RecursiveInvocation
        records: Records = json.loads(payload)["Records"]
        self.events.append(records)
        self.batches.append([record["body"] for record in records])
        self.traces.append(options.trace_id if options else "")
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            answer = await self.handler(records)
        except FunctionError:
            return Reply(id="r", payload=b"{}", function_error="Unhandled")
        finally:
            self.running -= 1
        return Reply(id="r", payload=json.dumps(answer).encode())

    @property
    def seen(self) -> list[str]:
        """Every body, in order."""
        return [body for batch in self.batches for body in batch]


@dataclass
class Bench:
    """A store, a poller, and what a test needs to use them."""

    redis: RedisStore
    queues: QueueStore
    arrivals: Arrivals
    timer: MovableTimer = field(default_factory=MovableTimer)
    reports: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def queue(self, name: str = "q", **attributes: Any) -> QueueRecord:
        """Make a queue."""
        fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if name.endswith(".fifo") else {}
        given = {key: str(value) for key, value in attributes.items()}
        record = QueueRecord(account=ACCOUNT, region=REGION, name=name, attributes={**fifo, **given})
        made = await self.queues.create(record)
        assert made is not None
        return made

    async def send(self, queue: QueueRecord, *bodies: str, group: Callable[[str], str] = str, **more: Any) -> None:
        """Send messages, in FIFO queues by group."""
        messages = [
            NewMessage(body=body, **({"group_id": group(body), "deduplication_id": body} if queue.fifo else {}), **more)
            for body in bodies
        ]
        await self.queues.send(queue, messages, now_ms=self.timer.now_ms())

    def poll(self, function: Function, source: str | QueueRecord = "q", **more: Any) -> Assignment:
        """Begin to poll."""
        arn = source.arn if isinstance(source, QueueRecord) else f"arn:aws:sqs:{REGION}:{ACCOUNT}:{source}"
        record = MappingRecord(
            uuid=str(uuid.uuid4()),
            account=ACCOUNT,
            region=REGION,
            source_arn=arn,
            function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f",
            state="Enabled",
            **{"batch_size": 10, **more},
        )
        assignment = Assignment(record, report=lambda _, text: self.reports.append(text))
        calls = QueueCalls(self.queues, function, self.timer, PollerMetrics())
        poller = QueuePoller(calls, self.arrivals, self.timer)
        self.tasks.append(asyncio.create_task(poller.poll(assignment)))
        return assignment

    async def left(self, queue: QueueRecord) -> tuple[int, int]:
        """How many messages are visible, and in flight."""
        counts = await self.queues.counts(queue, now_ms=self.timer.now_ms())
        return counts.visible, counts.in_flight


@pytest_asyncio.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    """An empty store, and pollers that end with the test."""
    async with open_redis(redis_url, partitions=2) as redis:
        await redis.client.flushall()
        arrivals = Arrivals(redis, "test")
        async with arrivals.running():
            bench = Bench(redis, QueueStore(redis), arrivals)
            yield bench
            for task in bench.tasks:
                task.cancel()
            ended = await asyncio.gather(*bench.tasks, return_exceptions=True)
            assert all(one is None or isinstance(one, asyncio.CancelledError) for one in ended), ended


async def until(condition: Callable[[], Any], *, within_s: float = 5) -> None:
    """Wait until a condition holds; it may be one that has to be awaited."""
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


def empties(bench: Bench, queue: QueueRecord) -> Callable[[], Awaitable[bool]]:
    """Make a condition: nothing is left in a queue."""

    async def empty() -> bool:
        return await bench.left(queue) == (0, 0)

    return empty


async def nothing(_: Records) -> None:
    """Succeed."""


async def test_messages_are_seen_once_and_deleted(bench: Bench) -> None:
    """What is in the queue already, and what comes later, reaches the function in Lambda's shape, and is gone then."""
    queue, function = await bench.queue(), Function(nothing)
    await bench.send(queue, *(f"old {n}" for n in range(25)))
    bench.poll(function)
    await until(empties(bench, queue))
    assert sorted(function.seen) == sorted(f"old {n}" for n in range(25))
    assert max(map(len, function.batches)) == 10

    await bench.send(queue, "new", message_attributes={"a": {"DataType": "String", "StringValue": "1"}})
    await until(lambda: function.seen[-1] == "new", within_s=1)
    [record] = function.events[-1]
    assert record["messageAttributes"]["a"]["stringValue"] == "1"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", queue.arn, REGION)
    await until(empties(bench, queue))
    assert bench.reports[-1] == PROCESSED


async def test_an_idle_queue_is_left_alone(bench: Bench) -> None:
    """While nothing comes, the server is asked for next to nothing."""
    queue, function = await bench.queue(), Function(nothing)
    bench.poll(function)
    await bench.send(queue, "one")
    await until(empties(bench, queue))
    await asyncio.sleep(0.3)

    async def commands() -> int:
        return int((await bench.redis.client.info("stats"))["total_commands_processed"])

    before = await commands()
    await asyncio.sleep(1.5)
    assert await commands() - before < 10


async def test_reported_failures_alone_come_back(bench: Bench) -> None:
    """Of a batch whose function reports failures, those alone run again, up to the dead-letter queue."""
    dead = await bench.queue("dead")
    redrive = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2})
    queue = await bench.queue(VisibilityTimeout=1, RedrivePolicy=redrive)

    async def handler(records: Records) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in records if r["body"] == "poison"]}

    function = Function(handler)
    await bench.send(queue, "a", "poison", "b")
    bench.poll(function, report_item_failures=True)

    async def buried() -> bool:
        return await bench.left(dead) == (1, 0)

    await until(buried, within_s=8)
    assert Counter(function.seen) == {"a": 1, "b": 1, "poison": 2}
    await bench.send(queue, "c")
    await until(lambda: "c" in function.seen, within_s=1)
    await until(empties(bench, queue))


async def test_a_failed_call_fails_the_batch(bench: Bench) -> None:
    """Messages of a call that failed stay invisible until their timeout, then come back counted."""
    queue = await bench.queue(VisibilityTimeout=1)
    failures = [FunctionError()]

    async def handler(_: Records) -> None:
        if failures:
            raise failures.pop()

    function = Function(handler)
    await bench.send(queue, "a", "b")
    bench.poll(function)
    await until(lambda: CALL_FAILED in bench.reports)
    assert await bench.left(queue) == (0, 2)
    began_s = time.monotonic()
    await until(empties(bench, queue))
    assert time.monotonic() - began_s > 0.5
    assert Counter(function.seen) == {"a": 2, "b": 2}
    assert {r["attributes"]["ApproximateReceiveCount"] for r in function.events[-1]} == {"2"}


async def test_throttled_and_lost_calls_are_tried_again_in_hand(bench: Bench) -> None:
    """A call without concurrency, or that the platform lost, is tried again without another receive."""
    queue, function = await bench.queue(), Function(nothing)
    function.refusals = [TooManyRequests("Rate Exceeded."), ServiceException("lost"), TooManyRequests("Rate Exceeded.")]
    await bench.send(queue, "a")
    bench.poll(function)
    await until(empties(bench, queue))
    [[record]] = function.events
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert bench.reports.count(THROTTLED) == 2


async def test_throttled_calls_end_before_messages_are_visible(bench: Bench) -> None:
    """A function without any concurrency keeps a batch no longer than its messages are invisible."""
    queue, function = await bench.queue(VisibilityTimeout=2), Function(nothing)
    function.refusals = [TooManyRequests("Rate Exceeded.") for _ in range(1000)]
    await bench.send(queue, "a")
    bench.poll(function)
    await asyncio.sleep(3.5)
    function.refusals.clear()
    await until(empties(bench, queue))
    assert [r["attributes"]["ApproximateReceiveCount"] for [r] in function.events] in (["2"], ["3"])


async def test_concurrency_has_the_mappings_limit(bench: Bench) -> None:
    """No more calls run at the same time than MaximumConcurrency says, also when it changes."""
    queue = await bench.queue()

    async def handler(_: Records) -> None:
        await asyncio.sleep(0.02)

    function = Function(handler)
    await bench.send(queue, *map(str, range(100)))
    assignment = bench.poll(function, batch_size=1, concurrency_max=2)
    await until(lambda: len(function.seen) >= 30)
    assert function.most == 2
    assignment.apply(replace(assignment.record, concurrency_max=4))
    await until(empties(bench, queue))
    assert 2 < function.most <= 4


async def test_a_window_gathers_a_batch(bench: Bench) -> None:
    """With a window a batch goes when it is full, or when the window is over, whichever is first."""
    queue, function = await bench.queue(VisibilityTimeout=1), Function(nothing)
    bench.poll(function, batch_size=20, window_s=2)
    began_s = time.monotonic()
    for n in range(3):
        await bench.send(queue, *(f"{n} {m}" for m in range(5)))
        await asyncio.sleep(0.1)
    assert not function.batches
    await until(lambda: function.batches)
    assert 1.5 < time.monotonic() - began_s < 4
    assert len(function.batches[0]) == 15, "what is gathered stays invisible for as long as it takes"
    await bench.send(queue, *map(str, range(20)))
    await until(lambda: len(function.batches) == 2, within_s=1)
    assert len(function.batches[1]) == 20
    await until(empties(bench, queue))


async def test_what_was_only_gathered_is_given_back(bench: Bench) -> None:
    """A poller that ends in mid-window, as with its scheduler, leaves what it never called for others at once."""
    queue, function = await bench.queue(), Function(nothing)
    await bench.send(queue, "a", "b")
    bench.poll(function, batch_size=20, window_s=60)

    async def held() -> bool:
        return await bench.left(queue) == (0, 2)

    await until(held)
    bench.tasks[0].cancel()
    await asyncio.gather(*bench.tasks, return_exceptions=True)
    assert await bench.left(queue) == (2, 0)
    assert not function.batches


async def test_batches_fit_into_a_call(bench: Bench) -> None:
    """Ten messages of a megabyte are more than one call takes, and become two."""
    queue, function = await bench.queue(), Function(nothing)
    for n in range(10):
        await bench.send(queue, str(n) * 1_000_000)
    bench.poll(function)
    await until(empties(bench, queue), within_s=20)
    assert sorted(body[0] for body in function.seen) == [str(n) for n in range(10)]
    assert max(map(len, function.batches)) <= 6


async def test_what_could_not_be_deleted_is_not_overtaken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Redis is away as a batch ends, what follows in its group waits until that batch has come back."""
    queue, function = await bench.queue("q.fifo", VisibilityTimeout=2), Function(nothing)
    for n in range(10):
        await bench.send(queue, str(n) * 1_000_000, group=lambda _: "g")
    monkeypatch.setattr(queue_call, "DELETE_AGAIN_S", 0.01)
    delete, refusals = bench.queues.delete, [StoreUnavailable("away")] * queue_call.DELETE_TRIES

    async def away(*args: Any, **more: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await delete(*args, **more)

    monkeypatch.setattr(bench.queues, "delete", away)
    bench.poll(function, queue)
    await until(empties(bench, queue), within_s=30)
    assert [body[0] for body in function.seen] == [*"012", *"0123456789"], "as many as fit into a call, then all"


async def test_filters_drop_what_matches_none(bench: Bench) -> None:
    """What no filter lets pass is deleted and never seen."""
    queue, function = await bench.queue(), Function(nothing)
    await bench.send(queue, '{"kind": "a"}', '{"kind": "b"}', "text", '{"kind": "a", "n": 2}')
    bench.poll(function, filters=('{"body": {"kind": ["a"]}}',))
    await until(empties(bench, queue))
    assert sorted(function.seen) == ['{"kind": "a", "n": 2}', '{"kind": "a"}']


async def test_groups_run_in_order_and_beside_each_other(bench: Bench) -> None:
    """Of a FIFO queue each group's messages come in order, one batch at a time; groups do not wait for each other."""
    queue = await bench.queue("q.fifo", VisibilityTimeout=1)
    busy: Counter[str] = Counter()
    failing = {"a3"}

    async def handler(records: Records) -> None:
        groups = {r["attributes"]["MessageGroupId"] for r in records}
        busy.update(groups)
        assert all(busy[group] == 1 for group in groups)
        await asyncio.sleep(0.02)
        busy.subtract(groups)
        if failing & {r["body"] for r in records}:
            failing.clear()
            raise FunctionError

    function = Function(handler)
    bodies = [f"{group}{n}" for n in range(8) for group in "abcd"]
    await bench.send(queue, *bodies, group=lambda body: body[0])
    bench.poll(function, queue, batch_size=2)
    await until(empties(bench, queue), within_s=10)
    for group in "bcd":
        assert [body for body in function.seen if body[0] == group] == [f"{group}{n}" for n in range(8)]
    a = [body for body in function.seen if body[0] == "a"]
    again = a.index("a3") + 1
    assert a[again:] == [f"a{n}" for n in range(int(a[again][1]), 8)], "after the failure it goes on where it failed"
    assert a[:again] == [f"a{n}" for n in range(again)]
    assert function.most > 1


async def test_a_failure_keeps_what_follows_in_its_group(bench: Bench) -> None:
    """A FIFO message behind one that was reported as failed is not deleted before it."""
    queue = await bench.queue("q.fifo", VisibilityTimeout=1)
    failing = ["a1"]

    async def handler(records: Records) -> Any:
        failed = [r["messageId"] for r in records if r["body"] in failing]
        failing.clear()
        return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}

    function = Function(handler)
    await bench.send(queue, "a0", "a1", "a2", group=lambda body: body[0])
    bench.poll(function, queue, report_item_failures=True)
    await until(empties(bench, queue))
    assert function.batches == [["a0", "a1", "a2"], ["a1", "a2"]]


async def test_messages_stay_invisible_while_their_function_runs(bench: Bench) -> None:
    """A call that takes longer than the visibility timeout is not joined by a second one for the same messages."""
    queue = await bench.queue(VisibilityTimeout=1)

    async def handler(_: Records) -> None:
        await asyncio.sleep(2.5)

    function = Function(handler)
    await bench.send(queue, "slow")
    bench.poll(function)
    await until(empties(bench, queue))
    assert function.seen == ["slow"]


async def test_a_clock_that_jumps_calls_nothing_twice_at_a_time(bench: Bench) -> None:
    """What becomes visible while its function runs is neither called again nor overtaken, and is deleted in the end."""
    queue = await bench.queue("q.fifo", VisibilityTimeout=30)
    going = asyncio.Event()

    async def handler(records: Records) -> None:
        if records[0]["body"] == "a0":
            await going.wait()

    function = Function(handler)
    await bench.send(queue, "a0", "a1", "b0", group=lambda body: body[0])
    bench.poll(function, queue, batch_size=1)
    await until(lambda: function.seen == ["a0", "b0"])
    bench.timer.move(40_000)
    await asyncio.sleep(0.3)
    assert function.seen == ["a0", "b0"]
    going.set()
    await until(empties(bench, queue))
    assert function.seen == ["a0", "b0", "a1"]


@pytest.mark.parametrize("reports", [True, False])
async def test_a_function_has_its_message_again_at_once(bench: Bench, reports: bool) -> None:
    """Who ends a message's invisibility and fails gets it again at once, also where it was received again meanwhile."""
    queue = await bench.queue(VisibilityTimeout=3600)

    async def handler(records: Records) -> Any:
        if len(function.seen) > 1:
            return None
        await bench.queues.change_visibility(queue, [(records[0]["receiptHandle"], 0)], now_ms=bench.timer.now_ms())
        await asyncio.sleep(0.5)
        if not reports:
            raise FunctionError
        return {"batchItemFailures": [{"itemIdentifier": records[0]["messageId"]}]}

    function = Function(handler)
    await bench.send(queue, "a")
    bench.poll(function, report_item_failures=reports)
    await until(empties(bench, queue), within_s=4)
    assert function.seen == ["a", "a"]


async def test_a_moved_clock_brings_failures_back(bench: Bench) -> None:
    """A message that failed is tried again as soon as event time has passed its visibility timeout."""
    queue, failures = await bench.queue(VisibilityTimeout=3600), [FunctionError()]

    async def handler(_: Records) -> None:
        if failures:
            raise failures.pop()

    function = Function(handler)
    await bench.send(queue, "a")
    bench.poll(function)
    await until(lambda: CALL_FAILED in bench.reports)
    bench.timer.move(3_601_000)
    await until(empties(bench, queue), within_s=2)
    assert function.seen == ["a", "a"]


async def test_disabling_ends_at_once_what_is_not_in_hand(bench: Bench) -> None:
    """A disabled mapping receives no more, ends its running calls, and returns; enabled again before, it goes on."""
    queue, going = await bench.queue(), asyncio.Event()

    async def handler(_: Records) -> None:
        await going.wait()

    function = Function(handler)
    await bench.send(queue, "one")
    assignment = bench.poll(function)
    await until(lambda: function.running == 1)
    assignment.apply(replace(assignment.record, enabled=False))
    await bench.send(queue, "two")
    await asyncio.sleep(0.2)
    assert function.seen == ["one"]
    assignment.apply(replace(assignment.record, enabled=True))
    await until(lambda: function.seen == ["one", "two"])
    assignment.apply(replace(assignment.record, enabled=False))
    going.set()
    await asyncio.wait_for(bench.tasks[0], 2)
    assert await bench.left(queue) == (0, 0)


async def test_what_is_missing_is_waited_for(bench: Bench) -> None:
    """Without its queue or function a mapping says so and touches no message, and goes on when they are there."""
    function = Function(nothing, exists=False)
    bench.poll(function)
    await until(lambda: bench.reports)
    assert bench.reports[-1].startswith("PROBLEM: SQS error QueueDoesNotExist")
    queue = await bench.queue()
    await bench.send(queue, "a")
    await until(lambda: bench.reports[-1].startswith("PROBLEM: Function not found: arn:aws:lambda"))
    assert await bench.left(queue) == (1, 0)
    function.exists = True
    await until(empties(bench, queue), within_s=8)
    assert function.events[0][0]["attributes"]["ApproximateReceiveCount"] == "1"

    await bench.queues.drop(queue.ref)
    queue = await bench.queue()
    await bench.send(queue, "b")
    await until(lambda: function.seen == ["a", "b"], within_s=8)
    await bench.send(queue, "c")
    await until(lambda: function.seen == ["a", "b", "c"], within_s=1)


async def test_a_batch_goes_by_its_longest_chain(bench: Bench) -> None:
    """Of a batch's trace headers, the call gets the one whose chain has run the function the most."""
    queue, function = await bench.queue(), Function(nothing)
    root = "Root=1-5759e988-bd862e3fe1be46a994272793"
    ident = FunctionRef("f").ident
    far = next_turn(next_turn(root, ident, str(uuid.uuid4())).trace_id, ident, str(uuid.uuid4())).trace_id
    messages = [NewMessage(body=t, system_attributes={"AWSTraceHeader": t} if t else {}) for t in (root, far, "")]
    await bench.queues.send(queue, messages, now_ms=bench.timer.now_ms())
    bench.poll(function)
    await until(empties(bench, queue))
    assert function.traces == [far]


def looped(turns: int = TURNS_MAX) -> dict[str, dict[str, str]]:
    """The system attributes of a message whose chain has run f so often."""
    header = ""
    for _ in range(turns):
        header = next_turn(header, FunctionRef("f").ident, "0" * 32).trace_id
    return {"system_attributes": {"AWSTraceHeader": header}}


async def test_a_loop_ends_in_the_dead_letter_queue(bench: Bench) -> None:
    """What would be one turn too many goes there at once, as it was sent; what came with it in the batch is run."""
    for fifo in ("", ".fifo"):
        dead = await bench.queue(f"dead{fifo}")
        policy = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 100})
        queue, function = await bench.queue(f"q{fifo}", RedrivePolicy=policy), Function(nothing)
        await bench.send(queue, "loop", group=lambda _: "g", **looped())
        await bench.send(queue, "near", group=lambda _: "g", **looped(TURNS_MAX - 1))
        await bench.send(queue, "plain", group=lambda _: "g")
        (sent,) = (await bench.queues.receive(queue, count=1, now_ms=0, visibility_timeout_s=0)).messages
        bench.poll(function, queue)
        await until(empties(bench, queue))
        assert sorted(function.seen) == ["near", "plain"]
        (message,) = (await bench.queues.receive(dead, count=10, now_ms=bench.timer.now_ms())).messages
        assert (message.body, message.id) == ("loop", sent.id)
        assert message.attributes["AWSTraceHeader"] == looped()["system_attributes"]["AWSTraceHeader"]
        assert message.attributes["DeadLetterQueueSourceArn"] == queue.arn


async def test_a_loop_without_a_dead_letter_queue_is_dropped(bench: Bench) -> None:
    """The message is gone, the mapping says why, and goes on."""
    queue, function = await bench.queue(), Function(nothing)
    bench.poll(function)
    await bench.send(queue, "loop", **looped())
    await until(empties(bench, queue))
    await until(lambda: LOOP_STOPPED in bench.reports)
    await bench.send(queue, "plain")
    await until(empties(bench, queue))
    assert function.seen == ["plain"]


async def test_a_loop_whose_dead_letter_queue_is_gone_stays(bench: Bench) -> None:
    """Nothing is dropped where a dead-letter queue was wanted: the message comes back, and is not run."""
    policy = json.dumps({"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:none", "maxReceiveCount": 100})
    queue, function = await bench.queue(RedrivePolicy=policy, VisibilityTimeout=1), Function(nothing)
    await bench.send(queue, "loop", **looped())
    bench.poll(function)
    await until(lambda: CALL_FAILED in bench.reports)
    assert sum(await bench.left(queue)) == 1
    assert function.seen == []
