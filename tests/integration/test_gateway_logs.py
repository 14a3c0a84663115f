"""CloudWatch Logs over a real store, with boto3 as the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.gateway import logs_reading
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.logs_api import BATCH_BYTES_MAX, LogOperations
from lambent_platform.store.logs import LogEvent, LogStore
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import open_redis

GROUP = "/aws/lambda/hello"
ARN = f"arn:aws:logs:us-east-1:000000000000:log-group:{GROUP}"
NOW_MS = SystemClock().now_ms()
T0 = NOW_MS - 3_600_000


@dataclass
class Logs:
    """The API's client and the store behind it."""

    client: Any
    store: LogStore

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call an operation off the event loop."""
        run: Callable[..., dict[str, Any]] = getattr(self.client, method)
        return await asyncio.to_thread(run, **params)

    async def refused(self, method: str, **params: Any) -> str:
        """The code of a call that must fail."""
        with pytest.raises(ClientError) as caught:
            await self.call(method, **params)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        return str(caught.value.response["Error"]["Code"])

    async def write(self, *messages: str, stream: str = "a", group: str = GROUP, start_ms: int = T0) -> None:
        """Store lines a second apart."""
        events = [LogEvent(start_ms + 1000 * n, stream, message) for n, message in enumerate(messages)]
        await self.store.append(group, events)

    async def messages(self, method: str = "filter_log_events", **params: Any) -> list[str]:
        """The texts of one page."""
        page = await self.call(method, logGroupName=GROUP, **params)
        return [event["message"] for event in page["events"]]


@pytest.fixture
async def logs(redis_url: str, tmp_path: Path) -> AsyncIterator[Logs]:
    """An empty store behind a running gateway."""
    async with open_redis(redis_url, partitions=2) as redis:
        await redis.client.flushall()
        store = LogStore(redis, ObjectStore.local(tmp_path / "objects"))
        registry = Registry()
        registry.serve("logs", LogOperations(store))
        async with listening(make_app(registry), "127.0.0.1", 0) as port:
            client = boto3.client(
                "logs", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", aws_access_key_id="a",
                aws_secret_access_key="s", config=Config(retries={"max_attempts": 0}, read_timeout=20),
            )  # fmt: skip
            yield Logs(client, store)


async def test_groups_are_listed_by_name(logs: Logs) -> None:
    """Prefix, pattern and pages choose among the groups of one region; the ARN is Lambda users' own."""
    for name in ("c", "a", "b"):
        await logs.write("x", group=f"/aws/lambda/{name}")
    await logs.write("x", group="/other/a")
    await logs.store.at("000000000000", "eu-west-1").append("/aws/lambda/z", [LogEvent(T0, "s", "x")])

    async def names(**params: Any) -> list[str]:
        page = await logs.call("describe_log_groups", **params)
        return [group["logGroupName"] for group in page["logGroups"]]

    assert await names(logGroupNamePrefix="/aws/lambda/") == ["/aws/lambda/a", "/aws/lambda/b", "/aws/lambda/c"]
    assert await names(logGroupNamePattern="A/A") == ["/aws/lambda/a"]
    assert await names(logGroupNamePrefix="/none") == []
    first = await logs.call("describe_log_groups", limit=3)
    second = await logs.call("describe_log_groups", limit=3, nextToken=first["nextToken"])
    assert [len(first["logGroups"]), len(second["logGroups"])] == [3, 1]
    assert "nextToken" not in second
    group = first["logGroups"][0]
    assert group["arn"] == "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/a:*"
    assert group["storedBytes"] > 0
    assert group["creationTime"] >= NOW_MS
    assert await logs.refused("describe_log_groups", logGroupNamePrefix="a", logGroupNamePattern="b") == (
        "InvalidParameterException"
    )


async def test_streams_are_listed_by_name_or_time(logs: Logs) -> None:
    """Order, direction, prefix and pages."""
    for number, name in enumerate(("b", "a", "c")):
        await logs.write("1", "2", stream=name, start_ms=T0 + 10_000 * number)

    async def names(**params: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = await logs.call("describe_log_streams", logGroupName=GROUP, limit=1, **params)
            found += [stream["logStreamName"] for stream in page["logStreams"]]
            if "nextToken" not in page:
                return found
            params["nextToken"] = page["nextToken"]

    assert await names() == ["a", "b", "c"]
    assert await names(descending=True) == ["c", "b", "a"]
    assert await names(orderBy="LastEventTime") == ["b", "a", "c"]
    assert await names(orderBy="LastEventTime", descending=True) == ["c", "a", "b"]
    assert await names(logStreamNamePrefix="c") == ["c"]
    (stream,) = (await logs.call("describe_log_streams", logGroupIdentifier=ARN, logStreamNamePrefix="b"))["logStreams"]
    assert (stream["firstEventTimestamp"], stream["lastEventTimestamp"]) == (T0, T0 + 1000)
    assert stream["arn"] == f"{ARN}:log-stream:b"
    refused = await logs.refused(
        "describe_log_streams", logGroupName=GROUP, orderBy="LastEventTime", logStreamNamePrefix="b"
    )
    assert refused == "InvalidParameterException"


async def test_filtering_by_time_stream_and_pattern(logs: Logs) -> None:
    """Both ends of the time belong to the range; streams by name or prefix; patterns by term."""
    await logs.write("START one", "ERROR two", "END three")
    await logs.write("ERROR four", stream="ab", start_ms=T0 + 500)
    assert await logs.messages() == ["START one", "ERROR four", "ERROR two", "END three"]
    assert await logs.messages(startTime=T0 + 500, endTime=T0 + 1000) == ["ERROR four", "ERROR two"]
    assert await logs.messages(logStreamNames=["ab"]) == ["ERROR four"]
    assert await logs.messages(logStreamNamePrefix="a") == ["START one", "ERROR four", "ERROR two", "END three"]
    assert await logs.messages(logStreamNamePrefix="z") == []
    assert await logs.messages(filterPattern="ERROR -two") == ["ERROR four"]
    assert await logs.messages(filterPattern='?START ?"END three"') == ["START one", "END three"]
    assert await logs.refused("filter_log_events", logGroupName=GROUP, filterPattern="{ $.a = 1 }") == (
        "InvalidParameterException"
    )
    (event, *_) = (await logs.call("filter_log_events", logGroupIdentifier=ARN))["events"]
    assert (event["logStreamName"], event["timestamp"], event["message"]) == ("a", T0, "START one")
    assert event["ingestionTime"] >= NOW_MS
    assert event["eventId"].isdigit()


async def test_filter_pages_neither_lose_nor_repeat(logs: Logs) -> None:
    """Small pages, with and without a pattern, give every line once, lines of one millisecond included."""
    lines = [f"line {n:03d} {'odd' if n % 2 else 'even'}" for n in range(60)]
    await logs.store.append(GROUP, [LogEvent(T0 + n // 5, "a", line) for n, line in enumerate(lines)])

    def read(pattern: str) -> list[str]:
        pages = logs.client.get_paginator("filter_log_events").paginate(
            logGroupName=GROUP, filterPattern=pattern, PaginationConfig={"PageSize": 7}
        )
        return [event["message"] for page in pages for event in page["events"]]

    assert await asyncio.to_thread(read, "") == lines
    assert await asyncio.to_thread(read, "odd") == lines[1::2]


async def test_a_page_is_bounded_in_bytes(logs: Logs) -> None:
    """Long lines make short pages, forwards, backwards and filtered; nothing is lost between them."""
    lines = [f"{n}" + "x" * 300_000 for n in range(9)]
    await logs.write(*lines)
    token: dict[str, str] = {}
    found: list[str] = []
    while True:
        page = await logs.call("filter_log_events", logGroupName=GROUP, **token)
        assert sum(len(event["message"]) for event in page["events"]) <= logs_reading.PAGE_BYTES_MAX
        found += [event["message"] for event in page["events"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == lines
    newest = await logs.messages("get_log_events", logStreamName="a")
    assert newest == lines[-3:]
    assert await logs.messages("get_log_events", logStreamName="a", startFromHead=True) == lines[:3]


async def test_a_read_that_finds_little_goes_on_by_token(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request reads so much and no more: it may answer with nothing but a token, which leads to the rest."""
    monkeypatch.setattr(logs_reading, "PAGE_EVENTS_MAX", 2)
    monkeypatch.setattr(logs_reading, "READS_MAX", 2)
    await logs.write(*("dull" for _ in range(9)), "found")
    page = await logs.call("filter_log_events", logGroupName=GROUP, filterPattern="found")
    assert page["events"] == []
    pages = 1
    while "nextToken" in page:
        page = await logs.call(
            "filter_log_events", logGroupName=GROUP, filterPattern="found", nextToken=page["nextToken"]
        )
        pages += 1
    assert [event["message"] for event in page["events"]] == ["found"]
    assert pages == 3


async def test_following_a_group_as_tail_does(logs: Logs) -> None:
    """From the time of the newest line on, a follower sees each new line and knows the old ones by their ids."""
    stream = "2026/01/02/[$LATEST]0123456789abcdef0123456789abcdef"
    await logs.write("one", "two", stream=stream)
    assert await logs.messages("get_log_events", logStreamName=stream) == ["one", "two"]
    seen: dict[str, str] = {}
    start_ms = T0

    async def poll() -> None:
        nonlocal start_ms
        page = await logs.call("filter_log_events", logGroupName=GROUP, startTime=start_ms, interleaved=True)
        for event in page["events"]:
            seen[event["eventId"]] = event["message"]
            start_ms = event["timestamp"]

    await poll()
    await poll()
    await logs.write("three", stream="b", start_ms=T0 + 1000)
    await poll()
    assert list(seen.values()) == ["one", "two", "three"]


async def test_one_stream_is_read_in_both_directions(logs: Logs) -> None:
    """The newest lines come first; tokens go back to the beginning and on to what is written later."""
    # Far apart, so that the windows of a backward read must grow.
    times = [T0 - 40 * 86_400_000, T0 - 3_600_000, T0 - 1000, T0, T0]
    await logs.store.append(GROUP, [LogEvent(at, "a", f"{n}") for n, at in enumerate(times)])
    await logs.write("other", stream="b")

    async def page(**params: Any) -> tuple[list[str], str, str]:
        found = await logs.call("get_log_events", logGroupName=GROUP, logStreamName="a", limit=2, **params)
        return [e["message"] for e in found["events"]], found["nextForwardToken"], found["nextBackwardToken"]

    newest, forward, backward = await page()
    assert newest == ["3", "4"]
    middle, _, backward = await page(nextToken=backward)
    assert middle == ["1", "2"]
    oldest, onward, backward = await page(nextToken=backward)
    assert oldest == ["0"]
    assert await page(nextToken=backward) == ([], backward.replace("b/", "f/"), backward)
    assert (await page(nextToken=onward))[0] == ["1", "2"]
    assert await page(nextToken=forward) == ([], forward, forward.replace("f/", "b/"))
    await logs.write("5", start_ms=T0 + 1)
    assert (await page(nextToken=forward))[0] == ["5"]
    assert (await page(startFromHead=True))[0] == ["0", "1"]
    assert (await page(startTime=T0 - 3_600_000, endTime=T0))[0] == ["1", "2"]
    assert (await page(startFromHead=True, startTime=T0 - 1000, endTime=T0))[0] == ["2"]


async def test_functions_write_lines_of_their_own(logs: Logs) -> None:
    """Create a group and a stream, put lines, read them; each exists once and must exist."""
    await logs.call("create_log_group", logGroupName="/mine")
    assert await logs.refused("create_log_group", logGroupName="/mine") == "ResourceAlreadyExistsException"
    target = {"logGroupName": "/mine", "logStreamName": "s"}
    line = {"timestamp": NOW_MS, "message": "m"}
    assert await logs.refused("put_log_events", **target, logEvents=[line]) == "ResourceNotFoundException"
    await logs.call("create_log_stream", **target)
    assert await logs.refused("create_log_stream", **target) == "ResourceAlreadyExistsException"
    assert (await logs.call("get_log_events", **target))["events"] == []
    assert "rejectedLogEventsInfo" not in await logs.call("put_log_events", **target, logEvents=[line])
    old, new = {"timestamp": 1, "message": "old"}, {"timestamp": NOW_MS + 10 * 3_600_000, "message": "new"}
    reply = await logs.call("put_log_events", **target, logEvents=[old, line, new])
    assert reply["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2}
    events = (await logs.call("get_log_events", **target))["events"]
    assert [event["message"] for event in events] == ["m", "m"]
    assert await logs.refused("put_log_events", **target, logEvents=[line, old]) == "InvalidParameterException"
    long = {"timestamp": NOW_MS, "message": "x" * BATCH_BYTES_MAX}
    assert await logs.refused("put_log_events", **target, logEvents=[long]) == "InvalidParameterException"


async def test_a_deleted_group_is_gone(logs: Logs) -> None:
    """Deleting takes the group with its lines, once."""
    await logs.write("x")
    await logs.call("delete_log_group", logGroupName=GROUP)
    assert (await logs.call("describe_log_groups"))["logGroups"] == []
    assert await logs.refused("delete_log_group", logGroupName=GROUP) == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("filter_log_events", {"logGroupName": "/none"}, "ResourceNotFoundException"),
        ("filter_log_events", {"logGroupName": "/aws/lambda/hell"}, "ResourceNotFoundException"),
        ("filter_log_events", {}, "InvalidParameterException"),
        ("filter_log_events", {"logGroupName": GROUP, "logGroupIdentifier": GROUP}, "InvalidParameterException"),
        ("filter_log_events", {"logGroupName": GROUP, "nextToken": "bogus"}, "InvalidParameterException"),
        ("filter_log_events", {"logGroupName": GROUP, "nextToken": "at:x/y"}, "InvalidParameterException"),
        ("filter_log_events", {"logGroupName": GROUP, "nextToken": "in:x"}, "InvalidParameterException"),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "logStreamNames": ["a"], "logStreamNamePrefix": "a"},
            "InvalidParameterException",
        ),
        ("get_log_events", {"logGroupName": GROUP, "logStreamName": "none"}, "ResourceNotFoundException"),
        (
            "get_log_events",
            {"logGroupName": GROUP, "logStreamName": "a", "nextToken": "z/1/"},
            "InvalidParameterException",
        ),
        (
            "get_log_events",
            {"logGroupName": GROUP, "logStreamName": "a", "nextToken": "f/x"},
            "InvalidParameterException",
        ),
        ("describe_log_streams", {"logGroupName": GROUP, "nextToken": "?"}, "InvalidParameterException"),
        ("describe_log_streams", {"logGroupName": "/none"}, "ResourceNotFoundException"),
        ("put_retention_policy", {"logGroupName": GROUP, "retentionInDays": 7}, None),
    ],
)
async def test_mistakes(logs: Logs, method: str, params: dict[str, Any], code: str | None) -> None:
    """Each mistake has CloudWatch's own code; what is not served says so."""
    await logs.write("x")
    if code is None:
        with pytest.raises(ClientError, match="PutRetentionPolicy"):
            await logs.call(method, **params)
    else:
        assert await logs.refused(method, **params) == code
