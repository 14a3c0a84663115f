"""Measures the queue service and its trigger, beside RQ and arq doing the same no-op in the same run.

What is sent is sent as boto3 sends it: HTTP, JSON, ten messages in a batch where a batch is meant.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import served

from lambent_platform.main.valkey import EmbeddedValkey

HERE = Path(__file__).parent
BATCH = 10
SENDERS = 8
BODY_BYTES = 100
FIRST_LINE = b"""
import json
import time

NOW = time.time

def handler(event, context):
    now = NOW()
    for record in event["Records"]:
        print("LATENCY", round((now - float(record["body"])) * 1000, 3))
"""
NO_OP = b"def handler(event, context):\n    return None\n"


@dataclass(frozen=True)
class EventPlan:
    """How much is measured."""

    runs: int
    peer_events: int
    trigger_events: int
    send_seconds: float
    latency_messages: int
    waiting_messages: int


def peer_python() -> Path:
    """The interpreter of the peers' environment, which is made when it is first wanted."""
    lock = HERE / "peers.lock"
    folder = HERE / ".peers"
    made = folder / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    python = folder / "bin" / "python"
    if not made.exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--require-hashes", "-r", lock], check=True, timeout=600)
        made.touch()
    return python


@contextlib.contextmanager
def _valkey() -> Iterator[Path]:
    """A server as Lambent's own: a private socket, its append-only file synced each second."""
    with tempfile.TemporaryDirectory(prefix="lambent-peer-") as folder:
        valkey = EmbeddedValkey(folder=Path(folder) / "data", socket=Path(folder) / "valkey.sock")
        valkey.prepare()
        process = subprocess.Popen(valkey.argv(), stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not valkey.socket.exists():
                if time.monotonic() > deadline:
                    raise RuntimeError("Valkey did not open its socket")
                time.sleep(0.01)
            yield valkey.socket
        finally:
            process.terminate()
            process.wait()


def peer_rate(peer: str, events: int) -> float:
    """Events per second of a peer."""
    python = peer_python()
    with _valkey() as socket:
        command = [python, HERE / "peers.py", peer, str(socket), str(events)]
        out = subprocess.run(command, capture_output=True, check=True, timeout=600)
    return float(json.loads(out.stdout)["events_per_s"])


class Queue:
    """One queue of a platform, and a way to fill it quickly."""

    def __init__(self, platform: served.Platform, name: str, **attributes: str) -> None:
        self.client = platform.client("sqs")
        self.url = self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.arn = f"arn:aws:sqs:us-east-1:000000000000:{name}"
        self._endpoint = platform.endpoint

    def fill(self, messages: int, body: str = "x" * BODY_BYTES) -> None:
        """Send messages in batches of ten, over several connections and from processes of their own."""
        share = -(-messages // (SENDERS * BATCH))
        command = [sys.executable, str(HERE / "load.py"), self._endpoint, "--connections", str(SENDERS)]
        headers = ["X-Amz-Target: AmazonSQS.SendMessageBatch", "Content-Type: application/x-amz-json-1.0"]
        entries = [{"Id": str(n), "MessageBody": body} for n in range(BATCH)]
        command += ["--body", json.dumps({"QueueUrl": self.url, "Entries": entries}), "--each", str(share)]
        for header in headers:
            command += ["--header", header]
        out = subprocess.run(command, capture_output=True, check=True, timeout=1200)
        if json.loads(out.stdout)["errors"]:
            raise RuntimeError("some messages were refused")

    def left(self) -> int:
        """How many messages are in it, in whatever state."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


def trigger_rate(platform: served.Platform, name: str, events: int) -> float:
    """Messages per second through a queue trigger: from the first one sent to the last one processed and deleted."""
    queue = Queue(platform, name, VisibilityTimeout="180")
    functions = platform.client()
    platform.deploy(name, package=served.packaged(NO_OP), MemorySize=1769)
    made = functions.create_event_source_mapping(EventSourceArn=queue.arn, FunctionName=name, BatchSize=BATCH)
    _enabled(functions, made["UUID"])
    queue.fill(10 * BATCH * SENDERS)
    _empty(queue)
    began = time.monotonic()
    queue.fill(events)
    _empty(queue)
    took = time.monotonic() - began
    functions.delete_event_source_mapping(UUID=made["UUID"])
    return events / took


def _empty(queue: Queue) -> None:
    deadline = time.monotonic() + 300
    while queue.left():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{queue.left()} messages were not processed in time")
        time.sleep(0.02)


def _enabled(functions: Any, uuid: str) -> None:
    deadline = time.monotonic() + 30
    while functions.get_event_source_mapping(UUID=uuid)["State"] != "Enabled":
        if time.monotonic() > deadline:
            raise RuntimeError("the trigger was not enabled in time")
        time.sleep(0.05)


def send_rate(platform: served.Platform, connections: int, seconds: float) -> float:
    """SendMessage requests per second."""
    queue = Queue(platform, f"send-{connections}-{time.monotonic_ns()}")
    command = [sys.executable, str(HERE / "load.py"), platform.endpoint, "--connections", str(connections)]
    command += [
        "--seconds",
        str(seconds),
        "--body",
        json.dumps({"QueueUrl": queue.url, "MessageBody": "x" * BODY_BYTES}),
    ]
    for header in (
        "X-Amz-Target: AmazonSQS.SendMessage",
        "Content-Type: application/x-amz-json-1.0",
        "User-Agent: Boto3/1.42 md/Botocore#1.42 ua/2.1 os/linux lang/python#3.13 cfg/retry-mode#legacy",
        "X-Amz-Date: 20260101T000000Z",
        "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=" + "0" * 64,
        "amz-sdk-invocation-id: 00000000-0000-4000-8000-000000000000",
        "amz-sdk-request: attempt=1",
        "x-amzn-query-mode: true",
    ):
        command += ["--header", header]
    out = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=seconds + 60).stdout)
    if out["errors"]:
        raise RuntimeError(f"{out['errors']} of {out['requests']} sends failed")
    queue.client.delete_queue(QueueUrl=queue.url)
    return float(out["requests_per_s"])


def latencies_ms(platform: served.Platform, messages: int) -> list[float]:
    """From just before SendMessage to the handler's first line, one message at a time, warm."""
    queue = Queue(platform, "latency")
    functions = platform.client()
    platform.deploy("latency", package=served.packaged(FIRST_LINE), MemorySize=1769)
    made = functions.create_event_source_mapping(EventSourceArn=queue.arn, FunctionName="latency", BatchSize=1)
    _enabled(functions, made["UUID"])
    for _ in range(messages + 5):
        queue.client.send_message(QueueUrl=queue.url, MessageBody=repr(time.time()))
        time.sleep(0.05)
    _empty(queue)
    time.sleep(1.5)  # logs are written each second
    pages = platform.client("logs").get_paginator("filter_log_events").paginate(logGroupName="/aws/lambda/latency")
    lines = [event["message"] for page in pages for event in page["events"]]
    found = [float(match[1]) for line in lines if (match := re.match(r"LATENCY ([\d.]+)", line))]
    functions.delete_event_source_mapping(UUID=made["UUID"])
    return found[5:]


def waiting(platform: served.Platform, messages: int) -> tuple[float, float, float]:
    """Bytes of Redis memory per waiting message beyond its body; receives per second from ten, and from all."""
    store = redis.Redis(unix_socket_path=str(platform.data_dir / "redis" / "run" / "valkey.sock"))

    def used() -> int:
        return int(store.info("memory")["used_memory"])

    few = Queue(platform, "few")
    few.fill(SENDERS * BATCH)
    with_few = _receive_rate(few)
    many = Queue(platform, "many")
    before = used()
    many.fill(messages)
    each = (used() - before) / messages - BODY_BYTES
    rate = _receive_rate(many)
    return each, with_few, rate


def _receive_rate(queue: Queue) -> float:
    """Receives of one message a second that each come back at once."""
    times = []
    for _ in range(200):
        began = time.perf_counter()
        answer = queue.client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=1, VisibilityTimeout=0)
        times.append(time.perf_counter() - began)
        if not answer.get("Messages"):
            raise RuntimeError("a queue with messages gave none")
    return 1 / statistics.median(times)


def events(plan: EventPlan, sandbox: str) -> list[str]:
    """Measure all of it and return the tables."""
    rates: dict[str, list[float]] = {"rq": [], "arq": [], "trigger": []}
    with served.platform("--sandbox", sandbox, "--freeze-after-s", "60") as platform:
        for run in range(plan.runs):
            for peer in ("rq", "arq"):
                rates[peer].append(peer_rate(peer, plan.peer_events))
            rates["trigger"].append(trigger_rate(platform, f"trigger-{run}", plan.trigger_events))
        sends = {
            n: statistics.median(send_rate(platform, n, plan.send_seconds) for _ in range(plan.runs))
            for n in (1, 16, 64)
        }
        latency = sorted(latencies_ms(platform, plan.latency_messages))
        each, few, many = waiting(platform, plan.waiting_messages)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    ratio = {
        p: statistics.median(t / r for t, r in zip(rates["trigger"], rates[p], strict=True)) for p in ("rq", "arq")
    }
    return [
        f"| events, sent and processed ({sandbox}, AOF everysec) | per second | trigger is |",
        "|---|---|---|",
        f"| queue trigger, batches of {BATCH} | {middle['trigger']:,.0f} | |",
        f"| RQ SimpleWorker | {middle['rq']:,.0f} | {ratio['rq']:.1f} times that |",
        f"| arq | {middle['arq']:,.0f} | {ratio['arq']:.1f} times that |",
        "",
        "| queues | |",
        "|---|---|",
        *(f"| SendMessage, {n} conn. | {rate:,.0f} per second |" for n, rate in sends.items()),
        f"| SendMessage to the handler's first line, warm | p50 {statistics.median(latency):.1f} ms, "
        f"p99 {latency[int(len(latency) * 0.99)]:.1f} ms |",
        f"| memory of each of {plan.waiting_messages:,} waiting messages, beyond its body | {each:,.0f} bytes |",
        f"| ReceiveMessage from {SENDERS * BATCH} · from {plan.waiting_messages:,} "
        f"| {few:,.0f} · {many:,.0f} per second |",
    ]
