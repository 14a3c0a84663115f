"""Standard queues in the store: visible, in flight, delayed, dead, gone."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.contracts.queue_errors import QueueDoesNotExist
from lambent_platform.contracts.queues import QueueRecord
from lambent_platform.store.queue_moves import MoveTaskStore
from lambent_platform.store.queues import QueueStore

from .conftest import ACCOUNT, REGION, Queues


def redrive(queue: QueueRecord, receives: int) -> str:
    """Return a redrive policy."""
    return json.dumps({"deadLetterTargetArn": queue.arn, "maxReceiveCount": receives})


async def test_a_message_is_with_one_receiver_until_its_time_is_over(queues: Queues) -> None:
    """What was received is invisible for the visibility timeout, and then comes back with a receive counted."""
    queue = await queues.create(VisibilityTimeout=30)
    await queues.send(queue, "a", "b")
    first = await queues.take(queue, 1)
    assert [m.body for m in first] == ["a"]
    assert await queues.counts(queue) == (1, 1, 0)
    assert await queues.bodies(queue) == ["b"]
    assert await queues.bodies(queue) == []
    await queues.timer.move(29.999)
    assert await queues.bodies(queue) == []
    await queues.timer.move(0.001)
    assert await queues.counts(queue) == (2, 0, 0)
    again = await queues.take(queue)
    assert [m.body for m in again] == ["a", "b"]
    assert again[0].attributes["ApproximateReceiveCount"] == "2"
    assert again[0].attributes["ApproximateFirstReceiveTimestamp"] == first[0].attributes["SentTimestamp"]
    assert again[0].receipt_handle != first[0].receipt_handle


async def test_handles(queues: Queues) -> None:
    """The newest handle deletes, before its time is over and after; an older one does nothing; others are refused."""
    queue, other = await queues.create(VisibilityTimeout=10), await queues.create("other")
    await queues.send(queue, "a", "b")
    old = await queues.take(queue)
    await queues.timer.move(10)
    new = await queues.take(queue)
    assert await queues.delete(queue, old) == [None, None]
    assert await queues.counts(queue) == (0, 2, 0)
    assert await queues.delete(queue, new[:1]) == [None]
    await queues.timer.move(10)
    assert await queues.counts(queue) == (1, 0, 0)
    assert await queues.delete(queue, new) == [None, None]
    assert await queues.counts(queue) == (0, 0, 0)
    assert await queues.delete(other, new[:1]) == ["ReceiptHandleIsInvalid"]
    answers = await queues.store.delete(queue, ["nonsense", "AQEBnonsense=", ""], now_ms=queues.timer.now_ms())
    assert [answer and answer.code for answer in answers] == ["ReceiptHandleIsInvalid"] * 3


async def test_visibility_is_changed_for_one_receive(queues: Queues) -> None:
    """A timeout counts from its change, 0 gives the message back, and no receive holds longer than 12 hours."""
    queue = await queues.create(VisibilityTimeout=10)
    await queues.send(queue, "a")
    (message,) = await queues.take(queue)
    await queues.timer.move(9)
    assert await queues.hold(queue, message, 20) is None
    await queues.timer.move(19)
    assert await queues.bodies(queue) == []
    assert await queues.hold(queue, message, 43_200) == "InvalidParameterValue"
    assert await queues.hold(queue, message, 43_200 - 28) is None
    assert await queues.hold(queue, message, 0) is None
    assert await queues.hold(queue, message, 5) == "MessageNotInflight"
    (again,) = await queues.take(queue)
    assert await queues.hold(queue, message, 5) == "MessageNotInflight"
    await queues.delete(queue, [again])
    assert await queues.hold(queue, again, 5) == "InvalidParameterValue"


async def test_delays(queues: Queues) -> None:
    """A message waits for its own delay, else for the queue's; who receives is told when the next is due."""
    queue = await queues.create(DelaySeconds=60)
    await queues.send(queue, "queue's")
    await queues.send(queue, "own", delay_s=5)
    await queues.send(queue, "none", delay_s=0)
    received = await queues.receive(queue)
    assert [m.body for m in received.messages] == ["none"]
    assert received.next_ms == queues.timer.now_ms() + 5_000
    assert await queues.counts(queue) == (0, 1, 2)
    await queues.timer.move(5)
    assert await queues.bodies(queue) == ["own"]
    await queues.timer.move(55)
    assert "queue's" in await queues.bodies(queue)


async def test_too_old_messages_go(queues: Queues) -> None:
    """Nothing is received after its retention, wherever it was when that ended, and nothing of it is left."""
    queue = await queues.create(MessageRetentionPeriod=60, VisibilityTimeout=30)
    await queues.send(queue, "waiting", "held")
    assert len(await queues.take(queue, 2)) == 2
    await queues.timer.move(31)
    await queues.send(queue, "young")
    await queues.timer.move(29)
    assert await queues.bodies(queue) == ["young"]
    await queues.timer.move(90)
    assert await queues.bodies(queue) == []
    assert await queues.counts(queue) == (0, 0, 0)
    assert not [key for key in await queues.keys() if ":q" in key and ":queue" not in key]


async def test_dead_letters(queues: Queues) -> None:
    """After so many receives the next one moves a message to the dead-letter queue, itself and whole."""
    dead = await queues.create("dead", MessageRetentionPeriod=600)
    queue = await queues.create(VisibilityTimeout=1, RedrivePolicy=redrive(dead, 2))
    attributes = {"n": {"DataType": "Number", "StringValue": "1"}}
    (sent,) = await queues.send(queue, "poison", message_attributes=attributes)
    for _ in range(2):
        assert await queues.bodies(queue) == ["poison"]
        await queues.timer.move(1)
    await queues.send(queue, "fine")
    assert await queues.bodies(queue) == ["fine"]
    (letter,) = await queues.take(dead)
    assert (letter.id, letter.body, letter.message_attributes) == (sent.id, "poison", attributes)
    assert letter.attributes["DeadLetterQueueSourceArn"] == queue.arn
    assert letter.attributes["ApproximateReceiveCount"] == "3"
    # It keeps its age, too.
    await queues.timer.move(599)
    assert await queues.bodies(dead) == []


async def test_no_dead_letter_queue_no_dead_letters(queues: Queues) -> None:
    """Where the dead-letter queue is gone messages stay, and are received as ever."""
    dead = await queues.create("dead")
    queue = await queues.create(VisibilityTimeout=1, RedrivePolicy=redrive(dead, 1))
    await queues.send(queue, "a")
    assert await queues.bodies(queue) == ["a"]
    await queues.store.drop(dead.ref)
    for _ in range(3):
        await queues.timer.move(1)
        assert await queues.bodies(queue) == ["a"]


async def test_a_letter_whose_queue_vanishes_on_the_way_comes_back(queues: Queues) -> None:
    """A message is never lost between two queues, whoever dies or is deleted."""
    dead = await queues.create("dead")
    queue = await queues.create(VisibilityTimeout=1, RedrivePolicy=redrive(dead, 1))
    await queues.send(queue, "a")
    assert await queues.bodies(queue) == ["a"]
    await queues.timer.move(1)
    # Another process deletes the queue, which this one still knows.
    await queues.redis.run("queues/drop", queues.redis.keys.prefix(dead.ident), [dead.ident])
    await queues.receive(queue)
    assert await queues.bodies(queue) == ["a"]


async def test_sending_once(queues: Queues) -> None:
    """The same given id twice is one message, and both senders are told the same."""
    queue = await queues.create()
    one, two = await queues.send(queue, "a", "a", id="11111111-1111-1111-1111-111111111111")
    (three,) = await queues.send(queue, "a", id="11111111-1111-1111-1111-111111111111")
    assert one == two == three
    assert await queues.counts(queue) == (1, 0, 0)


async def test_records_are_checked_by_the_scripts(queues: Queues) -> None:
    """A queue changed, deleted or made anew by another process counts at once, whatever was read before."""
    old = await queues.create()
    await queues.alter(old, DelaySeconds=60)
    await queues.send(old, "late")
    assert await queues.counts(old) == (0, 0, 1)
    await queues.store.drop(old.ref)
    with pytest.raises(QueueDoesNotExist):
        await queues.send(old, "x")
    with pytest.raises(QueueDoesNotExist):
        await queues.receive(old)
    with pytest.raises(QueueDoesNotExist):
        await queues.counts(old)
    new = await queues.create()
    await queues.send(old, "a")
    assert await queues.bodies(new) == ["a"]


async def test_a_deleted_queue_leaves_nothing(queues: Queues) -> None:
    """No key is left of queues that are deleted, whatever was in them."""
    dead = await queues.create("dead.fifo")
    for name in ("a", "b.fifo"):
        queue = await queues.create(name, RedrivePolicy=redrive(dead, 2), VisibilityTimeout=5)
        await queues.send(queue, "1", "2", "3")
        await queues.take(queue, 1, attempt_id="t")
        await queues.alter(queue, DelaySeconds=5)
        await queues.send(queue, "4")
        await queues.store.drop(queue.ref)
    await queues.store.drop(dead.ref)
    assert await queues.keys() == []


async def test_only_so_many_in_flight(queues: Queues) -> None:
    """No more messages are handed out than may be in flight, and whoever asks is told."""
    queues.store = QueueStore(queues.redis, in_flight_max=3)
    queue = await queues.create()
    await queues.send(queue, *"abcde")
    assert await queues.bodies(queue) == ["a", "b", "c"]
    assert (await queues.receive(queue)).over_limit
    assert await queues.store.find_arn(f"arn:aws:sqs:{REGION}:{ACCOUNT}:q") == queue


async def test_many_due_at_once(queues: Queues) -> None:
    """However many messages come back at the same time, all are received, and the counts were right before."""
    queue = await queues.create(VisibilityTimeout=10)
    for _ in range(5):
        await queues.send(queue, *(str(n) for n in range(200)))
    held = 0
    while messages := await queues.take(queue, 100):
        held += len(messages)
    assert held == 1000
    await queues.timer.move(10)
    assert await queues.counts(queue) == (1000, 0, 0)
    assert len([body for _ in range(100) for body in await queues.bodies(queue, 10)]) == 1000


async def test_large_batches_are_cut(queues: Queues) -> None:
    """Senders of large messages at the same time go in several scripts, and each gets its own answers."""
    queue = await queues.create()
    bodies = [f"{n}" * 700_000 for n in range(10)]
    sent = await asyncio.gather(*(queues.send(queue, body) for body in bodies))
    assert [one[0].md5_of_body for one in sent] == [hashlib.md5(body.encode()).hexdigest() for body in bodies]
    assert sorted(await queues.bodies(queue)) == sorted(bodies)


async def test_letters_wait_for_the_scheduler_where_they_cannot_be_sent_on(queues: Queues) -> None:
    """Where the way to the dead-letter queue fails, what was received besides is handed out all the same."""
    dead = await queues.create("dead")
    queue = await queues.create(VisibilityTimeout=1, RedrivePolicy=redrive(dead, 1))
    await queues.send(queue, "poison")
    assert await queues.bodies(queue) == ["poison"]
    await queues.timer.move(1)
    await queues.send(queue, "fine")
    forward = queues.store.forward

    async def fails(*_: object, **__: object) -> int:
        raise StoreUnavailable("away")

    queues.store.forward = fails  # type: ignore[method-assign]
    assert await queues.bodies(queue) == ["fine"]
    assert await queues.bodies(dead) == []
    queues.store.forward = forward  # type: ignore[method-assign]
    assert [ref.name for ref in await MoveTaskStore(queues.redis, queues.store).busy()] == ["q"]
    await MoveTaskStore(queues.redis, queues.store).step(queue.ref, now_ms=queues.timer.now_ms())
    assert await queues.bodies(dead) == ["poison"]
    assert await MoveTaskStore(queues.redis, queues.store).busy() == []


async def test_more_that_is_too_old_than_one_look_drops(queues: Queues) -> None:
    """However much is past its retention, none of it is received; who waits is told to look again at once."""
    queue = await queues.create(MessageRetentionPeriod=60)
    await queues.send(queue, *map(str, range(450)))
    await queues.timer.move(61)
    await queues.send(queue, "young")
    found: list[str] = []
    for _ in range(4):
        received = await queues.receive(queue)
        found += [message.body for message in received.messages]
        assert received.messages or received.next_ms == queues.timer.now_ms()
        if received.messages:
            break
    assert found == ["young"]


async def test_more_dead_letters_than_one_look_sends_out(queues: Queues) -> None:
    """Who finds nothing but dead letters is told to look again at once, as long as something may be behind them."""
    dead = await queues.create("dead")
    queue = await queues.create(VisibilityTimeout=1, RedrivePolicy=redrive(dead, 1))
    await queues.send(queue, *map(str, range(150)))
    assert len(await queues.bodies(queue, 150)) == 150
    await queues.timer.move(1)
    await queues.send(queue, "fine")
    first = await queues.receive(queue)
    assert (first.messages, first.next_ms) == ([], queues.timer.now_ms())
    assert await queues.bodies(queue) == ["fine"]
    assert await queues.counts(dead) == (150, 0, 0)
