"""Twenty thousand messages through queue triggers while gateways, schedulers and workers die: each is accounted for."""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
import threading
import time
import uuid
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from botocore.exceptions import BotoCoreError, ClientError

from cluster import Cluster, free_port
from waiting import until

SOURCE = """
import json, os, urllib.request, uuid

def handler(event, context):
    done, failed, stopped = [], [], set()
    for record in event["Records"]:
        body = json.loads(record["body"])
        group = body["group"]
        if body["poison"] or group in stopped:
            failed.append({"itemIdentifier": record["messageId"]})
            if group:
                stopped.add(group)  # what comes after it in its group has to wait
        else:
            done.append({"group": group, "n": body["n"]})
    if done:
        entry = {"Id": "0", "MessageBody": json.dumps(done), "MessageGroupId": "all",
                 "MessageDeduplicationId": uuid.uuid4().hex}
        request = urllib.request.Request(
            os.environ["AWS_ENDPOINT_URL"],
            data=json.dumps({"QueueUrl": os.environ["RESULTS"], "Entries": [entry]}).encode(),
            headers={"X-Amz-Target": "AmazonSQS.SendMessageBatch", "Content-Type": "application/x-amz-json-1.0"},
        )
        answer = json.load(urllib.request.urlopen(request, timeout=5))
        assert not answer.get("Failed"), answer
    return {"batchItemFailures": failed}
"""
STANDARD, GROUPS, IN_GROUP = 14_000, 60, 100
POISON_EACH = 1_000
"""One in so many messages always fails."""
VISIBILITY_S = 8
KILL_EVERY_S = 3.0
SEED = 20_260_725


class Flow:
    """Two queues with triggers and dead-letter queues, and a queue of results whose order is that of the work."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.sqs = cluster.client(0, "sqs", attempts=8)
        self.results = self._queue("results.fifo", FifoQueue="true")
        self.dead = {"": self._queue("dead"), ".fifo": self._queue("dead.fifo", FifoQueue="true")}
        self.sources = {
            suffix: self._queue(
                f"work{suffix}",
                VisibilityTimeout=str(VISIBILITY_S),
                RedrivePolicy=json.dumps({"deadLetterTargetArn": self.arn(dead), "maxReceiveCount": "5"}),
                **({"FifoQueue": "true"} if suffix else {}),
            )
            for suffix, dead in self.dead.items()
        }
        self._deploy()

    def _queue(self, name: str, **attributes: str) -> str:
        url: str = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def arn(self, url: str) -> str:
        """The ARN of a queue."""
        found: str = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return found

    def _deploy(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("app.py", SOURCE)
        functions = self.cluster.client()
        functions.create_function(
            FunctionName="work",
            Runtime=self.cluster.python(),
            Role="arn:aws:iam::000000000000:role/r",
            Handler="app.handler",
            Code={"ZipFile": buffer.getvalue()},
            Timeout=6,
            Environment={"Variables": {"RESULTS": self.results}},
        )
        functions.get_waiter("function_active_v2").wait(FunctionName="work", WaiterConfig={"Delay": 1})
        for url in self.sources.values():
            functions.create_event_source_mapping(
                EventSourceArn=self.arn(url),
                FunctionName="work",
                BatchSize=10,
                FunctionResponseTypes=["ReportBatchItemFailures"],
            )

    def send(self, suffix: str, entries: Sequence[dict[str, Any]]) -> None:
        """Send ten messages, through whichever gateway answers, until all of them are accepted."""
        left = {entry["Id"]: entry for entry in entries}
        deadline = time.monotonic() + 60
        gateway = random.randrange(2)
        while left:
            assert time.monotonic() < deadline, "messages were not accepted"
            with contextlib.suppress(BotoCoreError, ClientError):
                answer = self.cluster.client(gateway, "sqs").send_message_batch(
                    QueueUrl=self.sources[suffix], Entries=list(left.values())
                )
                for one in answer.get("Successful", ()):
                    del left[one["Id"]]
            gateway = 1 - gateway

    def unfinished(self) -> int:
        """How many messages are in the work queues, in whatever state."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with contextlib.suppress(BotoCoreError, ClientError):
            found = [
                self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
                for url in self.sources.values()
            ]
            return sum(int(attributes[name]) for attributes in found for name in names)
        return -1

    def drained(self, url: str) -> list[Any]:
        """Take everything out of a queue, in its order."""
        bodies = []
        while True:
            answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            messages = answer.get("Messages", [])
            if not messages:
                return bodies
            bodies += [json.loads(message["Body"]) for message in messages]
            entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            assert not self.sqs.delete_message_batch(QueueUrl=url, Entries=entries).get("Failed")


SCHEDULER = ("--worker-lease-s", "4")


@pytest.fixture
def cluster(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two of each role."""
    redis.Redis.from_url(redis_url).flushall()
    cluster = Cluster(redis_url, tmp_path_factory.mktemp("chaos"), (free_port(), free_port()))
    try:
        for number in (0, 1):
            start(cluster, f"s{number}")
            start(cluster, f"w{number}")
            start(cluster, f"g{number}")
        for number in (0, 1):
            until(lambda number=number: cluster.ready(number), within_s=30, what=f"gateway {number} is ready")
        yield cluster
    except BaseException:
        sys.stderr.write(cluster.logs())
        raise
    finally:
        cluster.end()


def start(cluster: Cluster, name: str) -> None:
    """Start a role by its name: the first letter says which."""
    number = int(name[1])
    if name[0] == "s":
        cluster.start(name, "scheduler", *SCHEDULER)
    elif name[0] == "w":
        cluster.worker(name)
    else:
        cluster.start(name, "gateway", "--port", str(cluster.ports[number]))


def havoc(cluster: Cluster, over: threading.Event, kills: dict[str, int]) -> None:
    """Kill roles at random with -9 and start them again, until told that it is over."""
    chance = random.Random(SEED)
    while not over.wait(KILL_EVERY_S):
        name = chance.choice(["s0", "s1", "w0", "w1", "g0", "g1"])
        cluster.kill(name)
        kills[name[0]] += 1
        over.wait(0.5)
        start(cluster, name)


def messages(suffix: str, group: str, numbers: range) -> list[dict[str, Any]]:
    """Entries of one batch."""
    entries = []
    for n in numbers:
        entry: dict[str, Any] = {
            "Id": str(n),
            "MessageBody": json.dumps({"group": group, "n": n, "poison": n % POISON_EACH == POISON_EACH // 2}),
        }
        if suffix:
            entry |= {"MessageGroupId": group, "MessageDeduplicationId": uuid.uuid4().hex}
        entries.append(entry)
    return entries


@pytest.mark.timeout(420)
def test_every_message_is_accounted_for(cluster: Cluster) -> None:
    """Each message is processed at least once or is in the dead-letter queue; within its group, in its order."""
    flow, over, kills = Flow(cluster), threading.Event(), defaultdict(int)
    killer = threading.Thread(target=havoc, args=(cluster, over, kills))
    killer.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            standard = [range(first, first + 10) for first in range(0, STANDARD, 10)]
            sent = [pool.submit(flow.send, "", messages("", "", numbers)) for numbers in standard]
            for group in range(GROUPS):
                sent.append(pool.submit(_send_group, flow, f"g{group}", group * IN_GROUP))
            for one in sent:
                one.result(timeout=240)
        until(lambda: all(kills[role] for role in "swg"), within_s=90, what="each role was killed")
    finally:
        over.set()
        killer.join()
    until(lambda: flow.unfinished() == 0, within_s=150, what="all messages are processed or dead")

    processed = [item for batch in flow.drained(flow.results) for item in batch]
    seen = {(item["group"], item["n"]) for item in processed}
    dead = {(body["group"], body["n"]) for url in flow.dead.values() for body in flow.drained(url)}
    everything = {("", n) for n in range(STANDARD)}
    everything |= {(f"g{n // IN_GROUP}", n) for n in range(GROUPS * IN_GROUP)}
    assert everything - seen - dead == set()
    assert dead - seen >= {(group, n) for group, n in everything if n % POISON_EACH == POISON_EACH // 2}
    _assert_order(processed)


def _send_group(flow: Flow, group: str, first: int) -> None:
    """Send a group's messages in their order, each batch after the one before was accepted."""
    for at in range(first, first + IN_GROUP, 10):
        flow.send(".fifo", messages(".fifo", group, range(at, at + 10)))


def _assert_order(processed: Sequence[dict[str, Any]]) -> None:
    """Of each group the first time that each message was processed comes after that of all before it."""
    newest: dict[str, int] = {}
    known: set[tuple[str, int]] = set()
    for item in processed:
        group, n = item["group"], item["n"]
        if not group or (group, n) in known:
            continue
        known.add((group, n))
        assert n > newest.get(group, -1), f"{group}: {n} was processed after {newest[group]}"
        newest[group] = n
