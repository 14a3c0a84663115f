"""Asynchronous invocations: retried as on Lambda, delivered to destinations, never lost."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from waiting import until

SOURCE = """
import json, time

def succeed(event, context):
    return {"got": event}

def fail(event, context):
    print("attempt", event["id"])
    raise ValueError("no good")

def keep(event, context):
    print("kept", json.dumps(event))

def slow(event, context):
    print("began", event["id"])
    time.sleep(event["s"])
    print("ended", event["id"])
"""


def messages(platform: Any, name: str) -> list[str]:
    """Everything that a function has logged."""
    found = platform.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}", limit=10_000)
    return [event["message"].rstrip("\n") for event in found["events"]]


def logged(platform: Any, name: str, text: str, times: int = 1) -> Callable[[], bool]:
    """Make a condition: a text stands in a function's log so many times."""

    def condition() -> bool:
        try:
            return sum(text in line for line in messages(platform, name)) >= times
        except platform.client("logs").exceptions.ResourceNotFoundException:
            return False

    return condition


@pytest.fixture
def keeper(platform: Any) -> str:
    """A function that logs what it is sent."""
    return str(platform.deploy(SOURCE, handler="app.keep"))


def kept(platform: Any, keeper: str, within_s: float = 30) -> dict[str, Any]:
    """The envelope that the keeper was sent."""
    until(logged(platform, keeper, "kept "), within_s=within_s)
    [line] = [line for line in messages(platform, keeper) if line.startswith("kept ")]
    envelope: dict[str, Any] = json.loads(line.removeprefix("kept "))
    return envelope


def arn(platform: Any, name: str) -> str:
    """The ARN of a function."""
    return str(platform.client("lambda").get_function_configuration(FunctionName=name)["FunctionArn"])


def send(platform: Any, name: str, event: Any) -> str:
    """Invoke asynchronously; returns the request id."""
    answer = platform.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event))
    assert answer["StatusCode"] == 202
    return str(answer["ResponseMetadata"]["RequestId"])


def test_success_reaches_its_destination(platform: Any, keeper: str) -> None:
    """An event that ran is told to the on-success destination in AWS's envelope."""
    name = platform.deploy(SOURCE, handler="app.succeed")
    platform.client("lambda").put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn(platform, keeper)}}
    )
    request_id = send(platform, name, {"n": 1})
    envelope = kept(platform, keeper)
    assert envelope["version"] == "1.0"
    assert envelope["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"{arn(platform, name)}:$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert envelope["requestPayload"] == {"n": 1}
    assert envelope["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert envelope["responsePayload"] == {"got": {"n": 1}}


def test_two_retries_then_the_failure_destination(platform: Any, keeper: str) -> None:
    """A failing event runs three times, then its on-failure destination is told."""
    name = platform.deploy(SOURCE, handler="app.fail")
    platform.client("lambda").put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": arn(platform, keeper)}}
    )
    key = uuid.uuid4().hex
    request_id = send(platform, name, {"id": key})
    envelope = kept(platform, keeper)
    assert envelope["requestContext"]["condition"] == "RetriesExhausted"
    assert envelope["requestContext"]["approximateInvokeCount"] == 3
    assert envelope["requestContext"]["requestId"] == request_id
    assert envelope["responseContext"]["functionError"] == "Unhandled"
    assert envelope["responsePayload"]["errorType"] == "ValueError"
    until(logged(platform, name, f"attempt {key}", times=3), within_s=10)
    assert sum(f"attempt {key}" in line for line in messages(platform, name)) == 3


def test_no_retries_where_none_are_wanted(platform: Any, keeper: str) -> None:
    """MaximumRetryAttempts 0 is one attempt."""
    name = platform.deploy(SOURCE, handler="app.fail")
    platform.client("lambda").put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": arn(platform, keeper)}},
    )
    send(platform, name, {"id": "x"})
    assert kept(platform, keeper)["requestContext"]["approximateInvokeCount"] == 1


def worker_pid(platform: Any) -> int:
    """The pid of the platform's worker process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"worker" in words and parent == platform.process.pid:
                return int(folder.name)
    raise AssertionError("the platform has no worker")


def test_a_killed_worker_costs_a_retry_not_the_event(platform: Any) -> None:
    """A worker killed with -9 in mid-run: the event runs again, and the platform serves on."""
    name = platform.deploy(SOURCE, handler="app.slow", Timeout=60)
    key = uuid.uuid4().hex
    send(platform, name, {"id": key, "s": 4})
    until(logged(platform, name, f"began {key}"), within_s=30)
    os.kill(worker_pid(platform), signal.SIGKILL)
    until(logged(platform, name, f"ended {key}"), within_s=60)
    answer = platform.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"id": "after", "s": 0}))
    assert "FunctionError" not in answer
