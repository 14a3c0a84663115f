"""A clock that users move: what takes minutes and hours elsewhere, seen in seconds."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import waiting
from lambent import ApiError, Client

SOURCE = """
import json

def fail(event, context):
    print("attempt", event["id"])
    raise ValueError("no good")

def keep(event, context):
    print("kept", json.dumps(event))
"""

until = functools.partial(waiting.until, within_s=20)


def messages(platform: Any, name: str) -> list[str]:
    """Everything that a function has logged."""
    logs = platform.client("logs")
    try:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", limit=10_000)
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"].rstrip("\n") for event in found["events"]]


def attempts(platform: Any, name: str) -> int:
    """How often the function has ended."""
    return sum(line.startswith("REPORT") for line in messages(platform, name))


def lambent(platform: Any, *words: str) -> str:
    """Run the command and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "lambent.cli.main", *words, "--endpoint", platform.endpoint],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_retries_come_after_one_and_two_minutes(timeless: Any) -> None:
    """With Lambda's own delays a failing event is retried after 1 minute, then after 2, and not before."""
    keeper = timeless.deploy(SOURCE, handler="app.keep")
    name = timeless.deploy(SOURCE, handler="app.fail")
    client = timeless.client("lambda")
    arn = client.get_function_configuration(FunctionName=keeper)["FunctionArn"]
    client.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnFailure": {"Destination": arn}})
    client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"id": uuid.uuid4().hex}))
    for number, (short, rest) in enumerate((("50s", "15s"), ("110s", "15s")), start=1):
        until(lambda number=number: attempts(timeless, name) == number)
        timeless.advance(short)
        time.sleep(1.5)
        assert attempts(timeless, name) == number
        timeless.advance(rest)
    until(lambda: attempts(timeless, name) == 3)
    [kept] = until(lambda: [line for line in messages(timeless, keeper) if line.startswith("kept ")])
    assert json.loads(kept.removeprefix("kept "))["requestContext"]["condition"] == "RetriesExhausted"


def test_an_event_is_given_up_after_six_hours(timeless: Any) -> None:
    """An event that waits for its retry while six hours pass is told to the destination as too old, and not run."""
    keeper = timeless.deploy(SOURCE, handler="app.keep")
    name = timeless.deploy(SOURCE, handler="app.fail")
    client = timeless.client("lambda")
    arn = client.get_function_configuration(FunctionName=keeper)["FunctionArn"]
    client.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnFailure": {"Destination": arn}})
    client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"id": "old"}))
    until(lambda: attempts(timeless, name) == 1)
    timeless.advance("6h1s")
    [kept] = until(lambda: [line for line in messages(timeless, keeper) if line.startswith("kept ")])
    context = json.loads(kept.removeprefix("kept "))["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("EventAgeExceeded", 1)
    assert attempts(timeless, name) == 1


def test_the_command_and_the_client_move_it(timeless: Any) -> None:
    """`lambent clock` and `client.clock` show and move the same clock."""
    with Client(timeless.endpoint) as client:
        before = client.clock.now()
        assert before.virtual
        lambent(timeless, "clock", "advance", "1h30m")
        after = client.clock.now()
        assert after.offset - before.offset == timedelta(minutes=90)
        client.clock.advance(timedelta(minutes=30))
        shown = json.loads(lambent(timeless, "clock", "--json"))
        assert shown["clock"] == "virtual"
        assert shown["offset_ms"] == (before.offset + timedelta(hours=2)) // timedelta(milliseconds=1)
        to = (client.clock.now().now + timedelta(days=1)).replace(microsecond=0)
        assert to <= client.clock.set(to).now < to + timedelta(seconds=5)


def test_it_survives_a_restart(running: Any, tmp_path: Path) -> None:
    """A platform that starts again goes on where its clock stood; with the real one it says what that means."""
    with running("process", data_dir=tmp_path / "d", clock="virtual") as platform:
        platform.advance("100d")
    with running("process", data_dir=tmp_path / "d", clock="virtual") as platform:
        assert platform.get("/_lambent/clock")["offset_ms"] == 100 * 86_400_000
    with running("process", data_dir=tmp_path / "d") as platform, Client(platform.endpoint) as client:
        assert not client.clock.now().virtual
        with pytest.raises(ApiError, match="--clock virtual") as refused:
            client.clock.advance("1h")
        assert refused.value.code == "ClockIsReal"
        assert "comes that much later" in platform.output()
