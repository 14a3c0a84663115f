"""From zero and back to zero, and out with concurrency."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SOURCE = """
import os, time

def handler(event, context):
    time.sleep(event.get("s", 0))
    return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"""


def environments(platform: Any, name: str | None) -> list[dict[str, Any]]:
    """The environments of a function as `lambent ps` reads them; None for stems."""
    with urllib.request.urlopen(f"{platform.endpoint}/_lambent/environments", timeout=10) as answer:
        return [row for row in json.loads(answer.read()) if row["function"] == name]


def until(condition: Callable[[], bool], *, within_s: float) -> float:
    """Wait for a condition; returns how long it took, and fails where it does not come."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - began


def test_out_and_back_to_zero(platform: Any) -> None:
    """Ten calls at once get ten environments; after the idle time there is none, at most 2 s late."""
    name = platform.deploy(SOURCE, handler="app.handler", Timeout=60)

    def call(seconds: float) -> str:
        answer = platform.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"s": seconds}))
        return str(json.loads(answer["Payload"].read()))

    assert environments(platform, name) == []
    with ThreadPoolExecutor(10) as pool:
        streams = set(pool.map(call, [7.0] * 10))
    ended = time.monotonic()
    assert len(streams) == 10
    row = environments(platform, name)[0]
    assert set(row) == {"function", "version", "state", "worker", "age_s", "memory_mb", "container"}
    assert (row["version"], row["memory_mb"]) == ("$LATEST", 128)
    until(lambda: environments(platform, name) == [], within_s=30)
    took = time.monotonic() - ended
    assert platform.idle_timeout_s - 1.0 < took < platform.idle_timeout_s + 2.5


def test_a_frozen_environment_answers(platform: Any) -> None:
    """An idle environment is used again, frozen or not."""
    name = platform.deploy(SOURCE, handler="app.handler")
    client = platform.client("lambda")
    streams = set()
    for pause_s in (0, platform.idle_timeout_s * 0.6, 0):
        time.sleep(pause_s)
        streams.add(client.invoke(FunctionName=name, Payload=b"{}")["Payload"].read())
    assert len(streams) == 1
