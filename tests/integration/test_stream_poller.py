"""Streams of a real Valkey, read for a function that the test answers for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import redis.asyncio

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.contracts.errors import ResourceNotFound, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.mappings import CALL_FAILED, PROCESSED, THROTTLED, MappingRecord
from lambent_platform.core import stream_batches
from lambent_platform.main.valkey import EmbeddedValkey
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.scheduler.pollers import stream_session
from lambent_platform.scheduler.pollers.metrics import PollerMetrics
from lambent_platform.scheduler.pollers.port import Assignment
from lambent_platform.scheduler.pollers.stream import StreamPoller
from lambent_platform.scheduler.pollers.stream_lane import LaneParts
from lambent_platform.store.clock import SystemTimer
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.mappings import MappingStore
from lambent_platform.store.redis import RedisStore, open_redis
from lambent_platform.store.streams import StreamNotes, StreamStore

STREAM = "orders"
ARN = f"arn:aws:redis-streams:us-east-1:000000000000:stream/{STREAM}"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:dead"
Handler = Callable[[list[dict[str, Any]]], Any]


class HandlerError(Exception):
    """What a handler of a test ends with."""


@dataclass
class Function:
    """Answers calls in place of the platform: with what a handler returns, or an error."""

    handler: Handler
    calls: list[list[str]] = field(default_factory=list)
    """The field `n` of each record of each call."""
    events: list[dict[str, Any]] = field(default_factory=list)
    held: asyncio.Event | None = None

    async def check(self, ref: Any) -> None:
        """Be asked as a `Dispatcher` is."""

    async def invoke(self, ref: Any, payload: bytes, options: Any = None) -> Reply:
        """Be called as a `Dispatcher` is."""
        event = json.loads(payload)
        self.events.append(event)
        self.calls.append([each["redis"]["fields"].get("n", "") for each in event["Records"]])
        if self.held is not None:
            await self.held.wait()
        try:
            answer = self.handler(event["Records"])
        except HandlerError as error:
            text = json.dumps({"errorMessage": str(error)}).encode()
            return Reply(id="r", payload=text, function_error="Unhandled", executed_version="$LATEST")
        return Reply(id="r", payload=json.dumps(answer).encode(), executed_version="$LATEST")


@dataclass
class Deliveries:
    """Takes deliveries in place of queues and functions."""

    made: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)

    async def deliver(self, arn: str, body: bytes, *, delivery_id: str, **_: Any) -> None:
        """Be called as a `Deliverer` is."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.made.append((arn, json.loads(body), delivery_id))


class QuickTimer:
    """Event time that runs a hundred times as fast, so that retries do not keep a test waiting; it can be moved."""

    def __init__(self) -> None:
        self._real = SystemTimer()
        self._began_ms = self._real.now_ms()
        self.moved_ms = 0

    def now_ms(self) -> int:
        """Event time."""
        return self._began_ms + (self._real.now_ms() - self._began_ms) * 100 + self.moved_ms

    async def sleep_until(self, due_ms: int) -> None:
        """Wait for it."""
        while self.now_ms() < due_ms:  # noqa: ASYNC110 - time passes by itself
            await asyncio.sleep(0.001)


@dataclass
class Bench:
    """A poller, and what is around it."""

    redis: RedisStore
    url: str
    function: Function
    streams_url: str = ""
    """Another Redis for streams."""
    deliveries: Deliveries = field(default_factory=Deliveries)
    timer: EventTimer = field(default_factory=SystemTimer)
    results: list[str] = field(default_factory=list)
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def client(self) -> Any:
        """A plain client of Redis: what producers have."""
        return self.redis.client

    def record(self, **more: Any) -> MappingRecord:
        """The mapping, from the beginning of the stream by default."""
        values: dict[str, Any] = {
            "uuid": self.uuid, "account": "000000000000", "region": "us-east-1", "source_arn": ARN,
            "function_arn": FUNCTION, "state": "Enabled", "batch_size": 100, "starting_position": "TRIM_HORIZON",
        }  # fmt: skip
        return MappingRecord(**{**values, **more})

    @contextlib.asynccontextmanager
    async def polling(self, **more: Any) -> AsyncIterator[Assignment]:
        """Poll for the length of the block, beginning again after errors as the supervisor does; then end abruptly."""
        assignment = Assignment(self.record(**more), report=lambda _, result: self.results.append(result))
        store = MappingStore(self.redis)
        if await store.load(self.uuid) is None:
            assert await store.write(self.record())
        streams = StreamStore(self.streams_url or self.url)
        poller = StreamPoller(
            streams,
            StreamNotes(self.redis),
            store,
            FunctionStore(self.redis),
            LaneParts(self.function, cast(Deliverer, self.deliveries), self.timer, PollerMetrics()),
        )

        async def keep() -> None:
            while assignment.enabled:
                try:
                    await poller.poll(assignment)
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
            if assignment.record.state == "Deleting":
                await poller.forget(assignment.record)

        task = asyncio.create_task(keep())
        try:
            yield assignment
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await streams.close()

    async def add(self, *numbers: int, **fields: Any) -> None:
        """Produce as anybody would."""
        for n in numbers:
            await self.client.xadd(STREAM, {"n": n, **fields})

    async def pending(self) -> int:
        """Entries that were handed out and not acknowledged."""
        try:
            return int((await self.client.xpending(STREAM, f"lambent:{self.uuid}"))["pending"])
        except Exception:
            return -1

    async def done(self, *numbers: int) -> None:
        """Wait until just these were in calls, and nothing is in hand."""
        wanted = [str(n) for n in numbers]
        await until(lambda: sorted(set(self.seen)) == sorted(wanted))
        await until(self.idle)

    async def idle(self) -> bool:
        """Whether nothing is in hand."""
        return await self.pending() == 0

    @property
    def seen(self) -> list[str]:
        """All numbers that were in calls."""
        return [n for call in self.function.calls for n in call]


async def until(condition: Callable[[], bool | Awaitable[bool]], *, within_s: float = 10) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


def fails_on(*bad: str) -> Handler:
    """A handler that ends with an error where one of these is in its batch."""

    def handler(records: list[dict[str, Any]]) -> None:
        if found := {each["redis"]["fields"].get("n") for each in records} & set(bad):
            raise HandlerError(str(found))

    return handler


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    """A bench with a function to which everything is fine, on an empty Valkey."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushall()
        yield Bench(redis, redis_url, Function(lambda _: None))


async def test_entries_reach_the_function_in_order(bench: Bench) -> None:
    """What was there, and what comes, is given to the function in order and acknowledged."""
    await bench.add(*range(5))
    async with bench.polling():
        await bench.done(*range(5))
        await bench.add(*range(5, 10))
        await bench.done(*range(10))
    assert bench.seen == [str(n) for n in range(10)]
    assert bench.function.calls[0] == ["0", "1", "2", "3", "4"]
    assert bench.results[-1] == PROCESSED
    record = bench.function.events[0]["Records"][0]
    assert record["eventSourceARN"] == ARN
    assert record["redis"]["fields"] == {"n": "0"}
    assert record["eventID"].endswith(record["redis"]["sequenceNumber"])


async def test_batches_have_at_most_their_size(bench: Bench) -> None:
    """A backlog is cut into batches of the size that the mapping has."""
    await bench.add(*range(25))
    async with bench.polling(batch_size=10):
        await bench.done(*range(25))
    assert [len(call) for call in bench.function.calls] == [10, 10, 5]


async def test_a_window_gathers_a_batch(bench: Bench) -> None:
    """With a window entries wait for others; a full batch does not wait for its end."""
    async with bench.polling(window_s=1, batch_size=3):
        await until(lambda: _exists(bench))
        await bench.add(1)
        await asyncio.sleep(0.2)
        assert bench.function.calls == []
        await bench.add(2, 3)
        await until(lambda: bench.function.calls == [["1", "2", "3"]], within_s=0.7)
        await bench.add(4)
        await bench.done(1, 2, 3, 4)


async def _exists(bench: Bench) -> bool:
    return await bench.pending() >= 0


@pytest.mark.parametrize(("position", "seen"), [("LATEST", ["3"]), ("TRIM_HORIZON", ["1", "2", "3"])])
async def test_starting_positions(bench: Bench, position: str, seen: list[str]) -> None:
    """LATEST begins with what comes after the mapping, TRIM_HORIZON with what there is."""
    await bench.add(1, 2)
    async with bench.polling(starting_position=position):
        await until(lambda: _exists(bench))
        await bench.add(3)
        await bench.done(*map(int, seen))
    assert bench.seen == seen


async def test_starting_at_a_moment(bench: Bench) -> None:
    """AT_TIMESTAMP begins with the first entry of that millisecond."""
    for n, entry_id in enumerate(("1000-0", "1000-5", "2000-0", "2000-1", "3000-0")):
        await bench.client.xadd(STREAM, {"n": n}, id=entry_id)
    async with bench.polling(starting_position="AT_TIMESTAMP", starting_position_ms=2000):
        await bench.done(2, 3, 4)


async def test_a_stream_is_made_where_there_is_none(bench: Bench) -> None:
    """A mapping may be there before its stream, and misses nothing of it."""
    async with bench.polling(starting_position="LATEST"):
        await until(lambda: _exists(bench))
        await bench.add(1)
        await bench.done(1)


async def test_a_failing_batch_holds_up_the_stream_until_it_succeeds(bench: Bench) -> None:
    """Without limits a batch is tried again as it was, and nothing overtakes it."""
    left = 3

    def handler(_: Any) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            raise HandlerError("not yet")

    bench.function.handler, bench.timer = handler, QuickTimer()
    await bench.add(1, 2)
    async with bench.polling():
        await until(lambda: bool(bench.function.calls))
        await bench.add(3)
        await bench.done(1, 2, 3)
    assert bench.function.calls == [["1", "2"]] * 3 + [["3"]]
    assert CALL_FAILED in bench.results
    assert bench.results[-1] == PROCESSED


async def test_bisecting_leaves_only_the_poison_in_the_dead_letter_stream(bench: Bench) -> None:
    """A batch is halved down to the entry that cannot be worked on, which ends in the dead-letter stream as it was."""
    bench.function.handler, bench.timer = fails_on("5"), QuickTimer()
    await bench.add(*range(10))
    async with bench.polling(bisect=True, retries_max=2, on_failure_arn=f"{ARN}-dead"):
        await bench.done(*range(10))
    [(_, dead)] = await bench.client.xrange(f"{STREAM}-dead")
    assert dead[b"n"] == b"5"
    assert dead[b"lambent:condition"] == b"RetryAttemptsExhausted"
    assert dead[b"lambent:stream"] == STREAM.encode()
    assert bench.function.calls.count(["5"]) == 3
    finished = [call for call in bench.function.calls if "5" not in call]
    assert [n for call in finished for n in call] == ["0", "1", "2", "3", "4", "6", "7", "8", "9"]


async def test_an_exhausted_batch_is_told_of(bench: Bench) -> None:
    """Without bisection all of a batch is given up, and a queue is told where its entries are."""
    bench.function.handler, bench.timer = fails_on("2"), QuickTimer()
    bench.deliveries.refusals = [TooManyRequests("full")]
    await bench.add(1, 2, 3)
    async with bench.polling(retries_max=1, on_failure_arn=QUEUE):
        await bench.done(1, 2, 3)
        await bench.add(4)
        await bench.done(1, 2, 3, 4)
    [(arn, body, _)] = bench.deliveries.made
    assert arn == QUEUE
    assert body["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert body["requestContext"]["approximateInvokeCount"] == 2
    assert body["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    info = body["RedisStreamBatchInfo"]
    ids = [entry_id.decode() for entry_id, _ in await bench.client.xrange(STREAM)]
    assert (info["startSequenceNumber"], info["endSequenceNumber"], info["batchSize"]) == (ids[0], ids[2], 3)


async def test_a_destination_that_is_gone_does_not_block_the_stream(bench: Bench) -> None:
    """Where a destination refuses for good the batch is given up all the same."""
    bench.function.handler, bench.timer = fails_on("1"), QuickTimer()
    bench.deliveries.refusals = [ResourceNotFound("no such queue")]
    await bench.add(1)
    async with bench.polling(retries_max=0, on_failure_arn=QUEUE):
        await bench.done(1)
        await bench.add(2)
        await bench.done(1, 2)


async def test_reported_failures_move_the_checkpoint(bench: Bench) -> None:
    """What comes before the first reported entry is done; the rest is tried again, by itself."""
    reports = ["3", "4"]

    def handler(records: list[dict[str, Any]]) -> Any:
        failed = [each["redis"]["sequenceNumber"] for each in records if each["redis"]["fields"]["n"] in reports[:1]]
        del reports[:1]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}

    bench.function.handler, bench.timer = handler, QuickTimer()
    await bench.add(1, 2, 3, 4, 5)
    async with bench.polling(report_item_failures=True):
        await bench.done(1, 2, 3, 4, 5)
    assert bench.function.calls == [["1", "2", "3", "4", "5"], ["3", "4", "5"], ["4", "5"]]


async def test_old_entries_are_given_up_unseen(bench: Bench) -> None:
    """Entries over the maximum age never reach the function, and are told of as that."""
    await bench.client.xadd(STREAM, {"n": "old"}, id="1000-0")
    await bench.add(1)
    async with bench.polling(record_age_max_s=60, on_failure_arn=f"{ARN}-dead"):
        await bench.done(1)
    assert bench.seen == ["1"]
    [(_, dead)] = await bench.client.xrange(f"{STREAM}-dead")
    assert (dead[b"n"], dead[b"lambent:condition"]) == (b"old", b"RecordAgeExceeded")


async def test_a_failing_batch_grows_too_old(bench: Bench) -> None:
    """A batch that fails is given up once event time has passed its maximum age; clocks that jump are event time."""
    timer = QuickTimer()
    timer.moved_ms = 7_200_000
    bench.function.handler, bench.timer = fails_on("1"), timer
    await bench.add(1)
    async with bench.polling(record_age_max_s=3600, on_failure_arn=f"{ARN}-dead"):
        await until(lambda: len(bench.function.calls) >= 2)
        assert await bench.client.xlen(f"{STREAM}-dead") == 0
        timer.moved_ms += 3_600_000
        await until(bench.idle)
    [(_, dead)] = await bench.client.xrange(f"{STREAM}-dead")
    assert dead[b"lambent:condition"] == b"RecordAgeExceeded"


async def test_refused_calls_use_up_no_retry(bench: Bench) -> None:
    """Throttles, and a function that is gone, are waited out; only the function's own errors count."""
    refusals: list[Exception] = [TooManyRequests("Rate Exceeded."), ResourceNotFound("gone"), TooManyRequests("")]
    real, bench.timer = bench.function.invoke, QuickTimer()

    async def invoke(*args: Any) -> Reply:
        if refusals:
            raise refusals.pop(0)
        return await real(*args)

    bench.function.invoke = invoke  # type: ignore[method-assign]
    await bench.add(1)
    async with bench.polling(retries_max=0, on_failure_arn=f"{ARN}-dead"):
        await bench.done(1)
    assert bench.results[:2] == [THROTTLED, f"{CALL_FAILED}: gone"]
    assert await bench.client.xlen(f"{STREAM}-dead") == 0


async def test_filters_hold_entries_back(bench: Bench) -> None:
    """What no filter lets through is done without a call; new filters count from then on."""
    pattern = json.dumps({"data": {"kind": ["a"], "amount": [{"numeric": [">", 5]}]}})
    async with bench.polling(filters=(pattern,)) as assignment:
        await bench.add(1, kind="a", amount="10")
        await bench.add(2, kind="b", amount="10")
        await bench.add(3, kind="a", amount="4")
        await bench.done(1)
        assignment.apply(replace(assignment.record, filters=()))
        await bench.add(4, kind="b")
        await bench.done(1, 4)


async def test_what_a_dead_poller_held_comes_again_first(bench: Bench) -> None:
    """A poller that ends with a batch in hand leaves it to the next one, which has it before anything new."""
    bench.function.held = asyncio.Event()
    await bench.add(1, 2, 3)
    async with bench.polling(batch_size=2):
        await until(lambda: bench.function.calls == [["1", "2"]])
    assert await bench.pending() >= 2
    await bench.add(4)
    bench.function.held = None
    async with bench.polling(batch_size=2):
        await bench.done(1, 2, 3, 4)
    assert bench.seen[2:] == ["1", "2", "3", "4"]


async def test_what_a_poller_before_still_took_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that a scheduler which led before reads after its successor began are not left pending."""
    monkeypatch.setattr(stream_session, "STRAYS_S", 0.1)
    async with bench.polling():
        await bench.add(1)
        await bench.done(1)
        async with bench.client.pipeline(transaction=True) as other:
            other.xadd(STREAM, {"n": 2})
            other.xreadgroup(f"lambent:{bench.uuid}", "poller", {STREAM: ">"})
            await other.execute()
        assert await bench.pending() == 1
        await asyncio.sleep(0.2)
        await bench.add(3)
        await bench.done(1, 2, 3)


async def test_retries_are_counted_across_pollers(bench: Bench) -> None:
    """How far a poison entry has got survives its poller: the retries are not begun anew."""
    bench.function.handler = fails_on("2")
    await bench.add(1, 2, 3)
    for _ in range(2):
        before = bench.function.calls.count(["2"])
        async with bench.polling(bisect=True, retries_max=1, on_failure_arn=f"{ARN}-dead"):
            await until(lambda before=before: bench.function.calls.count(["2"]) > before)
            if not before:
                await until(lambda: _noted(bench))
            else:
                await until(bench.idle)
    assert bench.function.calls.count(["2"]) == 2
    assert await bench.client.xlen(f"{STREAM}-dead") == 1
    assert bench.seen[-1] == "3"
    assert not await _noted(bench)


async def _noted(bench: Bench) -> bool:
    _, noted = await StreamNotes(bench.redis).load(bench.uuid)
    return "[" in noted and any(stream_batches.resume(["0-0"], text) for text in json.loads(noted) if text)


async def test_a_deleted_stream_is_read_from_its_new_beginning(bench: Bench) -> None:
    """A stream that is deleted and made again loses nothing, also where it was begun at its end."""
    await bench.add(0)
    async with bench.polling(starting_position="LATEST"):
        await until(lambda: _exists(bench))
        await bench.add(1)
        await bench.done(1)
        await bench.client.delete(STREAM)
        await bench.add(2, 3)
        await bench.done(1, 2, 3)


async def test_a_key_of_another_type_is_a_problem_until_it_is_gone(bench: Bench) -> None:
    """A stream that is none is said to be a problem, and read as soon as it is one."""
    await bench.client.set(STREAM, "text")
    async with bench.polling():
        await until(lambda: any("WRONGTYPE" in result for result in bench.results))
        assert bench.results[-1].startswith("PROBLEM: ")
        await bench.client.delete(STREAM)
        await bench.add(1)
        await bench.done(1)
    assert bench.results[-1] == PROCESSED


async def test_a_dead_letter_stream_of_another_type_loses_nothing(bench: Bench) -> None:
    """Where the dead-letter stream is none the batch stays, until it can be written."""
    bench.function.handler, bench.timer = fails_on("1"), QuickTimer()
    await bench.client.set(f"{STREAM}-dead", "text")
    await bench.add(1)
    async with bench.polling(retries_max=0, on_failure_arn=f"{ARN}-dead"):
        await until(lambda: any("dead-letter" in result for result in bench.results))
        assert await bench.pending() == 1
        await bench.client.delete(f"{STREAM}-dead")
        await until(bench.idle)
    assert await bench.client.xlen(f"{STREAM}-dead") == 1


async def test_disabling_waits_for_the_call_and_takes_nothing_more(bench: Bench) -> None:
    """A mapping that is disabled finishes the call in hand and leaves the rest for when it is enabled again."""
    bench.function.held = asyncio.Event()
    await bench.add(1, 2)
    async with bench.polling(batch_size=1) as assignment:
        await until(lambda: bench.function.calls == [["1"]])
        assignment.apply(replace(assignment.record, enabled=False))
        await asyncio.sleep(0.05)
        bench.function.held.set()
        await until(lambda: _pending_is(bench, 1))
        await bench.add(3)
        await asyncio.sleep(0.2)
        assert bench.seen == ["1"]
    async with bench.polling(batch_size=1):
        await bench.done(1, 2, 3)
    assert bench.seen == ["1", "2", "3"]


async def _pending_is(bench: Bench, count: int) -> bool:
    return await bench.pending() == count


async def test_deleting_takes_the_group_away(bench: Bench) -> None:
    """A mapping that is deleted leaves neither its consumer group nor notes; the stream stays."""
    await bench.add(1)
    async with bench.polling() as assignment:
        await bench.done(1)
        assignment.apply(replace(assignment.record, state="Deleting"))
        await until(lambda: _pending_is(bench, -1))
    assert await bench.client.xinfo_groups(STREAM) == []
    assert await bench.client.xlen(STREAM) == 1
    assert await StreamNotes(bench.redis).load(bench.uuid) == ("", "")


async def test_lanes_keep_order_by_partition(bench: Bench) -> None:
    """With several lanes entries of one partition stay in order, and a lane that is stuck does not hold up others."""
    bench.function.handler, bench.timer = fails_on("0"), QuickTimer()
    for n in range(40):
        await bench.add(n, partitionKey=str(n % 8))
    async with bench.polling(parallelization=4, batch_size=20) as assignment:
        await until(lambda: len(set(bench.seen)) >= 30 and bench.function.calls.count(_lane(bench)) >= 2)
        assert {"0", "8"} <= set(_lane(bench))
        bench.function.handler = lambda _: None
        await bench.done(*range(40))
        assert len(bench.function.calls) < 60
        assignment.apply(replace(assignment.record, parallelization=1))
        await bench.add(40, partitionKey="1")
        await bench.done(*range(41))
    for key in range(8):
        first_seen = list(dict.fromkeys(n for n in bench.seen if int(n) % 8 == key))
        assert first_seen == sorted(first_seen, key=int)


def _lane(bench: Bench) -> list[str]:
    return next(call for call in bench.function.calls if "0" in call)


async def test_a_call_holds_no_more_than_fits(bench: Bench) -> None:
    """Batches are cut at the size of a call; an entry that fits none is given up rather than blocking the stream."""
    for n, size in enumerate((2_500_000, 2_500_000, 2_500_000, 7_000_000, 10)):
        await bench.add(n, body="x" * size)
    async with bench.polling(on_failure_arn=f"{ARN}-dead"):
        await bench.done(0, 1, 2, 4)
    assert bench.seen == ["0", "1", "2", "4"]
    assert all(len(call) <= 2 for call in bench.function.calls)
    [(_, dead)] = await bench.client.xrange(f"{STREAM}-dead")
    assert (dead[b"n"], dead[b"lambent:condition"], len(dead[b"body"])) == (b"3", b"PayloadSizeExceeded", 7_000_000)


async def test_trimmed_entries_do_no_harm(bench: Bench) -> None:
    """What was trimmed from the stream while a poller held it is passed over."""
    bench.function.held = asyncio.Event()
    await bench.add(1, 2)
    async with bench.polling():
        await until(lambda: bool(bench.function.calls))
    await bench.client.xtrim(STREAM, maxlen=0)
    bench.function.held = None
    await bench.add(3)
    async with bench.polling():
        await until(lambda: "3" in bench.seen)
        await until(bench.idle)


async def test_bytes_arrive_as_base64(bench: Bench) -> None:
    """Values that are no text come whole."""
    await bench.client.xadd(STREAM, {"n": 1, "photo": b"\xff\xfe"})
    async with bench.polling():
        await bench.done(1)
    content = bench.function.events[0]["Records"][0]["redis"]
    assert content["fields"]["photo"] == "//4="
    assert content["binaryFields"] == ["photo"]


async def test_groups_of_mappings_that_are_gone_are_found(bench: Bench) -> None:
    """A group whose mapping was deleted while nobody could drop it is dropped by whoever polls next."""
    async with bench.polling():
        await until(lambda: _exists(bench))
    assert len(await bench.client.xinfo_groups(STREAM)) == 1
    store, other = MappingStore(bench.redis), replace(bench, uuid=str(uuid.uuid4()))
    made = await store.load(bench.uuid)
    assert made is not None
    assert await store.delete(made)
    await bench.add(1)
    async with other.polling():
        await other.done(1)
    groups = [group["name"].decode() for group in await bench.client.xinfo_groups(STREAM)]
    assert groups == [f"lambent:{other.uuid}"]
    assert list(await StreamNotes(bench.redis).streams()) == [other.uuid]


async def test_streams_may_be_elsewhere_and_go_away(bench: Bench) -> None:
    """With streams on another Redis that is killed and comes back, a problem is shown and nothing lost."""
    with tempfile.TemporaryDirectory(prefix="lambent-test-") as folder:
        server = EmbeddedValkey(Path(folder) / "data", Path(folder) / "valkey.sock", "always")
        process = started(server)
        bench.streams_url = server.url
        producer = redis.asyncio.Redis.from_url(server.url)
        try:
            async with bench.polling(batch_size=2):
                await producer.xadd(STREAM, {"n": 0})
                await until(lambda: bench.seen == ["0"])
                bench.function.held = asyncio.Event()
                for n in range(1, 5):
                    await producer.xadd(STREAM, {"n": n})
                await until(lambda: len(bench.seen) >= 2)
                process.kill()
                process.wait()
                bench.function.held.set()
                await until(lambda: any(each.startswith("PROBLEM: Redis stream") for each in bench.results))
                process = started(server)
                await until(lambda: set(bench.seen) == {"0", "1", "2", "3", "4"})
                await until(lambda: bench.results[-1] == PROCESSED)
        finally:
            await producer.aclose()
            process.kill()
            process.wait()


def started(server: EmbeddedValkey) -> subprocess.Popen[bytes]:
    """Start a server of its own, and wait until it listens."""
    server.prepare()
    process = subprocess.Popen(server.argv(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not server.socket.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process
