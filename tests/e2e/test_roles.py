"""Roles started one by one: two gateways, two workers in two pools and two schedulers on one Redis, some killed."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from cluster import Cluster, free_port
from waiting import until

SOURCE = "import os, time\n\ndef handler(event, context):\n    time.sleep(event.get('s', 0))\n    return event\n"


@pytest.fixture(scope="module")
def cluster(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two gateways, two workers in two pools, two schedulers, started in no particular order."""
    redis.Redis.from_url(redis_url).flushall()
    cluster = Cluster(redis_url, tmp_path_factory.mktemp("roles"), (free_port(), free_port()))
    try:
        cluster.worker("w1")
        cluster.worker("w2", "--pool", "other")
        for name in ("s1", "s2"):
            cluster.start(name, "scheduler", "--worker-lease-s", "4", "--async-retry-delays-s", "1,1")
        for number, port in enumerate(cluster.ports):
            cluster.start(f"g{number}", "gateway", "--port", str(port), "--capacity-wait-s", "8")
        for number in (0, 1):
            until(lambda number=number: cluster.ready(number), within_s=30, what=f"gateway {number} is ready")
        yield cluster
    except BaseException:
        sys.stderr.write(cluster.logs())
        raise
    finally:
        cluster.end()


def deploy(cluster: Cluster, package: Callable[[str], bytes], *, source: str = SOURCE, **options: Any) -> str:
    """Create a function through the first gateway and wait until it is active."""
    name = f"f-{uuid.uuid4().hex[:8]}"
    client = cluster.client()
    client.create_function(
        FunctionName=name,
        Runtime=cluster.python(),
        Role="arn:aws:iam::000000000000:role/r",
        Handler="app.handler",
        Code={"ZipFile": package(source)},
        **{"Timeout": 30, **options},
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return name


def call(cluster: Cluster, name: str, event: Any, gateway: int = 0) -> Any:
    """Invoke a function through one of the gateways."""
    answer = cluster.client(gateway).invoke(FunctionName=name, Payload=json.dumps(event))
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read())


@pytest.fixture
def package() -> Callable[[str], bytes]:
    """Make a zip of one program."""
    import io
    import zipfile

    def make(source: str) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("app.py", source)
        return buffer.getvalue()

    return make


def test_gateways_share_everything(cluster: Cluster, package: Callable[[str], bytes]) -> None:
    """What one gateway deploys, the other calls; an answer reaches the gateway that asked."""
    name = deploy(cluster, package)
    with ThreadPoolExecutor(8) as pool:
        sent = [{"n": n, "s": 0.05} for n in range(40)]
        got = list(pool.map(lambda event: call(cluster, name, event, gateway=event["n"] % 2), sent))
    assert got == sent


def test_a_function_runs_in_its_pool(cluster: Cluster, package: Callable[[str], bytes]) -> None:
    """The tag `lambent:pool` names the workers that may run a function."""
    here, there = deploy(cluster, package), deploy(cluster, package, Tags={"lambent:pool": "other"})
    assert call(cluster, here, {"n": 1}) == {"n": 1}
    assert call(cluster, there, {"n": 2}) == {"n": 2}
    workers = {row["function"]: row["worker"] for row in cluster.environments()}
    assert workers[here] != workers[there]


def test_another_scheduler_takes_over(cluster: Cluster, package: Callable[[str], bytes]) -> None:
    """With the leading scheduler killed the other starts environments, after the lease ran out."""
    name = deploy(cluster, package)
    leader = until(lambda: "s1" if "leading" in (cluster.folder / "s1.log").read_text() else "s2", within_s=5, what="")
    cluster.kill(leader)

    def answered() -> bool:
        with contextlib.suppress(cluster.client().exceptions.TooManyRequestsException):
            return bool(call(cluster, name, {"n": 3}) == {"n": 3})
        return False

    until(answered, within_s=30, what="the other scheduler leads")
    cluster.start(leader, "scheduler", "--worker-lease-s", "4", "--async-retry-delays-s", "1,1")


def test_queue_triggers_move_to_the_next_scheduler(cluster: Cluster, package: Callable[[str], bytes]) -> None:
    """One scheduler polls at a time: what it takes is seen once; killed with -9, the other goes on where it was."""
    name = deploy(cluster, package, Timeout=5)
    sqs = cluster.client(service="sqs")
    url = sqs.create_queue(QueueName="moving", Attributes={"VisibilityTimeout": "5"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    cluster.client().create_event_source_mapping(EventSourceArn=arn, FunctionName=name, BatchSize=1)
    store = redis.Redis.from_url(cluster.redis_url)

    def runs() -> int:
        rows = [store.hgetall(key) for key in store.scan_iter(match=f"*:meter:*:{name}")]
        return sum(int(value) for row in rows for field, value in row.items() if field.endswith(b":requests"))

    def emptied() -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return set(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()) == {"0"}

    for _ in range(40):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    until(emptied, within_s=30, what="all are seen")
    until(lambda: runs() == 40, within_s=5, what="each message is seen once")

    leader = store.get("l1:{p0}:leader:scheduler")
    assert leader is not None
    doomed = next(n for n in ("s1", "s2") if f"-{cluster.roles[n].pid}-" in leader.decode())
    cluster.kill(doomed)
    for _ in range(20):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    until(emptied, within_s=40, what="the other scheduler goes on")
    assert runs() >= 60
    cluster.start(doomed, "scheduler", "--worker-lease-s", "4", "--async-retry-delays-s", "1,1")


STREAM_SOURCE = """
import json, time

def handler(event, context):
    time.sleep(0.2)
    print("worked", json.dumps([record["redis"]["fields"]["n"] for record in event["Records"]]))
"""
ENTRIES = 300


def worked(cluster: Cluster, name: str) -> list[int]:
    """What a function of a stream has printed, in order."""
    logs = cluster.client(service="logs")
    try:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
        lines = [event["message"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []
    batches = [json.loads(line.removeprefix("worked")) for line in lines if line.startswith("worked ")]
    return [int(n) for batch in batches for n in batch]


def test_streams_survive_killed_schedulers(cluster: Cluster, package: Callable[[str], bytes]) -> None:
    """With the leading scheduler killed in mid-batch the other goes on: every entry is worked on, in order."""
    name = deploy(cluster, package, source=STREAM_SOURCE)
    stream = f"orders-{name}"
    cluster.client().create_event_source_mapping(
        FunctionName=name,
        EventSourceArn=f"arn:aws:redis-streams:us-east-1:000000000000:stream/{stream}",
        StartingPosition="TRIM_HORIZON",
        BatchSize=5,
    )
    producer = redis.Redis.from_url(cluster.redis_url)
    for n in range(ENTRIES // 2):
        producer.xadd(stream, {"n": n})
    until(lambda: len(worked(cluster, name)) >= 20, within_s=30, what="some were worked on")
    leader = until(lambda: cluster.leader(producer), within_s=10, what="one leads")
    cluster.kill(leader)
    for n in range(ENTRIES // 2, ENTRIES):
        producer.xadd(stream, {"n": n})
    until(lambda: len(set(worked(cluster, name))) == ENTRIES, within_s=60, what="all were worked on")
    seen = worked(cluster, name)
    firsts = list(dict.fromkeys(seen))
    assert firsts == list(range(ENTRIES))
    assert len(seen) - ENTRIES <= 5, "only the batch in hand may come twice"
    [group] = producer.xinfo_groups(stream)
    until(lambda: producer.xpending(stream, group["name"])["pending"] == 0, within_s=5, what="all are acknowledged")
    cluster.start(leader, "scheduler", "--worker-lease-s", "4", "--async-retry-delays-s", "1,1")


def test_a_killed_worker_is_given_up(cluster: Cluster, package: Callable[[str], bytes]) -> None:
    """Calls on a worker that was killed are answered; another worker of its pool runs the next ones."""
    name = deploy(cluster, package)
    assert call(cluster, name, {"n": 1}) == {"n": 1}
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(call, cluster, name, {"s": 25})
        time.sleep(1)
        cluster.worker("w3")
        cluster.kill("w1")
        with pytest.raises(cluster.client().exceptions.ServiceException, match="lost"):
            lost.result(timeout=25)
    assert call(cluster, name, {"n": 2}, gateway=1) == {"n": 2}


def test_a_killed_gateway_is_nobody_elses_trouble(cluster: Cluster, package: Callable[[str], bytes]) -> None:
    """Callers of the other gateway notice nothing."""
    name = deploy(cluster, package)
    with ThreadPoolExecutor(2) as pool:
        doomed = pool.submit(call, cluster, name, {"s": 2}, 1)
        fine = pool.submit(call, cluster, name, {"s": 2, "n": 5}, 0)
        time.sleep(0.7)
        cluster.kill("g1")
        assert fine.result(timeout=20) == {"s": 2, "n": 5}
        with pytest.raises(Exception, match=r"closed|reset|refused"):
            doomed.result(timeout=20)
    assert call(cluster, name, {"n": 6}) == {"n": 6}
