"""Streamed responses through a real worker: sent as they come, held up by a caller that is behind, ended once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from lambent_platform.contracts.errors import ApiError
from lambent_platform.contracts.limits import STREAM_WINDOW_BYTES, SYNC_PAYLOAD_BYTES
from lambent_platform.contracts.response_streams import Credit
from lambent_platform.store.response_streams import ResponseStreamStore

SOURCE = """
import sys, time
def large(event):
    for n in range(event["parts"]):
        print("made", n)
        yield b"%08d" % n + b"x" * 65528
def handler(event, context):
    if event.get("parts"):
        yield from large(event)
        return
    for n in range(event.get("n", 2)):
        yield f"part {n};"
        print("said", n)
        time.sleep(event.get("pause", 0))
    if "fail" in event:
        raise ValueError(event["fail"])
    if "exit" in event:
        sys.exit(3)
"""
BASH = """#!/bin/sh
base="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  event=$(curl -sS -D /tmp/head "$base/invocation/next")
  id=$(tr -d '\\r' < /tmp/head | grep -i aws-request-id | cut -d' ' -f2)
  [ "$event" = '"die"' ] && { sleep 0.3; kill -9 $$; } &
  { echo one; sleep 0.4; [ "$event" = '"break"' ] && kill "$(cat /tmp/sender)"; sleep 0.1; echo "$event"; } | {
    sh -c 'echo $$ > /tmp/sender; exec curl "$@"' - -sS -X POST -T - "$base/invocation/$id/response" \\
      -H 'Transfer-Encoding: chunked' -H 'Lambda-Runtime-Function-Response-Mode: streaming' \\
      -H 'Content-Type: text/x' > /tmp/answer
  }
  echo "answered $(cat /tmp/answer)"
done
"""


async def box_bytes(bench: Any) -> int:
    """How much waits on Redis for the gateway."""
    home = bench.redis.keys.home
    boxes = [await bench.redis.client.lrange(f"{home}{name}:g", 0, -1) for name in ("parts", "replies")]
    return sum(len(one) for box in boxes for one in box)


async def test_parts_come_before_the_end(bench: Any) -> None:
    """The first part is there while the handler still runs; log, slot and lease are those of any call."""
    version = await bench.deploy(SOURCE)
    loop = asyncio.get_running_loop()
    async with bench.stream(version, {"n": 3, "pause": 0.3}, log_tail=True) as found:
        times, parts = [], []
        async for part in found:
            times.append(loop.time())
            parts.append(part)
            if len(parts) == 1:
                assert len(await bench.held()) == 1
        assert loop.time() - times[0] > 0.7
        assert (parts, found.content_type) == ([b"part 0;", b"part 1;", b"part 2;"], "text/plain; charset=utf-8")
        assert found.end is not None
        assert found.end.log_tail
        assert found.end.executed_version == "$LATEST"
    lines = await bench.lines("said 2", "REPORT")
    [report] = [line for line in lines if line.startswith("REPORT")]
    assert 900 <= float(report.split("Duration: ")[1].split(" ms")[0]) < 5000
    assert await bench.held() == {}
    assert await bench.idle(version) == 1


async def test_streams_and_plain_calls(bench: Any) -> None:
    """A generator called plainly is collected, a plain function called for a stream is one part; errors are theirs."""
    version = await bench.deploy(SOURCE)
    plain = await bench.deploy("def handler(event, context):\n    return 1 / event['by']")
    assert (await bench.invoke(version, {})).payload == b"part 0;part 1;"
    assert (await bench.fail(version, {"fail": "x"}))["errorType"] == "ValueError"
    data, end = await bench.read(plain, {"by": 2})
    assert (data, end.function_error, end.streamed) == (b"0.5", "", None)
    data, end = await bench.read(plain, {"by": 0})
    assert (data, end.function_error, json.loads(end.payload)["errorType"]) == (b"", "Unhandled", "ZeroDivisionError")


async def test_errors_in_mid_stream(bench: Any) -> None:
    """An exception, an exit and a timeout end the stream with Lambda's errors, after what was sent."""
    version = await bench.deploy(SOURCE, timeout_s=1)
    for event, kind in (
        ({"fail": "x"}, "ValueError"),
        ({"exit": 1}, "Runtime.ExitError"),
        ({"n": 2, "pause": 5}, "Sandbox.Timedout"),
    ):
        data, end = await bench.read(version, event)
        assert data.startswith(b"part 0;")
        assert (end.function_error, json.loads(end.payload)["errorType"]) == ("Unhandled", kind)
        assert await bench.held() == {}
    assert (await bench.invoke(version, {})).payload == b"part 0;part 1;"


async def test_a_caller_that_is_behind_holds_the_handler_up(bench: Any) -> None:
    """A caller that takes nothing stops the handler, with bounds on what is kept; one that goes on gets everything."""
    version = await bench.deploy(SOURCE, timeout_s=20)
    async with bench.stream(version, {"parts": 200}) as found:
        first = await anext(found)
        await asyncio.sleep(1.0)
        made = [event.message for event in bench.logs.events if event.message.startswith("made")]
        assert len(made) < 60, "the handler ran on"
        await asyncio.sleep(1.0)
        assert len([event for event in bench.logs.events if event.message.startswith("made")]) == len(made)
        assert found._received <= STREAM_WINDOW_BYTES
        assert await box_bytes(bench) <= STREAM_WINDOW_BYTES
        data = first + b"".join([part async for part in found])
        assert found.end is not None
        assert not found.end.function_error
    assert len(data) == 200 * 65536
    assert [int(data[at : at + 8]) for at in range(0, len(data), 65536)] == list(range(200))
    assert await bench.held() == {}


async def test_a_caller_that_leaves(bench: Any) -> None:
    """The function of a caller that hung up runs to its end without being held up, and nothing more is sent."""
    version = await bench.deploy(SOURCE, timeout_s=20)
    async with bench.stream(version, {"parts": 400}) as found:
        await anext(found)
    await bench.lines("made 399", "REPORT")
    await bench.until(lambda: not bench.worker._streams._streams)
    assert await bench.held() == {}
    assert await bench.idle(version) == 1
    assert await box_bytes(bench) <= STREAM_WINDOW_BYTES
    assert (await bench.invoke(version, {})).payload == b"part 0;part 1;"


async def test_a_gateway_that_dies(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose gateway is gone is not held up until the function's timeout."""
    monkeypatch.setattr("lambent_workers.streams.PROBE_S", 0.2)
    version = await bench.deploy(SOURCE, timeout_s=20)
    async with bench.stream(version, {"parts": 400}) as found:
        await anext(found)
        await bench.fleet.forget_gateway("g")
        await bench.until(lambda: any("made 399" in event.message for event in bench.logs.events), within_s=12)
        found.deadline_s = 0  # nobody answers it any more


async def test_limits(make: Any) -> None:
    """More than a stream may have ends the call at once; more than a buffered reply may have ends with it."""
    async with make(stream_bytes_max=1_000_000) as bench:
        version = await bench.deploy(SOURCE, timeout_s=20)
        data, end = await bench.read(version, {"parts": 100_000})
        assert len(data) == 1_000_000
        error = json.loads(end.payload)
        assert error["errorType"] == "Function.ResponseSizeTooLarge"
        assert "1000000" in error["errorMessage"]
        assert await bench.held() == {}
        reply = await bench.invoke(version, {"parts": 120})
        error = json.loads(reply.payload)
        assert error["errorType"] == "Function.ResponseSizeTooLarge"
        assert str(SYNC_PAYLOAD_BYTES) in error["errorMessage"]
        await bench.lines("made 119")
        data, _ = await bench.read(version, {})
        assert data == b"part 0;part 1;"


async def test_a_worker_that_ends_in_mid_stream(bench: Any) -> None:
    """A caller whose worker is given up gets the platform's error, never an end."""
    version = await bench.deploy(SOURCE, timeout_s=20)
    async with bench.stream(version, {"n": 2, "pause": 10}) as found:
        assert await anext(found) == b"part 0;"
        now_ms = await bench.redis.now_ms()
        assert await bench.fleet.bury("w", now_ms=now_ms, lease_ms=0, code="ServiceException", message="gone") == []
        with pytest.raises(ApiError):
            await anext(found)


async def test_a_custom_runtime(bench: Any) -> None:
    """A shell script streams over the Runtime API, by curl; broken off, or dying, it is an error."""
    version = await bench.deploy(files={"bootstrap": BASH}, runtime="provided.al2023", handler="x", timeout_s=10)
    loop = asyncio.get_running_loop()
    async with bench.stream(version, "ev") as found:
        first = await anext(found)
        began = loop.time()
        data = first + b"".join([part async for part in found])
        assert loop.time() - began > 0.2
        assert (data, found.content_type) == (b'one\n"ev"\n', "text/x")
    assert (await bench.invoke(version, "plain")).payload == b'one\n"plain"\n'
    await bench.lines('answered {"status":"OK"}')
    for event, kind in (("break", "Runtime.TruncatedResponse"), ("die", "Runtime.ExitError")):
        data, end = await bench.read(version, event)
        assert data == b"one\n"
        assert (end.function_error, json.loads(end.payload)["errorType"]) == ("Unhandled", kind)
    assert (await bench.invoke(version, "plain")).payload == b'one\n"plain"\n'


async def test_events_that_stream(bench: Any) -> None:
    """An asynchronous event whose function streams is an event like any other."""
    version = await bench.deploy(SOURCE)
    await bench.start(version)
    await bench.send(version, {"n": 1})
    await bench.lines("said 0", "REPORT")
    await bench.until(lambda: not bench.worker._streams._streams)
    assert await bench.held() == {}


async def test_streams_beside_calls(bench: Any) -> None:
    """Several streams and plain calls at once come to the right callers."""
    version = await bench.deploy(SOURCE)
    plain = await bench.deploy("def handler(event, context):\n    return event")
    results = await asyncio.gather(
        *(bench.read(version, {"parts": 20 + n}) for n in range(3)),
        *(bench.call(plain, n) for n in range(30)),
    )
    streams, calls = results[:3], results[3:]
    assert [len(data) for data, _ in streams] == [(20 + n) * 65536 for n in range(3)]
    assert calls == list(range(30))


async def test_credit_for_nothing(bench: Any) -> None:
    """A word about a stream that has ended, or for a worker that is gone, changes nothing and is not kept."""
    store = ResponseStreamStore(bench.redis)
    await store.credit([("w", Credit("none", 5)), ("gone", Credit("none", 5))])
    assert await bench.redis.client.exists(f"{bench.redis.keys.home}inbox:gone") == 0
    version = await bench.deploy(SOURCE)
    assert (await bench.read(version, {}))[0] == b"part 0;part 1;"
