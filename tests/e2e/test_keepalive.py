"""How long functions are kept, learned from their calls, on a whole platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

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
        seen = []
        for _ in range(5):
            seen.append(call())
            time.sleep(PAUSE_S)
        assert len(set(seen[:4])) == 4
        assert seen[4] == seen[3]
        time.sleep(2)
        found = json.loads(said(name, "--json"))
        assert (found["policy"], found["warm"], found["cold"], found["observations"]) == ("history", 1, 4, 4)
        assert (found["hit_rate"], found["from_s"]) == (0.2, 0)
        assert PAUSE_S < found["until_s"] <= 4 * 3600
        assert PAUSE_S < found["idle_s"] < PAUSE_S + 8
        text = said(name)
        assert "because   of its history: 4 pauses between its calls\n" in text
        assert "returns   20% found it ready (1 warm, 4 cold)\n" in text
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
