"""Queues that functions are hung on, by boto3: sent, seen, deleted, retried, buried, in order.

A function tells what it sees by sending it to a queue of the test's own, through the platform's own API.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from waiting import until

SOURCE = """
import json, os, time, urllib.request

def tell(what):
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        json.dumps({"QueueUrl": os.environ["OUT"], "MessageBody": json.dumps(what)}).encode(),
        {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"},
    )
    urllib.request.urlopen(request, timeout=5).read()

def handler(event, context):
    tell({"at": time.time(), "records": event["Records"]})
    bodies = [record["body"] for record in event["Records"]]
    if any(body.startswith("slow") for body in bodies):
        time.sleep(1.5)
        tell({"at": time.time(), "records": [], "ended": bodies})
    if "raise" in bodies:
        raise ValueError("no good")
    bad = [record["messageId"] for record in event["Records"] if record["body"].startswith("bad")]
    return {"batchItemFailures": [{"itemIdentifier": one} for one in bad]}
"""


@dataclass
class Trigger:
    """A function that reports what it sees, and queues to hang it on."""

    platform: Any
    name: str
    out: str
    uuids: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sqs(self) -> Any:
        """A client for queues."""
        return self.platform.client("sqs")

    @property
    def lambda_(self) -> Any:
        """A client for functions and mappings."""
        return self.platform.client("lambda")

    def queue(self, suffix: str = "", **attributes: Any) -> tuple[str, str]:
        """Make a queue; returns its URL and its ARN."""
        given = {name: str(value) for name, value in attributes.items()}
        url = self.sqs.create_queue(QueueName=f"q-{uuid.uuid4().hex[:10]}{suffix}", Attributes=given)["QueueUrl"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        return url, found["QueueArn"]

    def map(self, arn: str, **settings: Any) -> str:
        """Map a queue to the function, and wait until that is so."""
        made = self.lambda_.create_event_source_mapping(EventSourceArn=arn, FunctionName=self.name, **settings)
        self.uuids.append(made["UUID"])
        self.settled(made["UUID"])
        return str(made["UUID"])

    def settled(self, mapping: str) -> dict[str, Any]:
        """Wait until a mapping is what it was asked to be."""
        return dict(
            until(
                lambda: (
                    (m := self.lambda_.get_event_source_mapping(UUID=mapping))["State"] in ("Enabled", "Disabled") and m
                ),
                within_s=10,
                what="the mapping is settled",
            )
        )

    def look(self) -> list[dict[str, Any]]:
        """All calls that were told of until now."""
        while found := self.sqs.receive_message(QueueUrl=self.out, MaxNumberOfMessages=10).get("Messages"):
            self.calls += [json.loads(message["Body"]) for message in found]
            entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(found)]
            self.sqs.delete_message_batch(QueueUrl=self.out, Entries=entries)
        return self.calls

    def seen(self) -> list[str]:
        """The bodies that were seen, in the order in which it was told of them."""
        return [record["body"] for call in sorted(self.look(), key=lambda c: c["at"]) for record in call["records"]]

    def left(self, url: str) -> tuple[int, int]:
        """How many messages a queue has, and how many of them are in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def emptied(self, url: str, within_s: float = 20) -> None:
        """Wait until a queue is empty."""
        until(lambda: self.left(url) == (0, 0), within_s=within_s, what=f"{url} is empty")


@pytest.fixture
def trigger(platform: Any) -> Iterator[Trigger]:
    """A function with a queue for what it tells, whose mappings end with the test."""
    out = platform.client("sqs").create_queue(QueueName=f"out-{uuid.uuid4().hex[:10]}")["QueueUrl"]
    name = platform.deploy(SOURCE, Timeout=5, Environment={"Variables": {"OUT": out}})
    trigger = Trigger(platform, name, out)
    yield trigger
    for mapping in trigger.uuids:
        trigger.lambda_.delete_event_source_mapping(UUID=mapping)


def test_a_sent_message_is_seen_and_deleted(trigger: Trigger) -> None:
    """What is sent reaches the function in Lambda's shape, soon, and is gone."""
    url, arn = trigger.queue()
    mapping = trigger.map(arn)
    attributes = {
        "text": {"DataType": "String", "StringValue": "ä"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    sent = trigger.sqs.send_message(QueueUrl=url, MessageBody="hello", MessageAttributes=attributes)
    until(lambda: trigger.seen() == ["hello"], within_s=15, what="the message is seen")
    trigger.emptied(url)
    [record] = trigger.calls[0]["records"]
    assert record["messageId"] == sent["MessageId"]
    assert record["md5OfBody"] == sent["MD5OfMessageBody"]
    assert record["md5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert record["messageAttributes"] == {
        "text": {"stringValue": "ä", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
        "raw": {"binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
    }
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", arn, "us-east-1")
    assert {"ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"} <= set(
        record["attributes"]
    )
    found = until(
        lambda: (m := trigger.lambda_.get_event_source_mapping(UUID=mapping))["LastProcessingResult"] == "OK" and m,
        within_s=5,
        what="the mapping says how it went",
    )
    assert found["State"] == "Enabled"
    began = time.time()
    trigger.sqs.send_message(QueueUrl=url, MessageBody="warm")
    until(lambda: "warm" in trigger.seen(), within_s=5, what="another one is seen")
    assert trigger.calls[-1]["at"] - began < 2, "it waits for no look every so often"


def test_poison_reaches_the_dead_letter_queue_and_blocks_nobody(trigger: Trigger) -> None:
    """Of a batch only what was reported as failed runs again, so often as the queue says, then it is buried."""
    dead_url, dead_arn = trigger.queue()
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = trigger.queue(VisibilityTimeout=5, RedrivePolicy=policy)
    mapping = trigger.map(arn, FunctionResponseTypes=["ReportBatchItemFailures"], Enabled=False)
    bodies = [f"good {n}" for n in range(8)] + ["bad 1", "bad 2"]
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
    trigger.sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert trigger.seen() == []
    trigger.lambda_.update_event_source_mapping(UUID=mapping, Enabled=True)
    trigger.settled(mapping)
    until(lambda: trigger.left(url) == (0, 2), within_s=15, what="the failed ones alone are left, invisible")
    trigger.sqs.send_message(QueueUrl=url, MessageBody="later")
    until(lambda: "later" in trigger.seen(), within_s=4, what="others go on meanwhile")
    until(lambda: trigger.left(dead_url) == (2, 0), within_s=25, what="poison is buried")
    assert Counter(trigger.seen()) == Counter([*bodies, "later", "bad 1", "bad 2"])


def test_a_failing_call_buries_its_batch(trigger: Trigger) -> None:
    """A function that raises fails its whole batch, which comes back and is buried in the end."""
    dead_url, dead_arn = trigger.queue()
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = trigger.queue(VisibilityTimeout=5, RedrivePolicy=policy)
    mapping = trigger.map(arn)
    trigger.sqs.send_message(QueueUrl=url, MessageBody="raise")
    until(lambda: trigger.left(dead_url) == (1, 0), within_s=20, what="it is buried")
    assert trigger.seen() == ["raise"]
    found = trigger.lambda_.get_event_source_mapping(UUID=mapping)
    assert found["LastProcessingResult"] == "PROBLEM: Function call failed"


def test_groups_come_in_order(trigger: Trigger) -> None:
    """A FIFO queue's messages are seen in the order of their groups, with a failure in the midst of one."""
    url, arn = trigger.queue(".fifo", FifoQueue="true", ContentBasedDeduplication="true", VisibilityTimeout=5)
    for n in range(6):
        entries = [
            {
                "Id": group,
                "MessageBody": f"bad {group}{n}" if (group, n) == ("w", 3) else f"{group}{n}",
                "MessageGroupId": group,
            }
            for group in "wxyz"
        ]
        trigger.sqs.send_message_batch(QueueUrl=url, Entries=entries)
    trigger.map(arn, BatchSize=2, FunctionResponseTypes=["ReportBatchItemFailures"])
    until(lambda: trigger.left(url)[1] + trigger.left(url)[0] == 3, within_s=20, what="one group waits")
    for group in "xyz":
        assert [body for body in trigger.seen() if body[0] == group] == [f"{group}{n}" for n in range(6)]
    assert [body for body in trigger.seen() if "w" in body][:4] == ["w0", "w1", "w2", "bad w3"]
    assert not {"w4", "w5"} & set(trigger.seen())
    assert {record["attributes"]["MessageGroupId"] for call in trigger.calls for record in call["records"]} == set(
        "wxyz"
    )


def test_disabling_works_at_once(trigger: Trigger) -> None:
    """A disabled mapping takes nothing more and ends what runs; enabled again it goes on."""
    url, arn = trigger.queue()
    mapping = trigger.map(arn)
    trigger.sqs.send_message(QueueUrl=url, MessageBody="slow")
    until(lambda: trigger.seen() == ["slow"], within_s=15, what="a call runs")
    assert trigger.lambda_.update_event_source_mapping(UUID=mapping, Enabled=False)["State"] == "Updating"
    assert trigger.settled(mapping)["State"] == "Disabled"
    trigger.sqs.send_message(QueueUrl=url, MessageBody="waits")
    until(lambda: any("ended" in call for call in trigger.look()), within_s=5, what="the running call ends")
    until(lambda: trigger.left(url) == (1, 0), within_s=5, what="what it had is deleted")
    time.sleep(0.5)
    assert trigger.seen() == ["slow"]
    trigger.lambda_.update_event_source_mapping(UUID=mapping, Enabled=True)
    until(lambda: trigger.seen() == ["slow", "waits"], within_s=5, what="it goes on")
    trigger.emptied(url)


def test_windows_filters_and_missing_queues(trigger: Trigger) -> None:
    """A window gathers what a filter lets pass into one call; a mapping whose queue is deleted says so."""
    url, arn = trigger.queue()
    pattern = json.dumps({"body": {"kind": ["wanted"]}})
    mapping = trigger.map(
        arn, BatchSize=100, MaximumBatchingWindowInSeconds=1, FilterCriteria={"Filters": [{"Pattern": pattern}]}
    )
    for n in range(15):
        trigger.sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"kind": "wanted" if n % 3 else "other", "n": n}))
    trigger.emptied(url)
    seen = [json.loads(body) for body in trigger.seen()]
    assert sorted(one["n"] for one in seen) == [n for n in range(15) if n % 3]
    assert len(trigger.calls) <= 3
    trigger.sqs.delete_queue(QueueUrl=url)
    until(
        lambda: "does not exist" in trigger.lambda_.get_event_source_mapping(UUID=mapping)["LastProcessingResult"],
        within_s=90,
        what="the mapping says what is wrong",
    )
