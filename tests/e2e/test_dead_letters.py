"""Dead-letter queues and destinations that are queues, loops through queues, with a whole platform."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waiting import until

SOURCE = """
import json, os

def fail(event, context):
    raise ValueError("no good: " + "x" * 2000)

def succeed(event, context):
    return {"got": event}

def feed(event, context):
    import boto3
    client = boto3.client("sqs")
    for record in event["Records"]:
        n = int(record["body"])
        print("turn", n)
        if n < 40:
            client.send_message(QueueUrl=os.environ["QUEUE"], MessageBody=str(n + 1))
"""
WithBoto3 = Callable[[str], dict[str, Any]]


class Queue:
    """A queue of a platform."""

    def __init__(self, platform: Any, name: str = "", **attributes: str) -> None:
        self.sqs = platform.client("sqs")
        self.name = name or f"q-{uuid.uuid4().hex[:10]}"
        self.url = self.sqs.create_queue(QueueName=self.name, Attributes=attributes)["QueueUrl"]
        self.arn = f"arn:aws:sqs:us-east-1:000000000000:{self.name}"

    def receive(self, wait_s: int = 1) -> list[dict[str, Any]]:
        """Take up to ten messages."""
        found: list[dict[str, Any]] = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait_s,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])
        return found

    def count(self) -> int:
        """How many messages can be received."""
        wanted = ["ApproximateNumberOfMessages"]
        shown = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=wanted)["Attributes"]
        return int(shown["ApproximateNumberOfMessages"])


def send(platform: Any, name: str, event: Any) -> str:
    """Invoke asynchronously; returns the request id."""
    answer = platform.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event))
    assert answer["StatusCode"] == 202
    return str(answer["ResponseMetadata"]["RequestId"])


def turns(platform: Any, name: str) -> list[int]:
    """The turns that a function has printed."""
    try:
        found = platform.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}", limit=10_000)
    except platform.client("logs").exceptions.ResourceNotFoundException:
        return []
    return sorted(int(one["message"].split()[1]) for one in found["events"] if one["message"].startswith("turn"))


def command(platform: Any, *words: str, status: int = 0) -> str:
    """Run the command against the platform; returns what it prints, on both streams."""
    ran = subprocess.run(
        [sys.executable, "-m", "lambent.cli.main", *words, "--endpoint", platform.endpoint],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def here(running: Any) -> Iterator[Any]:
    """A platform without an engine, whose retries come at once."""
    with running("process", async_retry_delays_s="0") as platform:
        yield platform


def test_a_failure_reaches_dead_letter_queue_and_destination(here: Any) -> None:
    """Both are told: the queue gets the event and what happened in attributes, the destination AWS's envelope."""
    letters, results = Queue(here), Queue(here)
    name = here.deploy(SOURCE, handler="app.fail", DeadLetterConfig={"TargetArn": letters.arn})
    here.client("lambda").put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": results.arn}}
    )
    request_id = send(here, name, {"n": 12345678901234567890})
    [letter] = until(letters.receive)
    assert json.loads(letter["Body"]) == {"n": 12345678901234567890}
    shown = {key: (one["DataType"], one["StringValue"]) for key, one in letter["MessageAttributes"].items()}
    assert shown["RequestID"] == ("String", request_id)
    assert shown["ErrorCode"] == ("Number", "200")
    assert shown["ErrorMessage"] == ("String", ("no good: " + "x" * 2000)[:1024])
    [result] = until(results.receive)
    envelope = json.loads(result["Body"])
    assert envelope["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 2,
    }
    assert envelope["requestPayload"] == {"n": 12345678901234567890}
    assert envelope["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert envelope["responsePayload"]["errorType"] == "ValueError"
    assert here.get(f"/_lambent/dead/{name}")["events"] == []


def test_a_success_reaches_a_queue(here: Any) -> None:
    """An on-success destination that is a queue gets the envelope, and the trace of the event."""
    results = Queue(here)
    name = here.deploy(SOURCE, handler="app.succeed")
    here.client("lambda").put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": results.arn}}
    )
    send(here, name, [1])
    [message] = until(results.receive)
    envelope = json.loads(message["Body"])
    assert (envelope["requestContext"]["condition"], envelope["responsePayload"]) == ("Success", {"got": [1]})
    assert message["Attributes"]["AWSTraceHeader"].startswith("Root=1-")


def test_a_queue_that_is_gone_keeps_the_event(here: Any) -> None:
    """A dead letter whose queue was deleted is a dead event; sent again when there is a queue, it arrives."""
    letters = Queue(here)
    name = here.deploy(SOURCE, handler="app.fail", DeadLetterConfig={"TargetArn": letters.arn})
    letters.sqs.delete_queue(QueueUrl=letters.url)
    send(here, name, {"n": 1})
    [event] = until(lambda: here.get(f"/_lambent/dead/{name}")["events"])
    assert "the dead-letter queue did not take it: QueueDoesNotExist" in event["reason"]
    again = Queue(here, letters.name)
    command(here, "dead", "redrive", name)
    [letter] = until(again.receive)
    assert json.loads(letter["Body"]) == {"n": 1}
    assert here.get(f"/_lambent/dead/{name}")["events"] == []


@pytest.mark.parametrize("dead_letters", [True, False])
def test_a_function_that_feeds_its_own_queue_is_stopped(here: Any, with_boto3: WithBoto3, dead_letters: bool) -> None:
    """After sixteen turns the message is not run: it goes to the queue's dead-letter queue, or is dropped."""
    letters = Queue(here)
    policy = json.dumps({"deadLetterTargetArn": letters.arn, "maxReceiveCount": 5})
    queue = Queue(here, **({"RedrivePolicy": policy} if dead_letters else {}))
    name = here.deploy(
        with_boto3(SOURCE), handler="app.feed", MemorySize=256, Environment={"Variables": {"QUEUE": queue.url}}
    )
    here.client("lambda").create_event_source_mapping(FunctionName=name, EventSourceArn=queue.arn)
    queue.sqs.send_message(QueueUrl=queue.url, MessageBody="1")
    if dead_letters:
        [letter] = until(letters.receive, within_s=90)
        assert letter["Body"] == "17"
        assert letter["Attributes"]["DeadLetterQueueSourceArn"] == queue.arn
    until(lambda: len(turns(here, name)) >= 16, within_s=90)
    until(lambda: any(name in line for line in here.output().splitlines() if "recursive loop stopped" in line))
    time.sleep(1.5)
    assert turns(here, name) == list(range(1, 17))
    assert queue.receive() == []


def test_a_loop_that_is_allowed_goes_on(here: Any, with_boto3: WithBoto3) -> None:
    """With `Allow` the function goes round as often as it wants to."""
    queue = Queue(here)
    name = here.deploy(
        with_boto3(SOURCE), handler="app.feed", MemorySize=256, Environment={"Variables": {"QUEUE": queue.url}}
    )
    here.client("lambda").put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    here.client("lambda").create_event_source_mapping(FunctionName=name, EventSourceArn=queue.arn)
    queue.sqs.send_message(QueueUrl=queue.url, MessageBody="1")
    until(lambda: turns(here, name) == list(range(1, 41)), within_s=90)


def test_dead_letter_queues_by_the_command(here: Any) -> None:
    """A dead-letter queue is listed with what it serves, looked into with nothing taken, moved back, and purged."""
    letters = Queue(here)
    policy = json.dumps({"deadLetterTargetArn": letters.arn, "maxReceiveCount": 1})
    queue = Queue(here, RedrivePolicy=policy, VisibilityTimeout="0")
    for n in range(15):
        queue.sqs.send_message(QueueUrl=queue.url, MessageBody=json.dumps({"n": n}))
    until(lambda: (queue.receive(0) and False) or letters.count() == 15)
    listed = command(here, "dead", "ls")
    [line] = [line for line in listed.splitlines() if line.startswith(letters.name)]
    assert line.split() == [letters.name, "queue", "15", queue.name]
    found = json.loads(command(here, "dead", "ls", letters.name, "--json"))
    assert sorted(json.loads(one["body"])["n"] for one in found) == list(range(15))
    shown = command(here, "dead", "show", letters.name, found[7]["id"])
    assert found[7]["body"] in shown
    assert letters.count() == 15
    assert "all at once" in command(here, "dead", "redrive", letters.name, found[0]["id"], status=2)
    assert "15 messages moved" in command(here, "dead", "redrive", letters.name)
    assert (letters.count(), queue.count()) == (0, 15)
    until(lambda: (queue.receive(0) and False) or letters.count() == 15)
    assert "purged" in command(here, "dead", "purge", letters.name, "--yes")
    assert letters.count() == 0


def test_a_platform_that_is_killed_delivers_each_once(running: Any, tmp_path: Path) -> None:
    """Killed with -9 while dead letters are delivered: afterwards each event is in the queue, and once."""
    events = 150
    flags = {"async_retry_delays_s": "0"}
    with running("process", data_dir=tmp_path, **flags) as platform:
        letters = Queue(platform)
        name = platform.deploy(SOURCE, handler="app.fail", DeadLetterConfig={"TargetArn": letters.arn})
        platform.client("lambda").put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
        ids = {send(platform, name, {"n": n}) for n in range(events)}
        until(lambda: letters.count() >= 20)
        os.kill(platform.process.pid, signal.SIGKILL)
        platform.process.wait()
    with running("process", data_dir=tmp_path, **flags) as platform:
        letters = Queue(platform, letters.name)
        until(lambda: letters.count() >= events, within_s=60)
        time.sleep(2)
        seen = []
        while found := letters.receive():
            seen += [one["MessageAttributes"]["RequestID"]["StringValue"] for one in found]
        assert sorted(seen) == sorted(ids)


def test_throttled_events_wait_until_they_are_too_old(timeless: Any) -> None:
    """With no concurrency an event waits, is not lost and not run; past its maximum age it is told as too old."""
    letters, results = Queue(timeless), Queue(timeless)
    name = timeless.deploy(SOURCE, handler="app.succeed", DeadLetterConfig={"TargetArn": letters.arn})
    client = timeless.client("lambda")
    client.put_function_event_invoke_config(
        FunctionName=name,
        MaximumEventAgeInSeconds=3600,
        DestinationConfig={"OnFailure": {"Destination": results.arn}, "OnSuccess": {"Destination": results.arn}},
    )
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    old = send(timeless, name, {"n": 1})
    timeless.advance("59m")
    time.sleep(1)
    assert results.receive(0) == []
    young = send(timeless, name, {"n": 2})
    timeless.advance("2m")
    [letter] = until(letters.receive)
    attributes = {key: one["StringValue"] for key, one in letter["MessageAttributes"].items()}
    assert attributes == {
        "RequestID": old,
        "ErrorCode": "429",
        "ErrorMessage": "The event is older than its maximum age of 3600 seconds.",
    }
    [result] = until(results.receive)
    context = json.loads(result["Body"])["requestContext"]
    assert (context["requestId"], context["condition"], context["approximateInvokeCount"]) == (
        old,
        "EventAgeExceeded",
        0,
    )
    client.delete_function_concurrency(FunctionName=name)
    [result] = until(results.receive)
    context = json.loads(result["Body"])["requestContext"]
    assert (context["requestId"], context["condition"]) == (young, "Success")


def test_events_of_a_deleted_function_are_told(timeless: Any) -> None:
    """What waits for a function that is deleted goes to whom it names, with the reason."""
    letters, results = Queue(timeless), Queue(timeless)
    name = timeless.deploy(SOURCE, handler="app.fail", DeadLetterConfig={"TargetArn": letters.arn})
    client = timeless.client("lambda")
    client.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": results.arn}}
    )
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    waiting = send(timeless, name, {"n": 1})
    client.delete_function(FunctionName=name)
    [letter] = until(letters.receive)
    assert letter["MessageAttributes"]["RequestID"]["StringValue"] == waiting
    assert letter["MessageAttributes"]["ErrorCode"]["StringValue"] == "404"
    [result] = until(results.receive)
    body = json.loads(result["Body"])
    assert body["requestContext"]["approximateInvokeCount"] == 0
    assert body["responsePayload"]["errorType"] == "ResourceNotFoundException"
