"""Hundreds of events while workers die: each is run at least once, and nothing runs for ever."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import Any

import redis

SOURCE = """
import time

def handler(event, context):
    time.sleep(0.05)
    return event["n"]
"""
EVENTS = 200
KILLS = 3


def left(platform: Any) -> list[bytes]:
    """Events that Redis still has, in whatever state, those given up among them."""
    store = redis.Redis(unix_socket_path=str(platform.data_dir / "redis" / "run" / "valkey.sock"))
    return [key for pattern in ("*:ev:*", "*:dead:*") for key in store.scan_iter(match=pattern, count=1000)]


def runs(platform: Any, name: str) -> int:
    """How many runs of a function have ended, as metering counts them."""
    store = redis.Redis(unix_socket_path=str(platform.data_dir / "redis" / "run" / "valkey.sock"))
    found = [store.hgetall(key) for key in store.scan_iter(match=f"*:meter:*:{name}")]
    return sum(int(value) for row in found for field, value in row.items() if field.endswith(b":requests"))


def test_no_event_is_lost_while_workers_die(platform: Any) -> None:
    """Events are accepted before, while and after workers are killed with -9; every one of them ends by running."""
    name = platform.deploy(SOURCE, Timeout=20)
    client = platform.client("lambda")
    for n in range(EVENTS):
        client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": n}))
        if n % (EVENTS // (KILLS + 1)) == EVENTS // (KILLS + 1) - 1 and n < EVENTS - 1:
            with contextlib.suppress(ProcessLookupError, KeyError):
                os.kill(platform.children()["worker"], signal.SIGKILL)
    deadline = time.monotonic() + 90
    while events := left(platform):
        assert time.monotonic() < deadline, f"{len(events)} did not end: {events[:5]}"
        time.sleep(0.2)
    # An event that a worker died with runs again, and only such a one.
    assert EVENTS <= runs(platform, name) <= EVENTS * (1 + KILLS)
    assert platform.running()
    assert "FunctionError" not in client.invoke(FunctionName=name, Payload=b'{"n": -1}')
