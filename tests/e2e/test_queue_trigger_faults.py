"""Queue triggers while parts of the platform are killed with -9: nothing is lost, and mappings go on by themselves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCE = """
import json, os, time, urllib.request

def handler(event, context):
    time.sleep(0.05)
    told = [record["body"] for record in event["Records"]]
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        json.dumps({"QueueUrl": os.environ["OUT"], "MessageBody": json.dumps(told)}).encode(),
        {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"},
    )
    urllib.request.urlopen(request, timeout=3).read()
"""
MESSAGES = 400


def until(condition: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """Wait until a condition is true; what cannot be asked just now is not true."""
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(Exception):
            if found := condition():
                return found
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.1)


def persistently(call: Callable[[], Any]) -> Any:
    """Do something that fails while a gateway is down, again until it succeeds."""
    return until(lambda: call() or True, within_s=20, what="the gateway answers")


def set_up(platform: Any) -> tuple[str, str, str]:
    """A queue, mapped to a function that tells another queue what it has seen; returns both URLs and the mapping."""
    sqs, client = platform.client("sqs"), platform.client("lambda")
    out = sqs.create_queue(QueueName="out")["QueueUrl"]
    url = sqs.create_queue(QueueName="in", Attributes={"VisibilityTimeout": "6"})["QueueUrl"]
    name = platform.deploy(SOURCE, Timeout=5, Environment={"Variables": {"OUT": out}})
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    mapping = client.create_event_source_mapping(EventSourceArn=arn, FunctionName=name)["UUID"]
    return url, out, mapping


def send(platform: Any, url: str, numbers: range) -> None:
    """Send messages, ten at a time, whatever dies."""
    for start in range(numbers.start, numbers.stop, 10):
        entries = [{"Id": str(n), "MessageBody": str(n)} for n in range(start, min(start + 10, numbers.stop))]
        persistently(lambda entries=entries: platform.client("sqs").send_message_batch(QueueUrl=url, Entries=entries))


def collected(platform: Any, url: str, out: str) -> set[int]:
    """Wait until the queue is empty, and return every number that the function has told of."""
    sqs = platform.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    until(
        lambda: set(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()) == {"0"},
        within_s=60,
        what="the queue is empty",
    )
    seen: set[int] = set()
    while found := sqs.receive_message(QueueUrl=out, MaxNumberOfMessages=10).get("Messages"):
        for message in found:
            seen.update(map(int, json.loads(message["Body"])))
            sqs.delete_message(QueueUrl=out, ReceiptHandle=message["ReceiptHandle"])
    return seen


def test_nothing_is_lost_while_gateways_and_workers_die(running: Any) -> None:
    """Messages flow while the gateway and the worker are killed; each of them is seen."""
    with running("process") as platform:
        url, out, _ = set_up(platform)
        quarter = MESSAGES // 4
        for part, role in enumerate(("worker", "gateway", "worker", "")):
            send(platform, url, range(part * quarter, (part + 1) * quarter))
            if role:
                until(lambda role=role: role in platform.children(), within_s=10, what=f"there is a {role}")
                os.kill(platform.children()[role], signal.SIGKILL)
        assert collected(platform, url, out) == set(range(MESSAGES))


def test_a_mapping_outlives_the_scheduler(running: Any, tmp_path: Path) -> None:
    """The supervisor, which is the scheduler, is killed with messages in hand; the next start polls on by itself."""
    with running("process", data_dir=tmp_path / "d") as platform:
        url, out, mapping = set_up(platform)
        send(platform, url, range(200))
        until(lambda: platform.environments(), within_s=10, what="calls run")
        platform.process.kill()
        platform.process.wait()
    with running("process", data_dir=tmp_path / "d") as platform:
        assert platform.client("lambda").get_event_source_mapping(UUID=mapping)["State"] == "Enabled"
        send(platform, url, range(200, 220))
        assert collected(platform, url, out) == set(range(220))
