"""EventBridge Scheduler's operations by boto3, with a real Valkey."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.schedules.conftest import FUNCTION, OFF, QUEUE, ROLE, Bench, create, refused

from lambent_platform.store.schedules import GroupStore, ScheduleStore


async def test_a_schedule_is_shown_as_it_was_made(client: Any) -> None:
    """GetSchedule shows what was given, with AWS's defaults for the rest; an update replaces all of it."""
    arn = await create(client, Description="d", GroupName="default", target={"Input": '{"a": 1}'})
    assert arn == "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s"
    shown = await client("get_schedule", Name="s")
    for name in ("CreationDate", "LastModificationDate"):
        assert abs(shown.pop(name) - datetime.now(UTC)) < timedelta(seconds=10)
    assert shown == {
        "Arn": arn,
        "GroupName": "default",
        "Name": "s",
        "ScheduleExpression": "rate(1 hour)",
        "ScheduleExpressionTimezone": "UTC",
        "Description": "d",
        "State": "ENABLED",
        "ActionAfterCompletion": "NONE",
        "FlexibleTimeWindow": OFF,
        "Target": {
            "Arn": FUNCTION,
            "RoleArn": ROLE,
            "Input": '{"a": 1}',
            "RetryPolicy": {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185},
        },
    }
    start = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    await client(
        "update_schedule", Name="s", ScheduleExpression="cron(0 12 * * ? *)",
        ScheduleExpressionTimezone="Europe/Berlin",
        FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}, StartDate=start, State="DISABLED",
        Target={"Arn": QUEUE, "RoleArn": ROLE, "RetryPolicy": {"MaximumRetryAttempts": 3}},
    )  # fmt: skip
    shown = await client("get_schedule", Name="s")
    assert "Description" not in shown
    assert (shown["StartDate"], shown["State"]) == (start, "DISABLED")
    assert shown["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert shown["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 3}
    await client("delete_schedule", Name="s")
    with refused("ResourceNotFoundException", "Schedule s does not exist."):
        await client("get_schedule", Name="s")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"expression": "rate(5 seconds)"}, "Invalid Schedule Expression rate(5 seconds)."),
        ({"expression": "cron(* * * * * *)"}, "Invalid Schedule Expression"),
        ({"expression": "at(2027-02-30T00:00:00)"}, "Invalid Schedule Expression"),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "Invalid Schedule Expression Timezone Mars/Olympus."),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "MaximumWindowInMinutes"),
        ({"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 5}}, "MaximumWindowInMinutes"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 1441}}, "less than or equal to 1440"),
        ({"StartDate": datetime(2020, 1, 1, tzinfo=UTC)}, "cannot be earlier than 5 minutes ago"),
        ({"EndDate": datetime(2020, 1, 1, tzinfo=UTC)}, "EndDate"),
        (
            {"StartDate": datetime(2199, 1, 1, tzinfo=UTC), "EndDate": datetime(2198, 1, 1, tzinfo=UTC)},
            "must come after the StartDate",
        ),
        ({"target": {"Arn": "nothing"}}, "Provided Arn is not in correct format."),
        ({"target": {"Arn": "arn:aws:states:us-east-1:000000000000:stateMachine:x"}}, "not served here"),
        ({"target": {"Arn": "arn:aws:scheduler:::aws-sdk:s3:putObject", "Input": "{}"}}, "not served here"),
        ({"target": {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage"}}, "JSON object"),
        ({"target": {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": "{}"}}, "QueueUrl"),
        ({"target": {"Arn": "arn:aws:scheduler:::aws-sdk:lambda:invoke", "Input": "{}"}}, "FunctionName"),
        ({"target": {"Arn": f"{QUEUE}.fifo"}}, "MessageGroupId"),
        ({"target": {"Input": "{not json"}}, "valid JSON"),
        ({"target": {"RetryPolicy": {"MaximumRetryAttempts": 186}}}, "less than or equal to 185"),
        ({"target": {"RetryPolicy": {"MaximumEventAgeInSeconds": 59}}}, "greater than or equal to 60"),
        ({"target": {"DeadLetterConfig": {"Arn": f"{QUEUE}.fifo"}}}, "regular expression pattern"),
        ({"name": "a b"}, "regular expression pattern"),
        ({"State": "PAUSED"}, "enum value set: [ENABLED, DISABLED]"),
    ],
)  # fmt: skip
async def test_bad_schedules_are_refused(client: Any, given: dict[str, Any], text: str) -> None:
    """What cannot be a schedule is a ValidationException that says why, and nothing is made."""
    with refused("ValidationException", text):
        await create(client, **given)
    assert (await client("list_schedules"))["Schedules"] == []


async def test_names_are_taken_once_and_requests_may_be_repeated(client: Any) -> None:
    """A second schedule of a name is a conflict; the same request with its token again is not, nor a deletion."""
    arn = await create(client, ClientToken="one")
    assert await create(client, ClientToken="one") == arn
    with refused("ConflictException", "Schedule s already exists."):
        await create(client, ClientToken="two")
    with refused("ConflictException"):
        await create(client, ClientToken="one", Description="other")
    await client("delete_schedule", Name="s", ClientToken="gone")
    await client("delete_schedule", Name="s", ClientToken="gone")
    with refused("ResourceNotFoundException"):
        await client("delete_schedule", Name="s", ClientToken="other")
    with refused("ResourceNotFoundException", "Schedule group none does not exist."):
        await create(client, GroupName="none")
    with refused("ResourceNotFoundException"):
        await client("update_schedule", Name="s", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF,
                     Target={"Arn": QUEUE, "RoleArn": ROLE})  # fmt: skip


async def test_lists_come_in_pages(client: Any) -> None:
    """Lists go on behind their token, and pick by group, prefix and state."""
    await client("create_schedule_group", Name="other")
    for number in range(7):
        await create(client, f"a{number}", State="ENABLED" if number % 2 else "DISABLED")
    await create(client, "a0", GroupName="other")
    await create(client, "b", GroupName="other")
    names, token = [], {}
    while True:
        page = await client("list_schedules", MaxResults=3, **token)
        names += [(one["GroupName"], one["Name"]) for one in page["Schedules"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert names == [("default", f"a{n}") for n in range(7)] + [("other", "a0"), ("other", "b")]
    of_group = await client("list_schedules", GroupName="other", NamePrefix="a")
    assert [one["Arn"].rpartition(":")[2] for one in of_group["Schedules"]] == ["schedule/other/a0"]
    assert of_group["Schedules"][0]["Target"] == {"Arn": FUNCTION}
    enabled = await client("list_schedules", State="ENABLED", GroupName="default")
    assert [one["Name"] for one in enabled["Schedules"]] == ["a1", "a3", "a5"]
    with refused("ResourceNotFoundException"):
        await client("list_schedules", GroupName="none")
    with refused("ValidationException"):
        await client("list_schedules", NextToken="%")


async def test_groups_have_tags_and_go_with_their_schedules(client: Any, bench: Bench) -> None:
    """A group is made, tagged, listed and, once the scheduler has deleted what is in it, gone."""
    arn = (await client("create_schedule_group", Name="g", Tags=[{"Key": "a", "Value": "1"}], ClientToken="t"))[
        "ScheduleGroupArn"
    ]
    assert arn == "arn:aws:scheduler:us-east-1:000000000000:schedule-group/g"
    await client("create_schedule_group", Name="g", Tags=[{"Key": "a", "Value": "1"}], ClientToken="t")
    with refused("ConflictException"):
        await client("create_schedule_group", Name="g")
    await client("tag_resource", ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    await client("untag_resource", ResourceArn=arn, TagKeys=["a"])
    assert (await client("list_tags_for_resource", ResourceArn=arn))["Tags"] == [{"Key": "b", "Value": "2"}]
    listed = await client("list_schedule_groups")
    assert [(one["Name"], one["State"]) for one in listed["ScheduleGroups"]] == [("default", "ACTIVE"), ("g", "ACTIVE")]
    assert [one["Name"] for one in (await client("list_schedule_groups", NamePrefix="g"))["ScheduleGroups"]] == ["g"]
    for number in range(120):
        await ScheduleStore(bench.redis).write(_copy(await _record(bench, client, number), number))
    with refused("ValidationException"):
        await client("delete_schedule_group", Name="default")
    await client("delete_schedule_group", Name="g")
    assert (await client("get_schedule_group", Name="g"))["State"] == "DELETING"
    with refused("ConflictException", "is being deleted"):
        await create(client, "late", GroupName="g")
    bench.start()
    groups = GroupStore(bench.redis)
    async with asyncio.timeout(5):
        while await groups.load("000000000000", "us-east-1", "g"):  # noqa: ASYNC110 - the loop sets no event for us
            await asyncio.sleep(0.01)
    with refused("ResourceNotFoundException"):
        await client("get_schedule_group", Name="g")
    assert [one["Name"] for one in (await client("list_schedules"))["Schedules"]] == ["one"]
    with refused("ResourceNotFoundException"):
        await client("tag_resource", ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])


async def _record(bench: Bench, client: Any, number: int) -> Any:
    if number == 0:
        await create(client, "one")
    return await ScheduleStore(bench.redis).load("schedule/000000000000:us-east-1:default/one")


def _copy(record: Any, number: int) -> Any:
    name = f"n{number}"
    data = {**record.data, "GroupName": "g", "Name": name}
    return replace(record, id=f"schedule/000000000000:us-east-1:g/{name}", data=data, generation=0)
