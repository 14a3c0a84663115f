"""EventBridge's rules with a schedule, by boto3: as SAM and Terraform make them, and as they fire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.schedules.conftest import FUNCTION, QUEUE, Bench, calling, eventually, refused

from lambent_platform.contracts.errors import ResourceNotFound
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.rules_api import RuleAccess, serve_rules
from lambent_platform.store.schedules import ScheduleStore

RULE = "arn:aws:events:us-east-1:000000000000:rule/r"


@pytest.fixture
async def events(bench: Bench, service_catalog: ServiceCatalog) -> AsyncIterator[Any]:
    """A boto3 client of `events`: `await events(name, **parameters)`."""
    registry = Registry()
    serve_rules(registry, RuleAccess(schedules=ScheduleStore(bench.redis), clock=bench.timer))
    async with calling("events", registry, service_catalog) as call:
        yield call


async def put(events: Any, *targets: dict[str, Any], name: str = "r", expression: str = "rate(1 hour)") -> None:
    """Make a rule with targets."""
    await events("put_rule", Name=name, ScheduleExpression=expression)
    await events("put_targets", Rule=name, Targets=list(targets) or [{"Id": "t", "Arn": FUNCTION}])


async def test_a_rule_is_made_shown_changed_and_deleted(events: Any) -> None:
    """What tools do with a rule: put, describe, tag, disable, list, take its targets, delete."""
    made = await events("put_rule", Name="r", ScheduleExpression="rate(5 minutes)", Description="d",
                        Tags=[{"Key": "a", "Value": "1"}])  # fmt: skip
    assert made == {"RuleArn": RULE}
    shown = {"Name": "r", "Arn": RULE, "ScheduleExpression": "rate(5 minutes)", "State": "ENABLED",
             "Description": "d", "EventBusName": "default"}  # fmt: skip
    assert await events("describe_rule", Name="r") == {**shown, "CreatedBy": "000000000000"}
    assert (await events("list_rules", NamePrefix="r"))["Rules"] == [shown]
    assert (await events("list_tags_for_resource", ResourceARN=RULE))["Tags"] == [{"Key": "a", "Value": "1"}]
    await events("tag_resource", ResourceARN=RULE, Tags=[{"Key": "b", "Value": "2"}])
    await events("untag_resource", ResourceARN=RULE, TagKeys=["a"])
    assert (await events("list_tags_for_resource", ResourceARN=RULE))["Tags"] == [{"Key": "b", "Value": "2"}]
    target = {"Id": "t", "Arn": FUNCTION, "Input": '{"a": 1}'}
    assert (await events("put_targets", Rule="r", Targets=[target]))["FailedEntryCount"] == 0
    assert (await events("list_targets_by_rule", Rule="r"))["Targets"] == [target]
    assert (await events("list_rule_names_by_target", TargetArn=FUNCTION))["RuleNames"] == ["r"]
    await events("put_rule", Name="r", ScheduleExpression="cron(0 12 * * ? *)", State="DISABLED")
    changed = await events("describe_rule", Name="r")
    assert (changed["State"], changed["ScheduleExpression"]) == ("DISABLED", "cron(0 12 * * ? *)")
    assert "Description" not in changed
    await events("enable_rule", Name="r")
    assert (await events("describe_rule", Name="r"))["State"] == "ENABLED"
    with refused("ValidationException", "since it has targets"):
        await events("delete_rule", Name="r")
    failed = await events("remove_targets", Rule="r", Ids=["t", "none"])
    assert [one["TargetId"] for one in failed["FailedEntries"]] == ["none"]
    await events("delete_rule", Name="r")
    await events("delete_rule", Name="r")
    with refused("ResourceNotFoundException", "Rule r does not exist on EventBusName default."):
        await events("describe_rule", Name="r")


async def test_there_is_one_bus(events: Any) -> None:
    """Tools that look for the default bus find it, by name and ARN; another one does not exist."""
    arn = "arn:aws:events:us-east-1:000000000000:event-bus/default"
    assert await events("describe_event_bus") == {"Name": "default", "Arn": arn}
    assert (await events("list_event_buses"))["EventBuses"] == [{"Name": "default", "Arn": arn}]
    await events("put_rule", Name="r", ScheduleExpression="rate(1 day)", EventBusName=arn)
    with refused("ResourceNotFoundException", "Event bus other does not exist."):
        await events("put_rule", Name="r", ScheduleExpression="rate(1 day)", EventBusName="other")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ScheduleExpression": "rate(1 hours)"}, "Parameter ScheduleExpression is not valid."),
        ({"ScheduleExpression": "at(2037-01-01T00:00:00)"}, "Parameter ScheduleExpression is not valid."),
        ({"ScheduleExpression": "cron(* * * * * *)"}, "Parameter ScheduleExpression is not valid."),
        ({}, "EventPattern or ScheduleExpression must be specified"),
        ({"ScheduleExpression": "rate(1 day)", "Name": "a b"}, "regular expression pattern"),
        ({"ScheduleExpression": "rate(1 day)", "Tags": [{"Key": "aws:x", "Value": ""}]}, "aws:"),
    ],
)
async def test_bad_rules_are_refused(events: Any, given: dict[str, Any], text: str) -> None:
    """What cannot be a rule is a ValidationException that says why, and nothing is made."""
    with refused("ValidationException", text):
        await events("put_rule", **{"Name": "r", **given})
    assert (await events("list_rules"))["Rules"] == []


@pytest.mark.parametrize(
    ("target", "code", "text"),
    [
        ({"Arn": "x"}, "ValidationException", "Provided Arn is not in correct format"),
        (
            {"Arn": "arn:aws:sns:us-east-1:000000000000:t"},
            "ValidationException",
            "only Lambda functions and SQS queues",
        ),
        ({"Input": "{"}, "ValidationException", "JSON syntax error in input for target t"),
        ({"Input": "1", "InputPath": "$"}, "ValidationException", "Only one of Input, InputPath, or InputTransformer"),
        ({"InputPath": "detail"}, "ValidationException", "InputPath for target t is invalid"),
        ({"Arn": f"{QUEUE}.fifo"}, "ValidationException", "SqsParameters must be specified for target: t"),
        ({"DeadLetterConfig": {"Arn": FUNCTION}}, "ValidationException", "standard SQS queue"),
        ({"RetryPolicy": {"MaximumRetryAttempts": 186}}, "ValidationException", "less than or equal to 185"),
        ({"Id": "a b"}, "ValidationException", "regular expression pattern"),
    ],
)
async def test_bad_targets_are_refused(events: Any, target: dict[str, Any], code: str, text: str) -> None:
    """What cannot be a target is refused, and the rule stays as it was."""
    await put(events)
    with refused(code, text):
        await events(
            "put_targets", Rule="r", Targets=[{"Id": "u", "Arn": FUNCTION}, {"Id": "t", "Arn": FUNCTION, **target}]
        )
    assert len((await events("list_targets_by_rule", Rule="r"))["Targets"]) == 1


async def test_limits(events: Any) -> None:
    """A rule has five targets at most; lists come in pages."""
    await put(events, *({"Id": f"t{n}", "Arn": f"{FUNCTION}{n}"} for n in range(5)))
    with refused("LimitExceededException", "exceeds the maximum number allowed"):
        await events("put_targets", Rule="r", Targets=[{"Id": "more", "Arn": FUNCTION}])
    first = await events("list_targets_by_rule", Rule="r", Limit=3)
    rest = await events("list_targets_by_rule", Rule="r", Limit=3, NextToken=first["NextToken"])
    assert [one["Id"] for one in first["Targets"] + rest["Targets"]] == [f"t{n}" for n in range(5)]
    assert "NextToken" not in rest
    with refused("ResourceNotFoundException"):
        await events("put_targets", Rule="none", Targets=[{"Id": "t", "Arn": FUNCTION}])


async def test_a_rule_fires_the_scheduled_event(events: Any, bench: Bench) -> None:
    """A rate's first event comes after one period; each is in the shape that Lambda handlers know."""
    await put(events)
    bench.start()
    await asyncio.sleep(0.2)
    assert bench.targets.sent == []
    await bench.advance(timedelta(hours=3))
    sent = await bench.until(3)
    body = dict(sent[0].body)
    assert len(body.pop("id")) == 36
    datetime.fromisoformat(body.pop("time"))
    assert body == {
        "version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "account": "000000000000",
        "region": "us-east-1", "resources": [RULE], "detail": {},
    }  # fmt: skip
    assert len({one.body["id"] for one in sent}) == 3
    await events("disable_rule", Name="r")
    await bench.advance(timedelta(hours=5))
    await bench.until(3)


async def test_inputs_of_targets(events: Any, bench: Bench) -> None:
    """Input replaces the event, InputPath picks from it, InputTransformer fills a template with parts of it."""
    await bench.to("2037-05-01T07:59:00")
    template = '{"at": <time>, "said": "it is <time> at <aws.events.rule-name>", "list": <all>}'
    await put(
        events,
        {"Id": "input", "Arn": f"{FUNCTION}1", "Input": '{"fixed": true}'},
        {"Id": "path", "Arn": f"{FUNCTION}2", "InputPath": "$.resources[0]"},
        {"Id": "form", "Arn": f"{FUNCTION}3", "InputTransformer": {
            "InputPathsMap": {"time": "$.time", "all": "$.resources"}, "InputTemplate": template}},
        {"Id": "text", "Arn": QUEUE, "InputTransformer": {
            "InputPathsMap": {"type": "$.detail-type"}, "InputTemplate": '"a <type>"'}},
        {"Id": "fifo", "Arn": f"{QUEUE}.fifo", "Input": '"x"', "SqsParameters": {"MessageGroupId": "g"}},
        expression="cron(0 8 * * ? *)",
    )  # fmt: skip
    bench.start()
    await bench.to("2037-05-01T08:00:00")
    sent = {one.arn: one for one in await bench.until(5)}
    assert sent[f"{FUNCTION}1"].body == {"fixed": True}
    assert sent[f"{FUNCTION}2"].body == RULE
    assert sent[f"{FUNCTION}3"].body == {
        "at": "2037-05-01T08:00:00Z",
        "said": "it is 2037-05-01T08:00:00Z at r",
        "list": [RULE],
    }
    assert sent[QUEUE].body == "a Scheduled Event"
    assert (sent[f"{QUEUE}.fifo"].body, sent[f"{QUEUE}.fifo"].more["group_id"]) == ("x", "g")


async def test_a_dead_letter_of_a_rule(events: Any, bench: Bench) -> None:
    """What cannot be sent goes to the target's dead-letter queue with the facts that EventBridge adds; others go on."""
    bench.targets.failing[FUNCTION] = lambda: ResourceNotFound("Function not found")
    await put(
        events,
        {"Id": "t", "Arn": FUNCTION, "DeadLetterConfig": {"Arn": f"{QUEUE}-dead"}},
        {"Id": "u", "Arn": QUEUE},
    )
    bench.start()
    await bench.advance(timedelta(hours=1))
    sent = {one.arn: one for one in await bench.until(2)}
    letter = sent[f"{QUEUE}-dead"]
    assert letter.body["detail-type"] == "Scheduled Event"
    assert letter.body["id"] == sent[QUEUE].body["id"]
    facts = {name: value["StringValue"] for name, value in letter.more["message_attributes"].items()}
    assert facts == {
        "ERROR_CODE": "NO_RESOURCE", "ERROR_MESSAGE": "Function not found", "RETRY_ATTEMPTS": "0",
        "RULE_ARN": RULE, "TARGET_ARN": FUNCTION,
    }  # fmt: skip


async def test_a_change_keeps_the_tick_that_is_due(events: Any, bench: Bench) -> None:
    """A rule that gets a target at the moment of its tick, before anybody fired it, fires that tick all the same."""
    await put(events)
    await bench.advance(timedelta(hours=1))
    await events("put_targets", Rule="r", Targets=[{"Id": "u", "Arn": QUEUE}])
    bench.start()
    await bench.until(2)
    await events("put_rule", Name="r", ScheduleExpression="rate(1 day)")
    await bench.advance(timedelta(hours=23))
    await bench.until(2)
    await bench.advance(timedelta(hours=1))
    await eventually(lambda: len(bench.targets.sent) == 4)


async def test_events_reach_the_rules_that_match(events: Any, bench: Bench) -> None:
    """An event goes to every target of every enabled rule whose pattern it matches, once, and to nothing else."""
    bench.start()
    pattern = '{"source": ["shop"], "detail": {"total": [{"numeric": [">", 10]}]}}'
    for name, rule in (("r", pattern), ("all", '{"source": [{"prefix": ""}]}'), ("other", '{"source": ["x"]}')):
        await events("put_rule", Name=name, EventPattern=rule)
        await events("put_targets", Rule=name, Targets=[{"Id": "t", "Arn": f"{FUNCTION}-{name}"}])
    await events("put_targets", Rule="r", Targets=[{"Id": "q", "Arn": QUEUE, "InputPath": "$.detail.total"}])
    shown = await events("describe_rule", Name="r")
    assert shown["EventPattern"] == pattern
    assert "ScheduleExpression" not in shown
    at = datetime(2026, 5, 1, 8, 0, tzinfo=UTC)
    entry = {"Source": "shop", "DetailType": "order", "Detail": '{"total": 11}', "Resources": ["a"], "Time": at}
    answer = await events("put_events", Entries=[entry])
    assert answer["FailedEntryCount"] == 0
    sent = {one.arn: one.body for one in await bench.until(3)}
    assert sent[QUEUE] == 11
    whole = {
        "version": "0", "id": answer["Entries"][0]["EventId"], "detail-type": "order", "source": "shop",
        "account": "000000000000", "time": "2026-05-01T08:00:00Z", "region": "us-east-1", "resources": ["a"],
        "detail": {"total": 11},
    }  # fmt: skip
    assert (sent[f"{FUNCTION}-r"], sent[f"{FUNCTION}-all"]) == (whole, whole)
    await events("disable_rule", Name="all")
    await events("put_events", Entries=[{**entry, "Detail": '{"total": 9}'}])
    await bench.until(3)


@pytest.mark.parametrize(
    "detail", ['{"n": 123456789012345678901234567890}', '{"n": "\\ud800"}', '{"n": ' + "[" * 400 + "]" * 400 + "}"]
)
async def test_all_that_json_can_say_reaches_targets(bench: Bench, events: Any, detail: str) -> None:
    """Long numbers, odd characters and deep nesting arrive as they were sent."""
    bench.start()
    await events("put_rule", Name="r", EventPattern='{"source": ["shop"]}')
    await events("put_targets", Rule="r", Targets=[{"Id": "q", "Arn": QUEUE, "InputPath": "$.detail"}])
    answer = await events("put_events", Entries=[{"Source": "shop", "DetailType": "order", "Detail": detail}])
    assert answer["FailedEntryCount"] == 0
    (sent,) = await bench.until(1)
    assert sent.body == json.loads(detail)


async def test_inputs_that_are_nested_too_deeply(events: Any) -> None:
    """They are refused as no JSON."""
    deep = "[" * 4000 + "]" * 4000
    await events("put_rule", Name="r", EventPattern='{"source": ["shop"]}')
    with refused("ValidationException", "JSON syntax error in input for target q."):
        await events("put_targets", Rule="r", Targets=[{"Id": "q", "Arn": QUEUE, "Input": deep}])
    with refused("ValidationException", "Parameter Event is not valid."):
        await events("test_event_pattern", EventPattern='{"source": ["shop"]}', Event=deep)


async def test_entries_that_are_no_events(events: Any) -> None:
    """Each entry of a batch has its own answer: an id, or AWS's code for what is wrong with it."""
    good = {"Source": "shop", "DetailType": "order", "Detail": "{}"}
    bad = [
        ({"Source": "aws.ec2"}, "NotAuthorizedForSourceException"),
        ({"Detail": "[1]"}, "MalformedDetail"),
        ({"Detail": "{"}, "MalformedDetail"),
        ({"DetailType": ""}, "InvalidArgument"),
        ({"EventBusName": "other"}, "ResourceNotFoundException"),
        ({"Detail": "[" * 100_000 + "]" * 100_000}, "MalformedDetail"),
        ({"Detail": '{"n": NaN}'}, "MalformedDetail"),
        ({"Detail": '{"n": 1e999}'}, "MalformedDetail"),
        ({"Detail": json.dumps({"x": "y" * 1024 * 1024})}, "InvalidArgument"),
    ]
    answer = await events("put_events", Entries=[good, *({**good, **change} for change, _ in bad)])
    assert answer["FailedEntryCount"] == len(bad)
    assert len(answer["Entries"][0]["EventId"]) == 36
    assert [entry["ErrorCode"] for entry in answer["Entries"][1:]] == [code for _, code in bad]


async def test_patterns_are_checked_and_tried(events: Any) -> None:
    """A pattern that is none is refused in AWS's code; TestEventPattern says what a rule would do."""
    with refused("InvalidEventPatternException", "Event pattern is not valid. Reason:"):
        await events("put_rule", Name="r", EventPattern='{"source": "x"}')
    event = json.dumps({"source": "x", "detail": {}})
    assert (await events("test_event_pattern", EventPattern='{"source": ["x"]}', Event=event))["Result"] is True
    assert (await events("test_event_pattern", EventPattern='{"source": ["y"]}', Event=event))["Result"] is False
