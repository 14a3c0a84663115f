"""How long functions are kept, learned from their calls, on a whole platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

SOURCE = """
import os
ME = os.urandom(8).hex()
def handler(event, context):
    return ME
"""
PAUSE_S = 8.0
"""Longer than the platform below keeps a function of which it knows nothing."""


def test_a_function_is_kept_for_as_long_as_it_pauses(running: Any) -> None:
    """After a few cold starts with like pauses between them there are no more; the command says so, and why."""
    with running("process", keep_alive="history", idle_timeout_s="2", stems="0") as platform:
        name = platform.deploy(SOURCE)

        def call() -> str:
            return str(json.loads(platform.client("lambda").invoke(FunctionName=name)["Payload"].read()))

        def said(*arguments: str) -> str:
            environment = {**os.environ, "AWS_ENDPOINT_URL": platform.endpoint}
            words = [sys.executable, "-m", "lambent.cli.main", "keepalive", *arguments]
            return subprocess.run(
                words, env=environment, check=True, capture_output=True, timeout=60, text=True
            ).stdout  # fmt: skip

        assert said(name).splitlines()[:2] == [
            f"{name}: kept for 2s after a call",
            "because   too little is known of it yet: 0 pauses between its calls",
        ]
        seen: list[str] = []
        while len(seen) < 2 or seen[-1] != seen[-2]:
            assert len(seen) < 8, "its pauses were not learned"
            seen.append(call())
            time.sleep(PAUSE_S)
        cold = len(set(seen))
        assert cold >= 4
        time.sleep(2)
        found = json.loads(said(name, "--json"))
        assert (found["policy"], found["warm"], found["from_s"]) == ("history", 1, 0)
        assert 3 <= found["cold"] <= cold
        assert found["hit_rate"] == pytest.approx(1 / (1 + found["cold"]))
        assert 3 <= found["observations"] < len(seen)
        assert PAUSE_S < found["until_s"] <= 4 * 3600
        assert PAUSE_S < found["idle_s"] < PAUSE_S + 8
        text = said(name)
        assert f"because   of its history: {found['observations']} pauses between its calls\n" in text
        assert f"found it ready (1 warm, {found['cold']} cold)\n" in text
        platform.client("lambda").delete_function(FunctionName=name)
        refused = subprocess.run(
            [sys.executable, "-m", "lambent.cli.main", "keepalive", name],
            env={**os.environ, "AWS_ENDPOINT_URL": platform.endpoint}, capture_output=True, timeout=60, text=True,
        )  # fmt: skip
        assert (refused.returncode, "ResourceNotFoundException" in refused.stderr) == (3, True)


def test_full_memory_ends_what_is_worth_least(running: Any) -> None:
    """Of two idle functions the one that saves less for its memory makes room, though it was called later."""
    with running("process", stems="0", capacity_mb="384", idle_timeout_s="60") as platform:
        small = platform.deploy(SOURCE, MemorySize=128)
        large = platform.deploy(SOURCE, MemorySize=256)
        third = platform.deploy(SOURCE, MemorySize=128)
        for one in (small, large, third):  # one environment each, whatever capacity makes of a call that waits
            platform.client("lambda").put_function_concurrency(FunctionName=one, ReservedConcurrentExecutions=1)

        def call(name: str) -> str:
            return str(json.loads(platform.client("lambda").invoke(FunctionName=name)["Payload"].read()))

        first = call(small)
        for _ in range(3):
            time.sleep(1.3)
            assert call(small) == first
        call(large)
        time.sleep(2.5)  # until the heartbeat has said that it is idle, and what was seen is written
        call(third)
        assert {one["function"] for one in platform.environments()} == {small, third}
        assert call(small) == first
