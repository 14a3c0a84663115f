"""Calls through a worker: results, errors, logs, timeouts, deaths."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import time
from typing import Any

import pytest

from lambent_platform.contracts.environment import EnvironmentState
from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES

SOURCE = """
import os, signal, sys, time

def handler(event, context):
    kind = event.get("kind")
    if kind == "env":
        return {**os.environ, "cwd": os.getcwd(), "id": context.aws_request_id}
    if kind == "raise":
        raise ValueError("bad")
    if kind == "sleep":
        time.sleep(event["s"])
    if kind == "exit":
        sys.exit(event["code"])
    if kind == "signal":
        os.kill(os.getpid(), event["signal"])
        time.sleep(5)
    if kind == "large":
        return "x" * event["n"]
    if kind == "print":
        print("printed by", context.aws_request_id)
        sys.stdout.write("unended")
    return {"pid": os.getpid(), "stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]}
"""


async def test_a_cold_and_warm_calls(bench: Any) -> None:
    """The first call starts an environment; the next ones run in it, and slots are given back each time."""
    version = await bench.deploy(SOURCE)
    first = await bench.call(version, {})
    assert [await bench.call(version, {}) for _ in range(20)] == [first] * 20
    await bench.until(lambda: [e.state for e in bench.worker.environments.values()] == [EnvironmentState.READY])
    await asyncio.sleep(0.1)
    assert (await bench.idle(version), await bench.held()) == (1, {})


async def test_what_a_handler_sees(bench: Any) -> None:
    """The environment variables are Lambda's, the function's own among them, and none of the platform's."""
    version = await bench.deploy(SOURCE, environment={"MINE": "1", "TZ": "Asia/Tokyo"}, memory_mb=256)
    seen = await bench.call(version, {"kind": "env"})
    assert (seen["MINE"], seen["TZ"], seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) == ("1", "Asia/Tokyo", "256")
    assert (seen["_HANDLER"], seen["AWS_LAMBDA_FUNCTION_NAME"]) == ("app.handler", version.name)
    assert (seen["AWS_REGION"], seen["AWS_DEFAULT_REGION"]) == ("us-east-1", "us-east-1")
    assert seen["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{version.runtime}"
    assert seen["AWS_LAMBDA_LOG_GROUP_NAME"] == f"/aws/lambda/{version.name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", seen["AWS_LAMBDA_LOG_STREAM_NAME"])
    assert seen["cwd"] == seen["LAMBDA_TASK_ROOT"]
    assert seen["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"} <= set(seen)
    assert not [name for name in seen if name.startswith("LAMBENT")]


async def test_the_log_of_a_call(bench: Any) -> None:
    """Lambda's lines are around what the handler printed; the tail holds this call's lines alone."""
    version = await bench.deploy(SOURCE)
    await bench.call(version, {})
    reply = await bench.invoke(version, {"kind": "print"}, log_tail=True)
    tail = base64.b64decode(reply.log_tail).decode().splitlines()
    request_id = tail[0].split()[2]
    assert tail[:4] == [
        f"START RequestId: {request_id} Version: $LATEST",
        f"printed by {request_id}",
        "unended",
        f"END RequestId: {request_id}",
    ]
    assert re.fullmatch(
        rf"REPORT RequestId: {request_id}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: [1-9]\d* MB\t", tail[4],
    )  # fmt: skip
    lines = await bench.lines("INIT_START", "END RequestId: " + request_id)
    assert lines[0].startswith("INIT_START Runtime Version: python:3.")
    assert sum("Init Duration" in line for line in lines) == 1
    assert re.search(r"Init Duration: [\d.]+ ms", next(line for line in lines if line.startswith("REPORT")))


async def test_errors_and_sizes(bench: Any) -> None:
    """A handler's error is its own; a result over 6 MB is Lambda's error; both leave the environment in use."""
    version = await bench.deploy(SOURCE)
    first = await bench.call(version, {})
    error = await bench.fail(version, {"kind": "raise"})
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "bad")
    assert error["stackTrace"][0].endswith('in handler\n    raise ValueError("bad")\n')
    error = await bench.fail(version, {"kind": "large", "n": SYNC_PAYLOAD_BYTES})
    assert error["errorType"] == "Function.ResponseSizeTooLarge"
    assert len(await bench.call(version, {"kind": "large", "n": SYNC_PAYLOAD_BYTES - 2})) == SYNC_PAYLOAD_BYTES - 2
    assert await bench.call(version, {}) == first


async def test_a_timeout_is_hard(bench: Any) -> None:
    """At its timeout a call is answered, its process is killed from outside, and a new environment takes the next."""
    version = await bench.deploy(SOURCE, timeout_s=1)
    first = await bench.call(version, {})
    began = time.monotonic()
    error = await bench.fail(version, {"kind": "sleep", "s": 30})
    assert 0.9 < time.monotonic() - began < 2.0
    assert error["errorType"] == "Sandbox.Timedout"
    assert re.fullmatch(r"RequestId: \S{36} Error: Task timed out after 1\.00 seconds", error["errorMessage"])
    assert (await bench.call(version, {}))["stream"] != first["stream"]
    await bench.until(lambda: len(list((bench.folder / "env").iterdir())) == 1)
    await bench.lines("Task timed out after 1.00 seconds", "Status: timeout")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"kind": "exit", "code": 0}, "Runtime exited without providing a reason"),
        ({"kind": "exit", "code": 127}, "Runtime exited with error: exit status 127"),
        ({"kind": "signal", "signal": signal.SIGKILL}, "Runtime exited with error: signal: killed"),
        ({"kind": "signal", "signal": signal.SIGSEGV}, "Runtime exited with error: signal: segmentation fault"),
    ],
)
async def test_deaths_in_mid_call(bench: Any, event: dict[str, Any], reason: str) -> None:
    """A process that ends in mid-call is reported at once, in Lambda's words, and the next call has a new one."""
    version = await bench.deploy(SOURCE, timeout_s=30)
    first = await bench.call(version, {})
    began = time.monotonic()
    error = await bench.fail(version, event)
    assert time.monotonic() - began < 2.0
    assert error["errorType"] == "Runtime.ExitError"
    assert re.fullmatch(rf"RequestId: \S{{36}} Error: {reason}", error["errorMessage"])
    assert (await bench.call(version, {}))["stream"] != first["stream"]


async def test_init_errors(bench: Any) -> None:
    """An init that fails answers the call that waits for it, each time anew; nothing is left of it."""
    version = await bench.deploy("import absent")
    for _ in range(2):
        error = await bench.fail(version)
        assert (error["errorType"], error["requestId"]) == ("Runtime.ImportModuleError", "")
    dies = await bench.deploy("import os; os._exit(3)")
    error = await bench.fail(dies)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    await bench.until(lambda: not bench.worker.environments)
    assert (await bench.held(), await bench.idle(version)) == ({}, 0)
    await bench.lines("Phase: init\tStatus: error\tError Type: Runtime.ImportModuleError")


async def test_a_long_init_counts_against_the_call(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the init phase a handler that is still loading has the call's own timeout, no more."""
    monkeypatch.setattr("lambent_workers.environment.INIT_TIMEOUT_S", 0.5)
    slow = await bench.deploy("import time; time.sleep(1.2)\ndef handler(e, c): return 'at last'", timeout_s=3)
    assert await bench.call(slow) == "at last"
    never = await bench.deploy("import time; time.sleep(60)\ndef handler(e, c): pass", timeout_s=1)
    error = await bench.fail(never)
    assert error["errorType"] == "Sandbox.Timedout"
    await bench.lines("Phase: init\tStatus: timeout")


async def test_an_idle_environment_that_dies(bench: Any) -> None:
    """The death of an idle environment is noticed at once: its slot goes, and no call is placed on it."""
    version = await bench.deploy(SOURCE)
    await bench.call(version, {})
    await asyncio.sleep(0.1)
    [environment] = bench.worker.environments.values()
    pid = int(re.sub(r"\D", "", environment.label))
    os.kill(pid, signal.SIGKILL)
    await bench.until(lambda: not bench.worker.environments, within_s=2)
    await asyncio.sleep(0.1)
    assert await bench.idle(version) == 0
    assert await bench.call(version, {})


async def test_a_call_placed_on_a_dead_environment_is_run_elsewhere(bench: Any) -> None:
    """A call that reaches a worker whose environment is gone goes back to its queue and runs in another one."""
    version = await bench.deploy(SOURCE)
    await bench.call(version, {})
    await asyncio.sleep(0.1)
    # A slot whose environment this worker does not have, newer than the real one: the script will choose it.
    await bench.redis.client.zadd(f"{bench.redis.keys.home}idle:{version.target}", {"w/" + "0" * 32: 2**53})
    future = await bench.place(version, {})
    await asyncio.sleep(0.5)
    assert not future.done()
    await bench.start(version)
    async with asyncio.timeout(10):
        assert not (await future).function_error


async def test_many_calls_at_once(bench: Any) -> None:
    """Calls beyond the environments wait and are run by those, one at a time each, none lost and none twice."""
    version = await bench.deploy("""
seen = []
def handler(event, context):
    seen.append(event["n"])
    return [event["n"], seen.count(event["n"])]
""")
    futures = [await bench.place(version, {"n": n}, order=n < 3) for n in range(200)]
    async with asyncio.timeout(20):
        replies = [json.loads((await future).payload) for future in futures]
    assert sorted(n for n, _ in replies) == list(range(len(futures)))
    assert {times for _, times in replies} == {1}


async def test_a_custom_runtime(bench: Any) -> None:
    """A `bootstrap` on the Runtime API is run: results, errors, and an exit in mid-call."""
    script = """#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while :; do
  event=$(curl -s -D /tmp/head "$api/invocation/next")
  id=$(tr -d '\\r' < /tmp/head | sed -n 's/^lambda-runtime-aws-request-id: //Ip')
  case "$event" in
    *die*) exit 4 ;;
    *fail*) curl -s -d '{"errorType":"Mine","errorMessage":"m"}' "$api/invocation/$id/error" ;;
    *) curl -s -d "{\\"handler\\":\\"$_HANDLER\\",\\"event\\":$event}" "$api/invocation/$id/response" ;;
  esac > /dev/null
done
"""
    version = await bench.deploy(files={"bootstrap": script}, runtime="provided.al2023", handler="any.thing")
    assert await bench.call(version, {"a": 1}) == {"handler": "any.thing", "event": {"a": 1}}
    assert await bench.fail(version, "fail") == {"errorType": "Mine", "errorMessage": "m"}
    assert await bench.call(version, 2) == {"handler": "any.thing", "event": 2}
    assert (await bench.fail(version, "die"))["errorMessage"].endswith("exit status 4")
    missing = await bench.deploy(files={"other": "x"}, runtime="provided.al2023")
    assert (await bench.fail(missing))["errorType"] == "Runtime.InvalidEntrypoint"
