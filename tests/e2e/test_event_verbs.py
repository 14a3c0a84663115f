"""`lambent queues` and `lambent triggers`: as commands, with boto3 beside them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

WORKER = """
def handler(event, context):
    for record in event["Records"]:
        print("got", record["body"])
        if record["body"] == "bad":
            raise ValueError("bad")
"""


@pytest.fixture
def queue(lambent: Any) -> Iterator[str]:
    """A queue with a name of its own."""
    name = f"q{os.urandom(4).hex()}"
    lambent("queues", "create", name)
    yield name
    lambent("queues", "rm", "--force", name)


def test_messages_go_through_a_queue(lambent: Any, platform: Any, queue: str) -> None:
    """Sent with attributes, seen by boto3, peeked at, received, and gone."""
    url = platform.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
    ident = lambent("queues", "send", queue, "-d", "-", "-a", "kind=x", stdin=b"first \xc3\xa9").stdout.decode().strip()
    (row,) = json.loads(lambent("queues", "ls", queue, "--json").stdout)
    assert (row["name"], row["url"], row["attributes"]["ApproximateNumberOfMessages"]) == (queue, url, "1")
    (seen,) = json.loads(lambent("queues", "peek", queue, "--json").stdout)
    assert (seen["MessageId"], seen["Body"]) == (ident, "first é")
    assert seen["MessageAttributes"]["kind"] == {"DataType": "String", "StringValue": "x"}
    got = lambent("queues", "receive", queue, "--delete")
    assert got.stdout.decode() == "first é\n"
    assert got.stderr.decode().startswith(f"{ident}, sent 20")
    assert "received 2 times" in got.stderr.decode()
    empty = lambent("queues", "receive", queue)
    assert (empty.stdout, empty.stderr) == (b"", b"No messages.\n")
    assert json.loads(lambent("queues", "receive", queue, "--json").stdout) == []


def test_many_messages_are_received_and_purged(lambent: Any, platform: Any, queue: str) -> None:
    """More than one batch of SQS's; what is not deleted is in flight; purged is all of it."""
    client = platform.client("sqs")
    url = client.get_queue_url(QueueName=queue)["QueueUrl"]
    for start in range(0, 30, 10):
        client.send_message_batch(
            QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": f"m{n}"} for n in range(start, start + 10)]
        )
    got = json.loads(lambent("queues", "receive", queue, "-n", "25", "--json").stdout)
    assert len({each["MessageId"] for each in got}) == 25
    (line,) = (each for each in lambent("queues", "ls").stdout.decode().splitlines() if each.startswith(f"{queue} "))
    assert line.split()[1:4] == ["5", "25", "0"]
    lambent("queues", "purge", queue)
    shown = json.loads(lambent("queues", "show", queue, "--json").stdout)
    assert shown["ApproximateNumberOfMessages"] == shown["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_queues_of_each_kind_are_made(lambent: Any, platform: Any, queue: str) -> None:
    """FIFO with groups and deduplication; a dead-letter queue; any attribute by its name."""
    name = f"f{os.urandom(4).hex()}"
    created = lambent(
        "queues", "create", name, "--fifo", "--deduplicate", "--visibility", "2m", "--set", "DelaySeconds=0"
    )
    url = created.stdout.decode().strip()
    assert url.endswith(f"/{name}.fifo")
    attributes = platform.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (attributes["ContentBasedDeduplication"], attributes["VisibilityTimeout"]) == ("true", "120")
    first = lambent("queues", "send", f"{name}.fifo", "-d", "a", "--group", "g").stdout
    assert lambent("queues", "send", f"{name}.fifo", "-d", "a", "--group", "g").stdout == first
    assert "group g" in lambent("queues", "peek", f"{name}.fifo").stderr.decode()
    lambent("queues", "rm", f"{name}.fifo")
    lambent("queues", "create", name, "--dead-letter", queue, "--max-receives", "2")
    assert f"{queue} after 2" in lambent("queues", "ls", name).stdout.decode()
    lambent("queues", "rm", name)


def test_queues_that_are_not_there(lambent: Any) -> None:
    """AWS's own code and message in one line, with status 3; what SQS refuses too."""
    for verb in (("show",), ("send", "-d", "x"), ("receive",), ("peek",), ("purge",), ("rm",)):
        said = lambent("queues", verb[0], "absent", *verb[1:], status=3).stderr.decode()
        assert "QueueDoesNotExist" in said or "NonExistentQueue" in said
        assert said.count("\n") == 1
    lambent("queues", "rm", "--force", "absent")
    assert "InvalidParameterValue" in lambent("queues", "create", "no spaces here", status=3).stderr.decode()
    lambent("queues", "send", "absent", status=2)


def test_the_life_of_a_trigger(lambent: Any, platform: Any, queue: str) -> None:
    """Made, seen at work, disabled, enabled, and gone; named by its id or its function."""
    name = platform.deploy(WORKER)
    uuid = lambent("triggers", "create", name, "--queue", queue, "--batch-size", "5").stdout.decode().strip()
    _settled(lambent, uuid, "Enabled")
    lambent("queues", "send", queue, "-d", "one")
    deadline = time.monotonic() + 30
    while "got one" not in (log := lambent("logs", name, "--since", "5m").stdout.decode()):
        assert time.monotonic() < deadline, log
    (line,) = lambent("triggers", "ls", name).stdout.decode().splitlines()[1:]
    assert line.split()[:5] == [name, "queue", queue, "5", "Enabled"]
    shown = _settled(lambent, name, "Enabled", result="OK")
    assert (shown["UUID"], shown["BatchSize"]) == (uuid, 5)
    lambent("triggers", "disable", name)
    _settled(lambent, uuid, "Disabled")
    lambent("queues", "send", queue, "-d", "two")
    lambent("triggers", "enable", uuid)
    deadline = time.monotonic() + 30
    while "got two" not in (log := lambent("logs", name, "--since", "5m").stdout.decode()):
        assert time.monotonic() < deadline, log
    lambent("triggers", "rm", name)
    deadline = time.monotonic() + 30
    while json.loads(lambent("triggers", "ls", name, "--json").stdout):
        assert time.monotonic() < deadline
    assert "No triggers" in lambent("triggers", "ls", name).stderr.decode()
    lambent("rm", name)


def test_triggers_that_make_no_sense(lambent: Any, platform: Any, queue: str) -> None:
    """What names nothing, or is refused, is one line; two triggers must be told apart."""
    name = platform.deploy(WORKER)
    assert "either --queue or --stream" in lambent("triggers", "create", name, status=2).stderr.decode()
    assert "for streams" in lambent("triggers", "create", name, "--queue", queue, "--bisect", status=2).stderr.decode()
    assert "has no trigger" in lambent("triggers", "show", name, status=3).stderr.decode()
    for arguments in (("create", name, "--queue", "absent"), ("create", "absent", "--queue", queue)):
        said = lambent("triggers", *arguments, status=3).stderr.decode()
        assert said.startswith("lambent: ")
        assert said.count("\n") == 1
    other = f"{queue}-2"
    lambent("queues", "create", other)
    for each in (queue, other):
        lambent("triggers", "create", name, "--queue", each, "--disabled")
    said = lambent("triggers", "show", name, status=2).stderr.decode()
    assert f"{name} has 2 triggers" in said
    assert other in said
    lambent("rm", name)
    lambent("queues", "rm", other)


def _settled(lambent: Any, name: str, state: str, *, result: str | None = None) -> dict[str, Any]:
    """Wait until a trigger is in a state, and the last batch came to a result."""
    deadline = time.monotonic() + 30
    while True:
        shown: dict[str, Any] = json.loads(lambent("triggers", "show", name, "--json").stdout)
        if shown["State"] == state and result in (None, shown.get("LastProcessingResult")):
            return shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)


def test_the_life_of_a_schedule(lambent: Any, platform: Any, queue: str) -> None:
    """Made, listed with its next time, disabled, enabled, at work, and gone; rules as schedules."""
    arn = platform.client("sqs").get_queue_attributes(
        QueueUrl=platform.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"], AttributeNames=["QueueArn"]
    )["Attributes"]["QueueArn"]
    name, once, rule = f"s-{queue}", f"o-{queue}", f"r-{queue}"
    lambent("schedules", "create", name, "cron(0 3 1 1 ? 2090)", "--queue", queue, "--zone", "Europe/Berlin")
    events = platform.client("events")
    events.put_rule(Name=rule, ScheduleExpression="cron(30 4 1 7 ? 2091)")
    events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": arn}])
    listed = {each["name"]: each for each in json.loads(lambent("schedules", "ls", "--json").stdout)}
    assert (listed[name]["kind"], listed[name]["next"]) == ("schedule", "2090-01-01T02:00:00Z")
    assert (listed[rule]["kind"], listed[rule]["next"]) == ("rule", "2091-07-01T04:30:00Z")
    (line,) = (each for each in lambent("schedules", "ls").stdout.decode().splitlines() if each.startswith(f"{name} "))
    assert f"queue {queue}" in line
    assert json.loads(lambent("schedules", "show", name, "--json").stdout)["Next"] == ["2090-01-01T02:00:00Z"]
    for each in (name, rule):
        lambent("schedules", "disable", each)
        shown = json.loads(lambent("schedules", "show", each, "--json").stdout)
        assert (shown["State"], shown["Next"]) == ("DISABLED", [])
        lambent("schedules", "enable", each)
        shown = json.loads(lambent("schedules", "show", each, "--json").stdout)
        assert (shown["State"], len(shown["Next"])) == ("ENABLED", 1)
        lambent("schedules", "rm", each)
        assert "ResourceNotFoundException" in lambent("schedules", "show", each, status=3).stderr.decode()
    due = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    lambent("schedules", "create", once, f"at({due})", "--queue", queue, "-i", '{"now": true}', "--once")
    (got,) = json.loads(lambent("queues", "receive", queue, "--wait", "20s", "--json").stdout)
    assert json.loads(got["Body"]) == {"now": True}


def test_schedules_that_make_no_sense(lambent: Any, queue: str) -> None:
    """No target is wrong usage; an expression that is none is refused in one line, with AWS's code."""
    assert (
        "either --function or --queue" in lambent("schedules", "create", "x", "rate(1 day)", status=2).stderr.decode()
    )
    said = lambent("schedules", "create", f"x-{queue}", "every(day)", "--queue", queue, status=3).stderr.decode()
    assert said.startswith("lambent: ValidationException: ")
    assert said.count("\n") == 1
    for verb in ("show", "enable", "disable", "rm"):
        assert "ResourceNotFoundException" in lambent("schedules", verb, "absent", status=3).stderr.decode()
