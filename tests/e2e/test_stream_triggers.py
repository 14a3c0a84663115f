"""Redis streams as triggers: `lambent up`, a producer that knows only Redis, and boto3 for the mapping."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from typing import Any

import pytest
import redis
from botocore.exceptions import ClientError

from waiting import until

SOURCE = """
import json, time

def work(event, context):
    for record in event["Records"]:
        fields = record["redis"]["fields"]
        if fields["n"] == "poison":
            raise ValueError("poison")
    numbers = [record["redis"]["fields"]["n"] for record in event["Records"]]
    time.sleep(float(event["Records"][0]["redis"]["fields"].get("s", 0)))
    print("worked", json.dumps(numbers))

def report(event, context):
    failed = [r["redis"]["sequenceNumber"] for r in event["Records"] if r["redis"]["fields"]["n"] == "poison"]
    print("worked", json.dumps([r["redis"]["fields"]["n"] for r in event["Records"]]))
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}

def keep(event, context):
    print("kept", json.dumps(event))
"""


def producer(platform: Any) -> redis.Redis:
    """What a producer has: a client of Redis."""
    return redis.Redis(unix_socket_path=str(platform.data_dir / "redis" / "run" / "valkey.sock"), decode_responses=True)


def arn(stream: str) -> str:
    """The ARN of a stream."""
    return f"arn:aws:redis-streams:us-east-1:000000000000:stream/{stream}"


def mapped(platform: Any, name: str, stream: str, **more: Any) -> str:
    """Map a stream to a function, and return the mapping's UUID once it is polled."""
    client = platform.client("lambda")
    made = client.create_event_source_mapping(
        FunctionName=name, EventSourceArn=arn(stream), **{"StartingPosition": "TRIM_HORIZON", **more}
    )
    assert made["State"] == "Creating"
    mapping = str(made["UUID"])
    until(
        lambda: client.get_event_source_mapping(UUID=mapping)["State"] == "Enabled", within_s=10, what="it is enabled"
    )
    return mapping


def lines(platform: Any, name: str, start: str) -> list[Any]:
    """What a function printed as JSON behind a word, in order."""
    logs = platform.client("logs")
    try:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
        found = [event["message"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [json.loads(line.removeprefix(start)) for line in found if line.startswith(f"{start} ")]


def worked(platform: Any, name: str) -> list[str]:
    """All numbers that a function has worked on, in order."""
    return [n for batch in lines(platform, name, "worked") for n in batch]


@pytest.fixture
def stream() -> str:
    """The name of a stream that nobody has used."""
    return f"orders-{uuid.uuid4().hex[:8]}"


def test_a_stream_feeds_a_function(platform: Any, stream: str) -> None:
    """Entries reach the function in order, and LastProcessingResult says so; the mapping is shown with its settings."""
    name = platform.deploy(SOURCE, handler="app.work")
    client = producer(platform)
    for n in range(5):
        client.xadd(stream, {"n": n})
    mapping = mapped(platform, name, stream)
    for n in range(5, 10):
        client.xadd(stream, {"n": n})
    wanted = [str(n) for n in range(10)]
    until(lambda: worked(platform, name) == wanted, within_s=20, what="all were worked on, in order")
    until(
        lambda: client.xpending(stream, f"lambent:{mapping}")["pending"] == 0, within_s=5, what="all are acknowledged"
    )
    shown = platform.client("lambda").get_event_source_mapping(UUID=mapping)
    assert (shown["BatchSize"], shown["StartingPosition"], shown["MaximumRetryAttempts"]) == (100, "TRIM_HORIZON", -1)
    assert shown["EventSourceArn"] == arn(stream)
    until(
        lambda: platform.client("lambda").get_event_source_mapping(UUID=mapping)["LastProcessingResult"] == "OK",
        within_s=5,
        what="the result is shown",
    )
    platform.client("lambda").delete_event_source_mapping(UUID=mapping)
    until(lambda: client.xinfo_groups(stream) == [], within_s=10, what="the consumer group is gone")


def test_poison_ends_in_the_dead_letter_stream(platform: Any, stream: str) -> None:
    """One entry that cannot be worked on is found by halving; it alone ends in the dead-letter stream."""
    name = platform.deploy(SOURCE, handler="app.work")
    client = producer(platform)
    for n in ("0", "1", "2", "poison", "4", "5", "6"):
        client.xadd(stream, {"n": n, "photo": "x"})
    mapping = mapped(
        platform,
        name,
        stream,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": arn(f"{stream}-dead")}},
    )
    until(lambda: client.xlen(f"{stream}-dead") == 1, within_s=30, what="the poison is dead")
    until(lambda: worked(platform, name) == ["0", "1", "2", "4", "5", "6"], within_s=20, what="the others are done")
    [(_, dead)] = client.xrange(f"{stream}-dead")
    assert (dead["n"], dead["photo"], dead["lambent:condition"]) == ("poison", "x", "RetryAttemptsExhausted")
    platform.client("lambda").delete_event_source_mapping(UUID=mapping)


def test_a_destination_is_told_and_failures_are_reported(platform: Any, stream: str) -> None:
    """With reported failures the checkpoint moves, and a function as destination learns where the entries are."""
    keeper = platform.deploy(SOURCE, handler="app.keep")
    name = platform.deploy(SOURCE, handler="app.report")
    client = producer(platform)
    ids = [client.xadd(stream, {"n": n}) for n in ("0", "1", "poison")]
    keeper_arn = platform.client("lambda").get_function_configuration(FunctionName=keeper)["FunctionArn"]
    mapping = mapped(
        platform,
        name,
        stream,
        MaximumRetryAttempts=1,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        DestinationConfig={"OnFailure": {"Destination": keeper_arn}},
    )
    [envelope] = until(lambda: lines(platform, keeper, "kept"), within_s=30, what="the destination is told")
    assert envelope["requestContext"]["condition"] == "RetryAttemptsExhausted"
    info = envelope["RedisStreamBatchInfo"]
    assert (info["startSequenceNumber"], info["endSequenceNumber"], info["batchSize"]) == (ids[2], ids[2], 1)
    assert lines(platform, name, "worked") == [["0", "1", "poison"], ["poison"]]
    platform.client("lambda").delete_event_source_mapping(UUID=mapping)


def test_latest_begins_when_the_mapping_is_enabled(platform: Any, stream: str) -> None:
    """With LATEST nothing that was there comes, and nothing is missed that is added once the mapping is enabled."""
    name = platform.deploy(SOURCE, handler="app.work")
    client = producer(platform)
    client.xadd(stream, {"n": "old"})
    mapping = mapped(platform, name, stream, StartingPosition="LATEST")
    client.xadd(stream, {"n": "new"})
    until(lambda: worked(platform, name) == ["new"], within_s=20, what="the new one comes alone")
    platform.client("lambda").delete_event_source_mapping(UUID=mapping)


def test_a_queue_is_told(platform: Any, stream: str) -> None:
    """A queue as destination gets the envelope as a message."""
    sqs = platform.client("sqs")
    url = sqs.create_queue(QueueName=f"{stream}-dead")["QueueUrl"]
    name = platform.deploy(SOURCE, handler="app.work")
    [entry_id] = [producer(platform).xadd(stream, {"n": "poison"})]
    queue = f"arn:aws:sqs:us-east-1:000000000000:{stream}-dead"
    mapping = mapped(
        platform, name, stream, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": queue}}
    )
    [message] = until(
        lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5).get("Messages"), within_s=30, what="it is told"
    )
    body = json.loads(message["Body"])
    assert body["RedisStreamBatchInfo"]["startSequenceNumber"] == entry_id
    assert body["responseContext"]["functionError"] == "Unhandled"
    platform.client("lambda").delete_event_source_mapping(UUID=mapping)


def test_filters(platform: Any, stream: str) -> None:
    """Entries that the filters do not let through never reach the function."""
    name = platform.deploy(SOURCE, handler="app.work")
    pattern = '{"data": {"kind": [{"prefix": "order"}], "amount": [{"numeric": [">=", 10]}]}}'
    mapping = mapped(platform, name, stream, FilterCriteria={"Filters": [{"Pattern": pattern}]})
    client = producer(platform)
    for n, (kind, amount) in enumerate([("order.made", 10), ("order.made", 9), ("user.made", 10), ("order.x", 11.5)]):
        client.xadd(stream, {"n": n, "kind": kind, "amount": amount})
    until(lambda: worked(platform, name) == ["0", "3"], within_s=20, what="two pass")
    until(lambda: client.xpending(stream, f"lambent:{mapping}")["pending"] == 0, within_s=5, what="the others are done")
    platform.client("lambda").delete_event_source_mapping(UUID=mapping)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"StartingPosition": None}, "startingPosition"),
        ({"EventSourceArn": arn("l1:{p0}:fn:x")}, "Unrecognized event source"),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"data": []}'}]}}, "Invalid filter pattern definition"),
        ({"MaximumRecordAgeInSeconds": 5}, "MaximumRecordAgeInSeconds"),
        ({"ScalingConfig": {"MaximumConcurrency": 2}}, "ScalingConfig"),
        ({"TumblingWindowInSeconds": 5}, "TumblingWindowInSeconds"),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:none"}}},
            "does not exist",
        ),
    ],
)
def test_bad_settings_are_refused(platform: Any, stream: str, more: dict[str, Any], words: str) -> None:
    """What means nothing for a stream is refused when the mapping is made, as InvalidParameterValueException."""
    name = platform.deploy(SOURCE, handler="app.work", name="stream-settings")
    given = {"FunctionName": name, "EventSourceArn": arn(stream), "StartingPosition": "LATEST", **more}
    with pytest.raises(ClientError, match=words) as caught:
        platform.client("lambda").create_event_source_mapping(**{k: v for k, v in given.items() if v is not None})
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"


def test_ages_follow_a_clock_that_is_moved(running: Any, stream: str) -> None:
    """Moving the clock makes what fails too old at once, and does no harm to what is added after."""
    with running("process", clock="virtual") as platform:
        name = platform.deploy(SOURCE, handler="app.work")
        client = producer(platform)
        mapping = mapped(
            platform,
            name,
            stream,
            MaximumRecordAgeInSeconds=3600,
            DestinationConfig={"OnFailure": {"Destination": arn(f"{stream}-dead")}},
        )
        client.xadd(stream, {"n": "poison"})
        result = platform.client("lambda").get_event_source_mapping
        until(lambda: "PROBLEM" in result(UUID=mapping)["LastProcessingResult"], within_s=20, what="it fails")
        assert client.xlen(f"{stream}-dead") == 0
        subprocess.run(
            [sys.executable, "-m", "lambent.cli.main", "clock", "advance", "2h", "--endpoint", platform.endpoint],
            check=True,
            timeout=30,
        )
        until(lambda: client.xlen(f"{stream}-dead") == 1, within_s=10, what="it is given up")
        [(_, dead)] = client.xrange(f"{stream}-dead")
        assert dead["lambent:condition"] == "RecordAgeExceeded"
        client.xadd(stream, {"n": 1})
        until(lambda: worked(platform, name) == ["1"], within_s=20, what="what is new is worked on")
