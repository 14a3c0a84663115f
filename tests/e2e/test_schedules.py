"""Schedules and rules on a whole platform whose clock is moved: daylight saving, a day of hours, killed schedulers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis

from cluster import Cluster, free_port
from waiting import until

SOURCE = """
import json

def keep(event, context):
    print("kept", json.dumps(event))

def fail(event, context):
    raise ValueError("no good")
"""
ROLE = "arn:aws:iam::000000000000:role/any"
OFF = {"Mode": "OFF"}
FIRINGS = "l1:{p0}:firingsdue"


def kept(platform: Any, name: str) -> list[Any]:
    """The events that a function was sent, in the order of its log."""
    logs = platform.client("logs")
    try:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", limit=10_000)
    except logs.exceptions.ResourceNotFoundException:
        return []
    lines = [event["message"] for event in found["events"]]
    return [json.loads(line.removeprefix("kept ")) for line in lines if line.startswith("kept ")]


def now(platform: Any) -> datetime:
    """What the platform's clock says."""
    return datetime.fromtimestamp(platform.get("/_lambent/clock")["now_ms"] / 1000, UTC)


def drained(sqs: Any, url: str) -> list[str]:
    """Take every message that a queue has, without waiting for more."""
    bodies: list[str] = []
    while True:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ())
        if not found:
            return bodies
        bodies += [message["Body"] for message in found]
        entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(found)]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)


def queue(sqs: Any, **attributes: str) -> tuple[str, str]:
    """Make a queue; returns its URL and ARN."""
    url = sqs.create_queue(QueueName=f"q-{uuid.uuid4().hex[:8]}", Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def function_arn(platform: Any, name: str) -> str:
    """The ARN of a function."""
    return str(platform.client("lambda").get_function_configuration(FunctionName=name)["FunctionArn"])


def test_cron_over_a_change_of_the_clocks(timeless: Any) -> None:
    """A function is called by a cron in Berlin's time over both of the year's changes of the clocks."""
    name = timeless.deploy(SOURCE, handler="app.keep")
    text = '{"at": "<aws.scheduler.scheduled-time>"}'
    year = now(timeless).year + 1
    scheduler = timeless.client("scheduler")
    scheduler.create_schedule(
        Name=name,
        ScheduleExpression=f"cron(30 2 26-31 3,10 ? {year})",
        ScheduleExpressionTimezone="Europe/Berlin",
        FlexibleTimeWindow=OFF,
        Target={"Arn": function_arn(timeless, name), "RoleArn": ROLE, "Input": text},
    )
    timeless.set_clock(f"{year}-12-01T00:00:00Z")
    berlin, expected = ZoneInfo("Europe/Berlin"), []
    for month in (3, 10):
        for day in range(26, 32):
            wall = datetime(year, month, day, 2, 30)
            moment = wall.replace(tzinfo=berlin).astimezone(UTC)
            if moment.astimezone(berlin).replace(tzinfo=None) == wall:
                expected.append(f"{moment:%Y-%m-%dT%H:%M:%SZ}")
    assert len(expected) == 11  # one of the twelve does not exist
    until(lambda: len(kept(timeless, name)) >= 11, within_s=30, what="it was called each time")
    time.sleep(1.5)
    assert sorted(event["at"] for event in kept(timeless, name)) == expected


def test_a_rate_advanced_by_a_day_fires_24_times(timeless: Any) -> None:
    """A rule and a schedule with a rate of an hour fire 24 times in a day, each hour once."""
    sqs, events, scheduler = (timeless.client(service) for service in ("sqs", "events", "scheduler"))
    rule_url, rule_queue = queue(sqs)
    schedule_url, schedule_queue = queue(sqs)
    name = f"r-{uuid.uuid4().hex[:8]}"
    events.put_rule(Name=name, ScheduleExpression="rate(1 hour)")
    events.put_targets(Rule=name, Targets=[{"Id": "q", "Arn": rule_queue}])
    scheduler.create_schedule(
        Name=name, ScheduleExpression="rate(1 hour)", FlexibleTimeWindow=OFF,
        Target={"Arn": schedule_queue, "RoleArn": ROLE, "Input": "<aws.scheduler.scheduled-time>"},
    )  # fmt: skip
    until(lambda: drained(sqs, schedule_url), within_s=10, what="the schedule begins")
    timeless.advance("24h")
    got: dict[str, list[str]] = {rule_url: [], schedule_url: []}

    def arrived(url: str) -> Callable[[], bool]:
        def condition() -> bool:
            got[url] += drained(sqs, url)
            return len(got[url]) >= 24

        return condition

    for url in got:
        until(arrived(url), within_s=20, what="24 messages")
    time.sleep(0.5)
    assert [drained(sqs, url) for url in got] == [[], []]
    times = sorted(datetime.fromisoformat(text) for text in got[schedule_url])
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [timedelta(hours=1)] * 23
    bodies = [json.loads(text) for text in got[rule_url]]
    assert {(body["source"], body["detail-type"]) for body in bodies} == {("aws.events", "Scheduled Event")}
    assert len({body["time"] for body in bodies}) == 24
    scheduler.delete_schedule(Name=name)
    events.remove_targets(Rule=name, Ids=["q"])
    events.delete_rule(Name=name)


def test_one_time_in_real_time(timeless: Any) -> None:
    """`at` calls its function within a second of its time, by a clock that nobody moves meanwhile, and is gone then."""
    name = timeless.deploy(SOURCE, handler="app.keep")
    timeless.call(name, {"warm": True})
    sqs, scheduler = timeless.client("sqs"), timeless.client("scheduler")
    url, arn = queue(sqs)
    at = now(timeless).replace(microsecond=0) + timedelta(seconds=3)
    for number, target in enumerate((arn, function_arn(timeless, name))):
        scheduler.create_schedule(
            Name=f"{name}-{number}", ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})", FlexibleTimeWindow=OFF,
            ActionAfterCompletion="DELETE", Target={"Arn": target, "RoleArn": ROLE, "Input": '{"x": 1}'},
        )  # fmt: skip
    found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, AttributeNames=["SentTimestamp"])["Messages"]
    sent = datetime.fromtimestamp(int(found[0]["Attributes"]["SentTimestamp"]) / 1000, UTC)
    assert timedelta(0) <= sent - at < timedelta(seconds=1)
    until(lambda: {"x": 1} in kept(timeless, name), within_s=10, what="the function was called")
    listed = scheduler.list_schedules(NamePrefix=name)["Schedules"]
    assert listed == []


def test_a_schedule_of_what_is_not_there_ends_in_its_dead_letter_queue(timeless: Any) -> None:
    """A schedule of a function that does not exist is told to its queue at once, with AWS's attributes."""
    sqs, scheduler = timeless.client("sqs"), timeless.client("scheduler")
    url, arn = queue(sqs)
    name = f"s-{uuid.uuid4().hex[:8]}"
    target = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    scheduler.create_schedule(
        Name=name, ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF,
        Target={"Arn": target, "RoleArn": ROLE, "Input": '{"a": 1}', "DeadLetterConfig": {"Arn": arn}},
    )  # fmt: skip
    [letter] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, MessageAttributeNames=["All"])["Messages"]
    facts = {key: value["StringValue"] for key, value in letter["MessageAttributes"].items()}
    assert letter["Body"] == '{"a": 1}'
    assert (facts["ERROR_CODE"], facts["TARGET_ARN"]) == ("ResourceNotFoundException", target)
    scheduler.delete_schedule(Name=name)


def test_the_aws_command_line(timeless: Any) -> None:
    """The AWS CLI makes, shows, lists and deletes schedules and rules."""

    def aws(*words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "awscli", "--endpoint-url", timeless.endpoint, "--region", "us-east-1", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    target = json.dumps({"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "RoleArn": ROLE})
    aws("scheduler", "create-schedule", "--name", "cli", "--schedule-expression", "cron(0 8 ? * MON-FRI *)",
        "--schedule-expression-timezone", "Europe/Berlin", "--flexible-time-window", "Mode=OFF", "--target", target,
        "--state", "DISABLED")  # fmt: skip
    assert aws("scheduler", "get-schedule", "--name", "cli")["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert [one["Name"] for one in aws("scheduler", "list-schedules", "--name-prefix", "cli")["Schedules"]] == ["cli"]
    aws("scheduler", "delete-schedule", "--name", "cli")
    aws("events", "put-rule", "--name", "cli", "--schedule-expression", "rate(5 minutes)", "--state", "DISABLED")
    assert aws("events", "describe-rule", "--name", "cli")["State"] == "DISABLED"
    aws("events", "delete-rule", "--name", "cli")


@pytest.fixture
def cluster(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A gateway and two schedulers of their own, with a clock that is moved; nothing runs functions."""
    redis.Redis.from_url(redis_url).flushall()
    port = free_port()
    cluster = Cluster(redis_url, tmp_path_factory.mktemp("schedules"), (port, port))
    try:
        for name in ("s1", "s2"):
            cluster.start(name, "scheduler", "--clock", "virtual")
        cluster.start("g", "gateway", "--port", str(port), "--clock", "virtual")
        until(lambda: _answers(port), within_s=30, what="the gateway answers")
        yield cluster
    except BaseException:
        sys.stderr.write(cluster.logs())
        raise
    finally:
        cluster.end()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
    except OSError:
        return False
    return True


def test_schedulers_killed_between_tick_and_dispatch(cluster: Cluster) -> None:
    """A day of minutes; the leading scheduler is killed with -9 while firings wait, three times: each minute is one."""
    store = redis.Redis.from_url(cluster.redis_url)
    sqs, scheduler = cluster.client(service="sqs"), cluster.client(service="scheduler")
    url, arn = queue(sqs)
    until(lambda: cluster.leader(store), within_s=15, what="one leads")
    scheduler.create_schedule(
        Name="minutes", ScheduleExpression="rate(1 minute)", FlexibleTimeWindow=OFF,
        Target={"Arn": arn, "RoleArn": ROLE, "Input": "<aws.scheduler.scheduled-time>"},
    )  # fmt: skip
    for _ in range(3):
        body = json.dumps({"advance": "8h"}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{cluster.ports[0]}/_lambent/clock", body, timeout=10).close()
        while store.zcard(FIRINGS) == 0:
            time.sleep(0.001)
        doomed = cluster.leader(store)
        cluster.kill(doomed)
        until(lambda gone=doomed: cluster.leader(store) not in ("", gone), within_s=20, what="the other leads")
        cluster.start(doomed, "scheduler", "--clock", "virtual")
        # That a message was sent is remembered for minutes of event time: the next move must not pass over them.
        until(lambda: store.zcard(FIRINGS) == 0, within_s=30, what="the other has sent what was left")

    def messages() -> int:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    until(lambda: messages() >= 24 * 60 and store.zcard(FIRINGS) == 0, within_s=60, what="all were sent")
    bodies = drained(sqs, url)
    times = sorted(datetime.fromisoformat(text) for text in bodies)
    assert len(set(times)) == len(times)
    gaps = {later - earlier for earlier, later in itertools.pairwise(times)}
    assert gaps == {timedelta(minutes=1)}
    assert times[-1] - times[0] >= timedelta(days=1)
