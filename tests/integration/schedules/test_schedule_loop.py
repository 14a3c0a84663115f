"""Schedules fire: by a moved clock, by a real one, with schedulers that die and targets that fail."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.schedules.conftest import FUNCTION, OFF, QUEUE, ROLE, Bench, Targets, create, eventually

from lambent_platform.contracts.errors import ResourceNotFound, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.schedules import PENDING_MAX
from lambent_platform.store.schedules import ScheduleStore


async def test_a_rate_fires_at_once_and_then_24_times_in_24_hours(client: Any, bench: Bench) -> None:
    """A rate without a start begins when it is made; a move of 24 hours passes through each hour, in order."""
    arn = await create(client)
    bench.start()
    await bench.until(1)
    await bench.advance(timedelta(hours=24))
    sent = await bench.until(25)
    times = [datetime.fromisoformat(one.body["time"]) for one in sent]
    assert sorted(times) == [times[0] + timedelta(hours=hour) for hour in range(25)]
    assert sent[0].body | {"id": "", "time": ""} == {
        "version": "0", "id": "", "detail-type": "Scheduled Event", "source": "aws.scheduler",
        "account": "000000000000", "time": "", "region": "us-east-1", "resources": [arn], "detail": "{}",
    }  # fmt: skip
    assert len({one.delivery_id for one in sent}) == 25


async def test_cron_over_a_change_of_the_clocks(client: Any, bench: Bench) -> None:
    """Berlin, 28 March 2027: 02:30 is skipped, and 03:30 is two hours after 01:30 by the clock, one by the sun."""
    await bench.to("2027-03-27T12:00:00")
    await create(
        client, expression="cron(30 1-3 * * ? *)", ScheduleExpressionTimezone="Europe/Berlin",
        target={"Input": '"<aws.scheduler.scheduled-time>"'},
    )  # fmt: skip
    bench.start()
    await bench.to("2027-03-29T12:00:00")
    sent = await bench.until(5)
    assert sorted(one.body for one in sent) == [
        "2027-03-28T00:30:00Z", "2027-03-28T01:30:00Z",
        "2027-03-28T23:30:00Z", "2027-03-29T00:30:00Z", "2027-03-29T01:30:00Z",
    ]  # fmt: skip


async def test_one_time_within_a_second_and_gone_afterwards(client: Any, bench: Bench) -> None:
    """`at` fires within a second of its time, in real time, once, and is deleted where it is to be."""
    bench.start()
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    text = f"at({at:%Y-%m-%dT%H:%M:%S})"
    await create(client, "keep", text)
    await create(client, "drop", text, ActionAfterCompletion="DELETE")
    await eventually(lambda: len(bench.targets.sent) == 2)
    late = datetime.now(UTC) - at
    assert timedelta(0) <= late < timedelta(seconds=1)
    await bench.until(2)
    assert [one["Name"] for one in (await client("list_schedules"))["Schedules"]] == ["keep"]
    await bench.advance(timedelta(days=400))
    await bench.until(2)


async def test_context_attributes_and_targets(client: Any, bench: Bench) -> None:
    """Input carries the tick's facts; queues, FIFO queues and universal targets get what AWS sends them."""
    arn = await create(
        client, "a", "at(2037-05-01T08:00:00)",
        target={"Input": json.dumps({"arn": "<aws.scheduler.schedule-arn>", "n": "<aws.scheduler.attempt-number>",
                                     "id": "<aws.scheduler.execution-id>", "time": "<aws.scheduler.scheduled-time>"})},
    )  # fmt: skip
    fifo = {"Arn": f"{QUEUE}.fifo", "Input": "plain", "SqsParameters": {"MessageGroupId": "g"}}
    await create(client, "b", "at(2037-05-01T08:00:01)", target=fifo)
    send = {"QueueUrl": "http://localhost:4566/000000000000/q", "MessageBody": "<aws.scheduler.scheduled-time>",
            "DelaySeconds": 5, "MessageAttributes": {"k": {"DataType": "String", "StringValue": "v"}}}  # fmt: skip
    universal = "arn:aws:scheduler:::aws-sdk:"
    await create(
        client, "c", "at(2037-05-01T08:00:02)", target={"Arn": f"{universal}sqs:sendMessage", "Input": json.dumps(send)}
    )
    call = {"FunctionName": "f", "Qualifier": "live", "InvocationType": "Event", "Payload": '{"x": 1}'}
    await create(
        client, "d", "at(2037-05-01T08:00:03)", target={"Arn": f"{universal}lambda:invoke", "Input": json.dumps(call)}
    )
    bench.start()
    await bench.to("2037-05-01T09:00:00")
    sent = sorted(await bench.until(4), key=lambda one: str(one.arn) + str(one.body))
    by_arn = {(one.arn, one.more.get("group_id", "")): one for one in sent}
    first = by_arn[FUNCTION, ""].body
    assert (first["arn"], first["n"], first["time"]) == (arn, "1", "2037-05-01T08:00:00Z")
    assert len(first["id"]) == 16
    assert by_arn[f"{QUEUE}.fifo", "g"].body == "plain"
    queue = by_arn[QUEUE, ""]
    assert queue.body == "2037-05-01T08:00:02Z"
    assert queue.more == {"delay_s": 5, "message_attributes": send["MessageAttributes"]}
    assert by_arn[f"{FUNCTION}:live", ""].body == {"x": 1}


async def test_disabled_and_bounded(client: Any, bench: Bench) -> None:
    """A disabled schedule does not tick, also not later for the time it was disabled; an ended one is over."""
    bench.start()
    await create(client, "off", "rate(1 hour)", State="DISABLED")
    end = bench.timer.now_ms() / 1000 + 2.5 * 3600
    await create(client, "ends", "rate(1 hour)", EndDate=datetime.fromtimestamp(end, UTC))
    await bench.advance(timedelta(hours=10))
    await bench.until(3)
    again = {
        "ScheduleExpression": "rate(1 hour)",
        "FlexibleTimeWindow": OFF,
        "Target": {"Arn": FUNCTION, "RoleArn": ROLE},
    }
    await client("update_schedule", Name="off", **again)
    await bench.until(3)
    await bench.advance(timedelta(hours=1))
    await bench.until(4)


async def test_a_flexible_window_spreads_and_can_be_called_off(client: Any, bench: Bench) -> None:
    """A tick fires within its window and not before; one that waits there is called off with its schedule."""
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60}
    for number in range(30):
        await create(client, f"n{number}", "at(2037-05-01T08:00:00)", FlexibleTimeWindow=window)
    bench.start()
    counts = []
    await bench.to("2037-05-01T08:00:00")
    for _ in range(6):
        await bench.advance(timedelta(minutes=10))
        await asyncio.sleep(0.2)
        counts.append(len(bench.targets.sent))
    assert counts[-1] == 30
    assert 1 <= counts[0] < 20
    await create(client, "gone", "at(2037-05-01T10:00:00)", FlexibleTimeWindow=window)
    await bench.to("2037-05-01T10:00:00")
    await asyncio.sleep(0.2)
    waiting = 30 - len(bench.targets.sent) + 1
    await client("delete_schedule", Name="gone")
    await bench.advance(timedelta(hours=2))
    await asyncio.sleep(0.2)
    assert len(bench.targets.sent) == (30 if waiting == 1 else 31)


async def test_two_schedulers_fire_once(client: Any, bench: Bench) -> None:
    """However many schedulers run, each tick is one firing, and is sent under one id."""
    for number in range(20):
        await create(client, f"n{number}", "at(2037-05-01T08:00:00)")
    loops = [bench.start(), bench.start(), bench.start()]
    await bench.to("2037-05-01T08:00:00")
    await bench.until(20)
    assert sum(loop.counts.ticked for loop in loops) == 20
    assert await ScheduleStore(bench.redis).counts() == (0, 0)


async def test_a_scheduler_killed_between_tick_and_dispatch(client: Any, bench: Bench) -> None:
    """What a scheduler had ticked, and not sent or not noted as sent, the next one sends, under the same id."""
    await create(client, "s", "cron(0 * * * ? *)")
    dying = Targets(stuck=asyncio.Event())
    bench.start(dying)
    await bench.advance(timedelta(hours=6))
    await eventually(lambda: len(dying.attempts) == 6)
    await bench.kill()
    assert (await ScheduleStore(bench.redis).counts())[1] == 6
    bench.start()
    await bench.until(6)
    assert {one.delivery_id for one in bench.targets.sent} == set(dying.attempts)
    assert await ScheduleStore(bench.redis).counts() == (1, 0)


async def test_ticks_missed_while_down_are_taken_together(client: Any, bench: Bench) -> None:
    """Where nobody was there for hours of real time, the newest tick is fired, late, once; then all is as before."""
    await create(client, "s", "rate(1 hour)", target={"Input": '"<aws.scheduler.scheduled-time>"'})
    bench.start()
    await bench.until(1)
    await bench.kill()
    await bench.advance(timedelta(hours=5, minutes=30))
    await bench.redis.client.delete(f"{bench.redis.keys.home}clockmoves")  # as if the time had passed by itself
    loop = bench.start()
    sent = await bench.until(2)
    first, late = (datetime.fromisoformat(one.body) for one in sent)
    assert late - first == timedelta(hours=5)
    assert (loop.counts.missed, loop.counts.ticked) == (1, 1)
    await bench.advance(timedelta(hours=1))
    await bench.until(3)


async def test_failures_are_retried_then_told_to_the_dead_letter_queue(client: Any, bench: Bench) -> None:
    """A target that is busy is tried again with growing pauses, as often as allowed; then its queue is told why."""
    bench.targets.failing[FUNCTION] = lambda: TooManyRequests("Rate Exceeded.")
    dead = f"{QUEUE}-dead"
    arn = await create(
        client, "s", "at(2037-05-01T08:00:00)",
        target={"Input": '{"n": "<aws.scheduler.attempt-number>"}', "RetryPolicy": {"MaximumRetryAttempts": 3},
                "DeadLetterConfig": {"Arn": dead}},
    )  # fmt: skip
    loop = bench.start()
    await bench.to("2037-05-01T08:00:00")
    for attempts in range(1, 5):
        await eventually(
            lambda attempts=attempts: sum(not one.endswith(":dead") for one in bench.targets.attempts) == attempts
        )
        await asyncio.sleep(0.1)
        await bench.advance(timedelta(minutes=10))
    [letter] = await bench.until(1)
    assert (letter.arn, letter.body) == (dead, {"n": "4"})
    facts = {name: value["StringValue"] for name, value in letter.more["message_attributes"].items()}
    assert len(facts.pop("EXECUTION_ID")) == 16
    assert facts == {
        "ERROR_CODE": "TooManyRequestsException",
        "ERROR_MESSAGE": "Rate Exceeded.",
        "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
        "IS_PAYLOAD_TRUNCATED": "false",
        "RETRY_ATTEMPTS": "3",
        "SCHEDULED_TIME": "2037-05-01T08:00:00Z",
        "SCHEDULE_ARN": arn,
        "TARGET_ARN": FUNCTION,
    }
    assert (loop.counts.dead, await ScheduleStore(bench.redis).counts()) == (1, (0, 0))


async def test_what_can_never_be_sent_is_not_retried(client: Any, bench: Bench) -> None:
    """A function that is gone is told to the dead-letter queue at once; without a queue it is logged and over."""
    bench.targets.failing[FUNCTION] = lambda: ResourceNotFound(f"Function not found: {FUNCTION}")
    await create(client, "s", "at(2037-05-01T08:00:00)", target={"DeadLetterConfig": {"Arn": f"{QUEUE}-dead"}})
    await create(client, "t", "at(2037-05-01T08:00:00)")
    loop = bench.start()
    await bench.to("2037-05-01T08:00:00")
    [letter] = await bench.until(1)
    facts = {name: value["StringValue"] for name, value in letter.more["message_attributes"].items()}
    assert (facts["ERROR_CODE"], facts["RETRY_ATTEMPTS"]) == ("ResourceNotFoundException", "0")
    assert "EXHAUSTED_RETRY_CONDITION" not in facts
    assert loop.counts.dead == 2


async def test_an_event_that_gets_too_old_is_given_up(client: Any, bench: Bench) -> None:
    """With retries left, but no time, it ends by its age."""
    bench.targets.failing[FUNCTION] = lambda: TooManyRequests("Rate Exceeded.")
    target = {"RetryPolicy": {"MaximumEventAgeInSeconds": 60}, "DeadLetterConfig": {"Arn": f"{QUEUE}-dead"}}
    await create(client, "s", "at(2037-05-01T08:00:00)", target=target)
    bench.start()
    await bench.to("2037-05-01T08:00:00")
    for _ in range(4):
        await asyncio.sleep(0.2)
        await bench.advance(timedelta(seconds=25))
    [letter] = await bench.until(1)
    facts = {name: value["StringValue"] for name, value in letter.more["message_attributes"].items()}
    assert facts["EXHAUSTED_RETRY_CONDITION"] == "MaximumEventAgeInSeconds"


async def test_a_store_that_is_away_costs_no_attempt(client: Any, bench: Bench) -> None:
    """While the target's store is away nothing is counted as failed, and it is sent when that is back."""
    bench.targets.failing[FUNCTION] = lambda: StoreUnavailable("away")
    await create(client, "s", "at(2037-05-01T08:00:00)", target={"RetryPolicy": {"MaximumRetryAttempts": 0}})
    bench.start()
    await bench.to("2037-05-01T08:00:00")
    await asyncio.sleep(0.2)
    assert len(bench.targets.attempts) == 1
    del bench.targets.failing[FUNCTION]
    await bench.until(1)


async def test_a_target_that_takes_nothing_holds_up_its_own_schedule_alone(client: Any, bench: Bench) -> None:
    """Thousands of minutes for a busy function: its ticks wait for room, and another schedule fires on time."""
    bench.targets.failing[FUNCTION] = lambda: TooManyRequests("Rate Exceeded.")
    await create(client, "busy", "rate(1 minute)")
    await create(client, "other", "rate(1 hour)", target={"Arn": QUEUE})
    bench.start()
    await bench.until(1)
    await bench.advance(timedelta(hours=48))
    await eventually(lambda: len(bench.targets.sent) >= 49, within_s=30)
    name = "schedule/000000000000:us-east-1:default/busy"
    pending = 0
    async with asyncio.timeout(30):
        while pending <= PENDING_MAX - 50:
            pending = int(await bench.redis.client.hget(f"{bench.redis.keys.home}pending", name))
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    assert int(await bench.redis.client.hget(f"{bench.redis.keys.home}pending", name)) <= PENDING_MAX


async def test_an_error_of_one_target_is_not_anothers(client: Any, bench: Bench) -> None:
    """An error nobody knows leaves its firing where it is; others go on."""

    def odd() -> Exception:
        return RuntimeError("a bug")

    bench.targets.failing[FUNCTION] = odd
    await create(client, "s", "at(2037-05-01T08:00:00)")
    await create(client, "t", "at(2037-05-01T08:00:00)", target={"Arn": QUEUE})
    bench.start()
    await bench.to("2037-05-01T08:00:00")
    await bench.until(1)
    assert (await ScheduleStore(bench.redis).counts())[1] == 1


@pytest.mark.parametrize("bench", [4], indirect=True)
async def test_schedules_of_several_partitions(client: Any, bench: Bench) -> None:
    """Where keys lie in several partitions, lists keep their order, each schedule fires, and groups go as a whole."""
    await client("create_schedule_group", Name="g")
    for number in range(40):
        await create(client, f"n{number:02}", "at(2037-05-01T08:00:00)", GroupName="g" if number % 2 else "default")
    bench.start()
    first = await client("list_schedules", MaxResults=25)
    rest = await client("list_schedules", NextToken=first["NextToken"])
    names = [(one["GroupName"], one["Name"]) for one in first["Schedules"] + rest["Schedules"]]
    assert len(names) == 40
    assert names == sorted(names)
    await bench.to("2037-05-01T08:00:00")
    await bench.until(40)
    await create(client, "late", "rate(1 hour)", target={"Arn": QUEUE})
    await bench.until(41)
    await client("delete_schedule_group", Name="g")
    async with asyncio.timeout(5):
        while len((await client("list_schedules"))["Schedules"]) != 21:  # noqa: ASYNC110 - the loop sets no event
            await asyncio.sleep(0.02)
    await bench.advance(timedelta(hours=2))
    await bench.until(43)
