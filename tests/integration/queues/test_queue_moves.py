"""Moving dead letters back: by the operations of the API and the scheduler's loop."""

from __future__ import annotations

import json

import pytest

from lambent_platform.scheduler.queues import QueueExpiryLoop, QueueMovesLoop
from lambent_platform.store.queue_moves import MoveTaskStore
from lambent_platform.store.queues import QueueStore

from .conftest import QueueApi


class Dead:
    """A queue with three dead letters, and the loop that moves them."""

    def __init__(self, api: QueueApi, dead: str, arn: str, url: str) -> None:
        self.api, self.dead, self.arn, self.url = api, dead, arn, url
        self.handle = ""

    async def step(self) -> None:
        """One step of a scheduler that knows nothing but what is stored."""
        store = QueueStore(self.api.redis)
        await QueueMovesLoop(MoveTaskStore(self.api.redis, store), self.api.timer).step()

    async def start(self, **more: object) -> None:
        """Start a task."""
        self.handle = (await self.api.call("start_message_move_task", SourceArn=self.arn, **more))["TaskHandle"]

    async def task(self) -> dict[str, object]:
        """The newest task."""
        found = await self.api.call("list_message_move_tasks", SourceArn=self.arn)
        task: dict[str, object] = found["Results"][0]
        return task


@pytest.fixture
async def dead(api: QueueApi) -> Dead:
    """Three messages that were received too often."""
    letters = await api.create("dead")
    arn = await api.attribute(letters, "QueueArn")
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    url = await api.create("q", RedrivePolicy=policy, VisibilityTimeout=0)
    for body in "abc":
        await api.call("send_message", QueueUrl=url, MessageBody=body)
    assert len(await api.receive(url)) == 3
    assert await api.receive(url) == []
    assert await api.attribute(letters, "ApproximateNumberOfMessages") == "3"
    return Dead(api, letters, arn, url)


async def test_back_to_where_they_died(dead: Dead) -> None:
    """All go back to their queue, as new messages in their order; the task says so."""
    before = await dead.api.receive(dead.dead, VisibilityTimeout=0)
    await dead.start()
    assert (await dead.task())["Status"] == "RUNNING"
    assert (await dead.task())["TaskHandle"] == dead.handle
    code, _ = await dead.api.refused("start_message_move_task", SourceArn=dead.arn)
    assert code == "InvalidParameterValue"
    await dead.step()
    task = await dead.task()
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 3)
    assert "TaskHandle" not in task
    messages = await dead.api.receive(dead.url, AttributeNames=["All"])
    assert [m["Body"] for m in messages] == ["a", "b", "c"]
    assert {m["Attributes"]["ApproximateReceiveCount"] for m in messages} == {"1"}
    assert not {m["MessageId"] for m in messages} & {m["MessageId"] for m in before}
    assert all("DeadLetterQueueSourceArn" not in m["Attributes"] for m in messages)


async def test_to_another_queue_and_slowly(dead: Dead) -> None:
    """No more leave than the rate allows, by event time, whichever scheduler goes on; the task can be cancelled."""
    other = await dead.api.create("other")
    arn = await dead.api.attribute(other, "QueueArn")
    await dead.start(DestinationArn=arn, MaxNumberOfMessagesPerSecond=1)
    await dead.step()
    assert await dead.api.attribute(other, "ApproximateNumberOfMessages") == "0"
    for moved in ("1", "2"):
        await dead.api.timer.move(1)
        await dead.step()
        await dead.step()
        assert await dead.api.attribute(other, "ApproximateNumberOfMessages") == moved
    cancelled = await dead.api.call("cancel_message_move_task", TaskHandle=dead.handle)
    assert cancelled["ApproximateNumberOfMessagesMoved"] == 2
    await dead.api.timer.move(10)
    await dead.step()
    assert (await dead.task())["Status"] == "CANCELLED"
    assert await dead.api.attribute(dead.dead, "ApproximateNumberOfMessages") == "1"
    assert (await dead.api.refused("cancel_message_move_task", TaskHandle=dead.handle))[0] == "InvalidParameterValue"


async def test_messages_that_nobody_knows_the_source_of(dead: Dead) -> None:
    """A message sent to the dead-letter queue itself cannot go back: it stays, and the task fails and says why."""
    await dead.api.call("send_message", QueueUrl=dead.dead, MessageBody="d")
    await dead.start()
    await dead.step()
    task = await dead.task()
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "CouldNotDetermineMessageSource")
    assert await dead.api.bodies(dead.dead) == ["d"]
    assert len(await dead.api.receive(dead.url)) == 3


async def test_a_destination_that_vanishes(dead: Dead) -> None:
    """Nothing is lost with a destination: its messages stay dead letters."""
    other = await dead.api.create("other")
    arn = await dead.api.attribute(other, "QueueArn")
    await dead.start(DestinationArn=arn)
    await dead.api.call("delete_queue", QueueUrl=other)
    await dead.step()
    task = await dead.task()
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "AWS.SimpleQueueService.NonExistentQueue")
    assert await dead.api.bodies(dead.dead) == ["a", "b", "c"]


async def test_a_scheduler_killed_on_the_way(dead: Dead) -> None:
    """What has left and not arrived is sent on by whoever leads next, and arrives once."""
    await dead.start()
    ident = "000000000000:us-east-1:dead"
    task_id = (await dead.api.redis.client.hkeys(f"{dead.api.redis.keys.prefix(ident)}qmoves:{ident}"))[0]
    args = [ident, dead.api.timer.now_ms(), 10**9, 0, task_id, 2, f"{task_id.decode()} "]
    assert await dead.api.redis.run("queues/move_step", dead.api.redis.keys.prefix(ident), args) == 2
    assert await dead.api.attribute(dead.dead, "ApproximateNumberOfMessages") == "1"
    await dead.step()
    await dead.step()
    assert (await dead.task())["Status"] == "COMPLETED"
    assert sorted(await dead.api.bodies(dead.url)) == ["a", "b", "c"]


async def test_what_cannot_be_moved(dead: Dead) -> None:
    """Sources are dead-letter queues, destinations other queues that exist, rates from 1 to 500."""
    own = await dead.api.attribute(dead.url, "QueueArn")
    for params, code in (
        ({"SourceArn": own}, "InvalidParameterValue"),
        ({"SourceArn": own + "x"}, "ResourceNotFoundException"),
        ({"SourceArn": "nonsense"}, "InvalidParameterValue"),
        ({"SourceArn": dead.arn, "DestinationArn": dead.arn}, "InvalidParameterValue"),
        ({"SourceArn": dead.arn, "DestinationArn": own + "x"}, "ResourceNotFoundException"),
        ({"SourceArn": dead.arn, "MaxNumberOfMessagesPerSecond": 501}, "InvalidParameterValue"),
    ):
        assert (await dead.api.refused("start_message_move_task", **params))[0] == code
    assert (await dead.api.refused("list_message_move_tasks", SourceArn=dead.arn, MaxResults=11))[0]
    assert (await dead.api.refused("cancel_message_move_task", TaskHandle="x"))[0] == "InvalidParameterValue"
    assert (await dead.api.call("list_message_move_tasks", SourceArn=dead.arn)).get("Results", []) == []


async def test_queues_that_nobody_reads_are_emptied(dead: Dead) -> None:
    """The scheduler drops what is past its retention, without anybody receiving."""
    store = QueueStore(dead.api.redis)
    loop = QueueExpiryLoop(store, dead.api.timer)
    await dead.api.call("set_queue_attributes", QueueUrl=dead.dead, Attributes={"MessageRetentionPeriod": "60"})
    await loop.step()
    assert await dead.api.attribute(dead.dead, "ApproximateNumberOfMessages") == "3"
    await dead.api.timer.move(61)
    await loop.step()
    assert await dead.api.attribute(dead.dead, "ApproximateNumberOfMessages") == "0"
    ident = "000000000000:us-east-1:dead"
    assert await dead.api.redis.client.exists(f"{dead.api.redis.keys.prefix(ident)}qmsg:{ident}") == 0


async def test_a_queue_in_a_bad_state_holds_up_no_other(dead: Dead) -> None:
    """Tasks and retentions of other queues go on beside one whose stored state nobody can read."""
    await dead.start()
    for name in ("a-first", "z-last"):
        await dead.api.create(name)
        ident = f"000000000000:us-east-1:{name}"
        prefix = dead.api.redis.keys.prefix(ident)
        await dead.api.redis.client.hset(f"{prefix}queue:{ident}", "record", "nonsense")
        await dead.api.redis.client.sadd(f"{prefix}moving", ident)
    await dead.step()
    assert (await dead.task())["Status"] == "COMPLETED"
    await dead.api.call("set_queue_attributes", QueueUrl=dead.url, Attributes={"MessageRetentionPeriod": "60"})
    await dead.api.timer.move(61)
    await QueueExpiryLoop(QueueStore(dead.api.redis), dead.api.timer).step()
    assert await dead.api.attribute(dead.url, "ApproximateNumberOfMessages") == "0"
