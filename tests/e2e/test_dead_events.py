"""Events that nobody could run or take: kept with the reason, seen, sent again and removed by the command."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from waiting import until

SOURCE = """
import json, os

def flaky(event, context):
    print("ran", json.dumps(event))
    if os.environ.get("BROKEN"):
        raise RuntimeError("still broken")

def chain(event, context):
    import boto3
    print("turn", event["n"])
    client = boto3.client("lambda")
    client.invoke(
        FunctionName=event.get("to") or context.function_name,
        InvocationType="Event",
        Payload=json.dumps({**event, "n": event["n"] + 1}),
    )

def trace(event, context):
    return os.environ["_X_AMZN_TRACE_ID"]
"""

WithBoto3 = Callable[[str], dict[str, Any]]


def lines(platform: Any, name: str, start: str) -> list[str]:
    """The lines of a function's log that begin so."""
    try:
        found = platform.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}", limit=10_000)
    except platform.client("logs").exceptions.ResourceNotFoundException:
        return []
    return [one["message"].strip() for one in found["events"] if one["message"].startswith(start)]


def send(platform: Any, name: str, event: Any) -> str:
    """Invoke asynchronously; returns the request id."""
    answer = platform.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event))
    assert answer["StatusCode"] == 202
    return str(answer["ResponseMetadata"]["RequestId"])


def lambent(platform: Any, *words: str, status: int = 0, text: str = "") -> str:
    """Run the command against the platform; returns what it prints, on both streams."""
    ran = subprocess.run(
        [sys.executable, "-m", "lambent.cli.main", *words, "--endpoint", platform.endpoint],
        capture_output=True,
        text=True,
        input=text,
        timeout=60,
        check=False,
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def dead(platform: Any, name: str) -> list[dict[str, Any]]:
    """The dead events of a function."""
    found: list[dict[str, Any]] = platform.get(f"/_lambent/dead/{name}")["events"]
    return found


@pytest.fixture(scope="module")
def here(running: Any) -> Iterator[Any]:
    """A platform without an engine, whose retries come at once."""
    with running("process", async_retry_delays_s="0") as platform:
        yield platform


def test_dead_events_by_the_command(here: Any) -> None:
    """An event that fails for good is listed with its reason, shown, sent again once the function is well, and gone."""
    name = here.deploy(SOURCE, handler="app.flaky", Environment={"Variables": {"BROKEN": "1"}})
    request_id = send(here, name, {"n": 1, "text": "x" * 500})
    [event] = until(lambda: dead(here, name))
    assert (event["id"], event["attempts"], event["kind"]) == (request_id, 3, "event")
    assert event["reason"] == "RetriesExhausted after 3: RuntimeError: still broken"
    listed = lambent(here, "dead", "ls", name)
    assert request_id in listed
    assert "RetriesExhausted after 3" in listed
    assert name in lambent(here, "dead", "ls")
    shown = json.loads(lambent(here, "dead", "show", name, request_id, "--json"))
    assert json.loads(shown["payload"]) == {"n": 1, "text": "x" * 500}
    assert shown["error_type"] == "RuntimeError"
    assert "no dead event none" in lambent(here, "dead", "show", name, "none", status=3)
    assert "stays dead" in lambent(here, "dead", "redrive", name, "none", status=1)

    here.client("lambda").update_function_configuration(FunctionName=name, Environment={"Variables": {}})
    here.client("lambda").get_waiter("function_updated_v2").wait(FunctionName=name)
    ran = len(lines(here, name, "ran"))
    assert "1 event sent again" in lambent(here, "dead", "redrive", name, request_id)
    until(lambda: len(lines(here, name, "ran")) == ran + 1)
    assert dead(here, name) == []
    assert "No dead events" in lambent(here, "dead", "ls", name)
    assert "neither a function nor a queue" in lambent(here, "dead", "ls", "nothing-of-the-sort", status=3)


def test_all_at_once(here: Any) -> None:
    """Several dead events are sent again together, each once and as a new event; what fails again is dead again."""
    name = here.deploy(SOURCE, handler="app.flaky", Environment={"Variables": {"BROKEN": "1"}})
    ids = {send(here, name, {"n": n}) for n in range(5)}
    until(lambda: len(dead(here, name)) == 5)
    assert "5 events sent again" in lambent(here, "dead", "redrive", name)
    again = until(lambda: len(found := dead(here, name)) == 5 and found)
    assert {event["id"] for event in again}.isdisjoint(ids)
    assert sorted(json.loads(event["payload_preview"])["n"] for event in again) == list(range(5))
    some = again[0]["id"]
    assert "1 event removed" in lambent(here, "dead", "purge", name, some)
    assert lambent(here, "dead", "purge", name, text="n\n", status=130)
    assert "4 events removed" in lambent(here, "dead", "purge", name, text="y\n")
    assert dead(here, name) == []


def test_a_loop_of_events_is_stopped(here: Any, with_boto3: WithBoto3) -> None:
    """A function that hands itself the next event runs sixteen times; the seventeenth is dead, and counted."""
    name = here.deploy(with_boto3(SOURCE), handler="app.chain", MemorySize=256)
    send(here, name, {"n": 1})
    [event] = until(lambda: dead(here, name), within_s=60)
    assert event["error_type"] == "RecursiveInvocationException"
    assert json.loads(event["payload_preview"]) == {"n": 17}
    turns = until(lambda: len(found := lines(here, name, "turn")) >= 16 and found)
    assert sorted(int(line.split()[1]) for line in turns) == list(range(1, 17))


def test_a_loop_of_destinations_is_stopped(here: Any) -> None:
    """Two functions that are each other's destination: the first one's seventeenth event is dead, and all is quiet."""
    first, second = (here.deploy(SOURCE, handler="app.trace") for _ in range(2))
    client = here.client("lambda")
    for name, other in ((first, second), (second, first)):
        arn = client.get_function_configuration(FunctionName=other)["FunctionArn"]
        client.put_function_event_invoke_config(
            FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}}
        )
    send(here, first, {"n": 1})
    [event] = until(lambda: dead(here, first), within_s=60)
    assert event["error_type"] == "RecursiveInvocationException"
    until(lambda: [len(lines(here, name, "REPORT")) for name in (first, second)] == [16, 16])
    assert dead(here, second) == []


def test_a_loop_of_calls_is_stopped(here: Any) -> None:
    """The seventeenth call in one chain, by the trace header that the function was given, is refused, unless it may."""
    name = here.deploy(SOURCE, handler="app.trace")
    header = ""

    def call() -> str:
        request = urllib.request.Request(here.invoke_url(name), data=b"{}", headers={"X-Amzn-Trace-Id": header})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.loads(answer.read()))

    for _ in range(16):
        header = call()
    with pytest.raises(urllib.error.HTTPError) as refused:
        call()
    assert refused.value.code == 400
    assert refused.value.headers["x-amzn-ErrorType"] == "RecursiveInvocationException"
    assert "Lambda detected an infinite loop" in json.loads(refused.value.read())["Message"]
    here.client("lambda").put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    for _ in range(5):
        header = call()
    assert ":21" in header
    until(lambda: counted(here, 'lambent_events_ended_total{what="recursive"}') >= 1)


def counted(platform: Any, sample: str) -> float:
    """A counter, summed over all who show it."""
    with urllib.request.urlopen(f"{platform.endpoint}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    name, label = sample.rstrip("}").split("{")
    found = [line for line in text.splitlines() if line.startswith(name + "{") and label in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)
