"""Streamed responses on a whole running platform: boto3, curl and clients by hand, in both sandboxes."""

from __future__ import annotations

import base64
import collections
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from botocore.exceptions import ClientError, EventStreamError

PYTHON = """
import asyncio, os, time

def of(event):
    if "requestContext" in event:
        return event.get("queryStringParameters", {}), True
    return event, False

def handler(event, context):
    asked, web = of(event)
    if asked.get("fail") == "early":
        raise ValueError("early")
    if web:
        yield {"statusCode": 201, "headers": {"X-Mode": "stream", "Content-Type": "text/plain"}, "cookies": ["a=1"]}
    for n in range(int(asked.get("n", 3))):
        print("said", n)
        yield f"part {n}\\n"
        time.sleep(float(asked.get("pause", 0)))
    if asked.get("fail") == "late":
        raise ValueError("late")

async def later(event, context):
    for n in range(3):
        await asyncio.sleep(0.05)
        yield f"part {n}\\n"

def large(event, context):
    asked, web = of(event)
    block = b"x" * 65536
    for n in range(int(asked.get("blocks", 1))):
        if n % 50 == 0:
            print("made", n)
        yield block
    print("done", n)

def plain(event, context):
    return {"statusCode": 202, "body": "plain"}
"""
NODE = """
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  const asked = event.requestContext ? event.queryStringParameters ?? {} : event;
  if (asked.fail === 'early') throw new RangeError('early');
  if (event.requestContext) {
    const headers = { 'X-Mode': 'stream', 'Content-Type': 'text/plain' };
    stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers, cookies: ['a=1'] });
  }
  for (let n = 0; n < Number(asked.n ?? 3); n++) {
    stream.write(`part ${n}\\n`);
    await new Promise((done) => setTimeout(done, 1000 * Number(asked.pause ?? 0)));
  }
  if (asked.fail === 'late') throw new RangeError('late');
  stream.end();
});
"""
BASH = """#!/bin/sh
base="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  event=$(curl -sS -D /tmp/head "$base/next")
  id=$(tr -d '\\r' < /tmp/head | grep -i aws-request-id | cut -d' ' -f2)
  kind=application/vnd.awslambda.http-integration-response
  { printf '{"statusCode":201,"headers":{"x-mode":"stream"}}\\0\\0\\0\\0\\0\\0\\0\\0'
    echo part 0; sleep 1; echo part 1; } |
    curl -sS -o /dev/null -X POST -T - -H 'Transfer-Encoding: chunked' -H "Content-Type: $kind" \\
      -H 'Lambda-Runtime-Function-Response-Mode: streaming' "$base/$id/response"
done
"""
PARTS = b"part 0\npart 1\npart 2\n"


@pytest.fixture(scope="module")
def functions(platform: Any) -> Callable[[str], str]:
    """Deploys each function once, with a URL that streams."""
    made: dict[str, str] = {}
    sources: dict[str, dict[str, Any]] = {
        "nodejs": {
            "source": {"index.js": NODE},
            "handler": "index.handler",
            "Runtime": "nodejs20.x",
            "MemorySize": 256,
        },
        "provided": {"source": {"bootstrap": BASH}, "handler": "x", "Runtime": "provided.al2023"},
        **{name: {"source": PYTHON, "handler": f"app.{name}"} for name in ("handler", "later", "large", "plain")},
    }

    def deployed(kind: str) -> str:
        if kind not in made:
            made[kind] = name = platform.deploy(**sources[kind], Timeout=60)
            client = platform.client("lambda")
            client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM")
        return made[kind]

    return deployed


def events(platform: Any, name: str, event: Any = None, **options: Any) -> Iterator[tuple[float, dict[str, Any]]]:
    """Call a function by boto3 and yield its events, each with when it came."""
    answer = platform.client("lambda").invoke_with_response_stream(
        FunctionName=name, Payload=json.dumps(event or {}), **options
    )
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    for one in answer["EventStream"]:
        yield time.monotonic(), one


def whole(platform: Any, name: str, event: Any = None, **options: Any) -> tuple[bytes, dict[str, str]]:
    """Call a function by boto3 and return all that it streamed, and InvokeComplete."""
    found = [one for _, one in events(platform, name, event, **options)]
    assert "InvokeComplete" in found[-1]
    return b"".join(one["PayloadChunk"]["Payload"] for one in found[:-1]), found[-1]["InvokeComplete"]


def curl(platform: Any, name: str, query: str = "", *options: str) -> subprocess.CompletedProcess[bytes]:
    """Fetch a function's URL."""
    return subprocess.run(
        ["curl", "-sS", "-N", "-i", *options, f"{platform.endpoint}/fn/{name}/?{query}"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def connect(platform: Any, name: str, query: str = "", *, buffer_bytes: int = 0) -> socket.socket:
    """Ask for a function's URL over a connection of one's own, and read nothing of the answer."""
    where = urlsplit(platform.endpoint)
    found = socket.socket()
    if buffer_bytes:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    found.settimeout(60)
    found.connect((where.hostname, where.port))
    found.sendall(f"GET /fn/{name}/?{query} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
    return found


def log_of(platform: Any, name: str) -> list[str]:
    """A function's log, as far as it is written."""
    with contextlib.suppress(ClientError):
        found = platform.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}", limit=10_000)
        return [event["message"] for event in found["events"]]
    return []


def store(platform: Any) -> Any:
    """The platform's Valkey."""
    return redis.Redis(unix_socket_path=str(platform.data_dir / "redis" / "run" / "valkey.sock"))


def rss_mb(pid: int) -> float:
    """A process's resident memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


@pytest.mark.parametrize("kind", ["handler", "nodejs"])
def test_boto3_reads_along(platform: Any, functions: Any, kind: str) -> None:
    """The first event comes long before the function ends; the last one has the end of the log."""
    name = functions(kind)
    whole(platform, name)
    found = list(events(platform, name, {"pause": 0.5}, LogType="Tail"))
    parts = [(when, one["PayloadChunk"]["Payload"]) for when, one in found[:-1]]
    assert b"".join(data for _, data in parts) == PARTS
    ended, last = found[-1]
    assert ended - parts[0][0] > 1.2
    assert set(last["InvokeComplete"]) == {"LogResult"}
    assert "REPORT RequestId" in base64.b64decode(last["InvokeComplete"]["LogResult"]).decode()


@pytest.mark.parametrize(("kind", "error"), [("handler", "ValueError"), ("nodejs", "RangeError")])
def test_errors_by_boto3(platform: Any, functions: Any, kind: str, error: str) -> None:
    """An error, before the first part or after the last, is in InvokeComplete, with Lambda's error object."""
    for when, sent in (("early", b""), ("late", PARTS)):
        data, complete = whole(platform, functions(kind), {"fail": when})
        assert (data, complete["ErrorCode"]) == (sent, "Unhandled")
        details = json.loads(complete["ErrorDetails"])
        assert (details["errorType"], details["errorMessage"]) == (error, when)
    assert whole(platform, functions(kind)) == (PARTS, {})


def test_other_ways_to_call(platform: Any, functions: Any) -> None:
    """Invoke collects a stream; a plain function is one part; versions, aliases, dry runs and refusals are Invoke's."""
    client, name = platform.client("lambda"), functions("handler")
    assert client.invoke(FunctionName=name, Payload=b"{}")["Payload"].read() == PARTS
    assert whole(platform, functions("later"))[0] == PARTS
    data, complete = whole(platform, functions("plain"))
    assert (json.loads(data), complete) == ({"statusCode": 202, "body": "plain"}, {})
    version = client.publish_version(FunctionName=name)["Version"]
    answer = client.invoke_with_response_stream(FunctionName=name, Qualifier=version, Payload=b"{}")
    assert answer["ExecutedVersion"] == version
    assert b"".join(one["PayloadChunk"]["Payload"] for one in answer["EventStream"] if "PayloadChunk" in one) == PARTS
    dry = client.invoke_with_response_stream(FunctionName=name, InvocationType="DryRun")
    assert (dry["StatusCode"], list(dry["EventStream"])) == (204, [])
    for options, code in (
        ({"FunctionName": "absent"}, "ResourceNotFoundException"),
        ({"FunctionName": name, "Qualifier": "absent"}, "ResourceNotFoundException"),
        ({"FunctionName": name, "InvocationType": "Event"}, "ValidationException"),
        ({"FunctionName": name, "Payload": b"not json"}, "InvalidRequestContentException"),
    ):
        with pytest.raises(ClientError) as refused:
            client.invoke_with_response_stream(**options)
        assert refused.value.response["Error"]["Code"] == code


def test_no_concurrency(platform: Any, functions: Any) -> None:
    """A function whose concurrency is used up refuses a stream with 429."""
    client, name = platform.client("lambda"), functions("later")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        with pytest.raises(ClientError) as refused:
            client.invoke_with_response_stream(FunctionName=name)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    finally:
        client.delete_function_concurrency(FunctionName=name)


@pytest.mark.parametrize("kind", ["handler", "nodejs"])
def test_curl_reads_along(platform: Any, functions: Any, kind: str) -> None:
    """A URL has the function's status, headers and cookies at once, then each part as it is made."""
    name = functions(kind)
    curl(platform, name)
    process = subprocess.Popen(
        ["curl", "-sS", "-N", "-i", f"{platform.endpoint}/fn/{name}/?pause=0.5"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append((time.monotonic(), line.decode().rstrip()))
    assert process.wait(10) == 0
    text = [line for _, line in lines]
    assert text[0] == "HTTP/1.1 201 Created"
    assert {"X-Mode: stream", "Set-Cookie: a=1", "Transfer-Encoding: chunked", "Content-Type: text/plain"} <= set(text)
    times = [when for when, line in lines if line.startswith("part")]
    assert len(times) == 3
    assert times[2] - times[0] > 0.8


def test_a_custom_runtime(platform: Any, functions: Any) -> None:
    """A shell script streams its response with curl, metadata first."""
    name = functions("provided")
    curl(platform, name)
    with contextlib.closing(connect(platform, name)) as client:
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.headers["x-mode"]) == (201, "stream")
        assert answer.readline() == b"part 0\n"
        began = time.monotonic()
        assert answer.read() == b"part 1\n"
        assert time.monotonic() - began > 0.5


@pytest.mark.parametrize("kind", ["handler", "nodejs"])
def test_errors_by_url(platform: Any, functions: Any, kind: str) -> None:
    """An error before the first byte is a 502; one after it cuts the connection, after what was sent."""
    early = curl(platform, functions(kind), "fail=early")
    assert b" 502 Bad Gateway" in early.stdout
    assert b"Internal Server Error" in early.stdout
    late = curl(platform, functions(kind), "fail=late")
    assert PARTS in late.stdout
    assert late.returncode == 18, late.stderr  # transfer closed with outstanding read data remaining
    assert curl(platform, functions(kind)).returncode == 0


def test_a_plain_function_at_a_url_that_streams(platform: Any, functions: Any) -> None:
    """Nothing is read into its result, as on Lambda; under BUFFERED it is, and a stream is collected."""
    client, name = platform.client("lambda"), functions("plain")
    answer = curl(platform, name).stdout
    assert b"HTTP/1.1 200 OK" in answer
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2]) == {"statusCode": 202, "body": "plain"}
    stream = functions("handler")
    for one in (name, stream):
        client.update_function_url_config(FunctionName=one, InvokeMode="BUFFERED")
    time.sleep(1.2)  # a changed configuration counts within a second
    try:
        assert b"HTTP/1.1 202 Accepted" in curl(platform, name).stdout
        answer = curl(platform, stream).stdout
        assert b"HTTP/1.1 201 Created" in answer
        assert b"Content-Length: 21" in answer
        assert answer.endswith(PARTS)
    finally:
        for one in (name, stream):
            client.update_function_url_config(FunctionName=one, InvokeMode="RESPONSE_STREAM")
        time.sleep(1.2)


def test_methods_without_a_body(platform: Any, functions: Any) -> None:
    """HEAD has the head alone, and HTTP/1.0 no chunks; both end."""
    head = curl(platform, functions("handler"), "", "-I")
    assert (head.returncode, b"201 Created" in head.stdout, b"part" in head.stdout) == (0, True, False)
    old = curl(platform, functions("handler"), "", "--http1.0")
    assert (old.returncode, old.stdout.endswith(PARTS)) == (0, True)


def test_a_slow_reader_costs_little(platform: Any, functions: Any) -> None:
    """A client that does not read stops the function; gateway, worker and Redis hold little, others go on."""
    name, plain = functions("large"), functions("plain")
    curl(platform, name, "blocks=1", "-o", "/dev/null")
    pids = platform.children()
    before = {role: rss_mb(pids[role]) for role in ("gateway", "worker", "valkey")}
    clients = [connect(platform, name, "blocks=1600", buffer_bytes=8192) for _ in range(3)]
    try:
        time.sleep(3.0)
        grown = {role: rss_mb(pids[role]) - size for role, size in before.items()}
        assert all(size < 30 for size in grown.values()), grown
        assert not [line for line in log_of(platform, name) if line.startswith("done 1599")]
        boxes = [key for pattern in ("*:parts:*", "*:replies:*") for key in store(platform).scan_iter(match=pattern)]
        assert sum(store(platform).memory_usage(key) for key in boxes) < 4 * 1024 * 1024
        began = time.monotonic()
        for _ in range(20):
            platform.call(plain)
        assert time.monotonic() - began < 5
        answer = http.client.HTTPResponse(clients[0])
        answer.begin()
        assert sum(len(part) for part in iter(lambda: answer.read(1 << 20), b"")) == 1600 * 65536
    finally:
        for client in clients:
            client.close()


def test_a_client_that_hangs_up(platform: Any, functions: Any) -> None:
    """Its function runs to its end, is called again in the same environment, and nothing of the stream is left."""
    name = functions("large")
    with contextlib.closing(connect(platform, name, "blocks=1000", buffer_bytes=8192)) as client:
        assert client.recv(1000)
    deadline = time.monotonic() + 30
    while not [line for line in log_of(platform, name) if line.startswith("done 999")]:
        assert time.monotonic() < deadline, "the function did not end"
        time.sleep(0.3)
    deadline = time.monotonic() + 10
    while list(store(platform).scan_iter(match="*:parts:*")):
        assert time.monotonic() < deadline, "parts were left"
        time.sleep(0.3)
    assert len(whole(platform, name, {"blocks": 2})[0]) == 2 * 65536


def test_all_that_a_stream_may_have(platform: Any, functions: Any) -> None:
    """200 MB are streamed whole; one block more ends in Lambda's error, after 200 MB."""
    name, limit = functions("large"), 200 * 1024 * 1024
    for blocks in (3200, 3201):
        answer = platform.client("lambda").invoke_with_response_stream(
            FunctionName=name, Payload=json.dumps({"blocks": blocks})
        )
        size, complete = 0, {}
        for one in answer["EventStream"]:
            size += len(one["PayloadChunk"]["Payload"]) if "PayloadChunk" in one else 0
            complete = one.get("InvokeComplete", complete)
        assert size == limit
        if blocks == 3200:
            assert complete == {}
        else:
            assert json.loads(complete["ErrorDetails"])["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_worker_killed_in_mid_stream(platform: Any, functions: Any) -> None:
    """A stream whose worker dies never looks whole: boto3 gets an error, a URL's connection is cut; then calls work."""
    name = functions("handler")
    found = events(platform, name, {"n": 2, "pause": 20})
    assert next(found)[1]["PayloadChunk"]["Payload"] == b"part 0\n"
    process = subprocess.Popen(
        ["curl", "-sS", "-N", f"{platform.endpoint}/fn/{name}/?n=2&pause=20"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"part 0\n"
    os.kill(platform.children()["worker"], signal.SIGKILL)
    with pytest.raises(EventStreamError, match="ServiceException"):
        list(found)
    assert process.wait(30) == 18
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(ClientError):
            assert whole(platform, name) == (PARTS, {})
            return
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_store_killed_in_mid_stream(platform: Any, functions: Any) -> None:
    """A stream whose Redis dies is cut too, and its worker is not held up by it: the next calls work."""
    name = functions("large")
    with contextlib.closing(connect(platform, name, "blocks=1600", buffer_bytes=8192)) as client:
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.read(1000)
        os.kill(platform.children()["valkey"], signal.SIGKILL)
        with pytest.raises(http.client.IncompleteRead):
            collections.deque(iter(lambda: answer.read(1 << 20), b""), maxlen=0)
    deadline = time.monotonic() + 40
    while True:
        with contextlib.suppress(ClientError):
            assert len(whole(platform, name, {"blocks": 3})[0]) == 3 * 65536
            return
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_many_streams_beside_many_calls(platform: Any, functions: Any) -> None:
    """Streams and ordinary calls at once come whole to whoever made them."""
    large, plain = functions("large"), functions("plain")
    stop = threading.Event()

    def call() -> int:
        count = 0
        while not stop.is_set():
            assert platform.call(plain)["statusCode"] == 202
            count += 1
        return count

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call) for _ in range(2)]
        streams = [pool.submit(whole, platform, large, {"blocks": 100 + n}) for n in range(6)]
        try:
            sizes = [len(stream.result(60)[0]) for stream in streams]
        finally:
            stop.set()
        assert sizes == [(100 + n) * 65536 for n in range(6)]
        assert all(one.result(30) > 0 for one in calls)
