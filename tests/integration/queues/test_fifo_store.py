"""FIFO queues in the store: groups, duplicates, attempts."""

from __future__ import annotations

import json

from lambent_platform.contracts.queues import QueueRecord

from .conftest import Queues


async def test_a_group_in_flight_is_locked(queues: Queues) -> None:
    """What comes after a message that somebody holds waits for it, in order; other groups do not."""
    queue = await queues.create("q.fifo", VisibilityTimeout=30)
    await queues.send(queue, "a1", "a2", "a3", group_id="a")
    await queues.send(queue, "b1", group_id="b")
    first = await queues.take(queue, 2)
    assert [m.body for m in first] == ["a1", "a2"]
    assert await queues.bodies(queue) == ["b1"]
    assert await queues.bodies(queue) == []
    assert await queues.delete(queue, first[:1]) == [None]
    assert await queues.bodies(queue) == []
    assert await queues.delete(queue, first[1:]) == [None]
    assert await queues.bodies(queue) == ["a3"]


async def test_what_comes_back_comes_first(queues: Queues) -> None:
    """A message given back, or whose time is over, is received again before those after it."""
    queue = await queues.create("q.fifo", VisibilityTimeout=30)
    await queues.send(queue, "1", "2", "3")
    (one,) = await queues.take(queue, 1)
    assert await queues.hold(queue, one, 0) is None
    one, two = await queues.take(queue, 2)
    assert (one.body, two.body) == ("1", "2")
    assert await queues.delete(queue, [two]) == [None]
    await queues.timer.move(30)
    assert await queues.bodies(queue) == ["1", "3"]
    assert await queues.delete(queue, [one]) == ["InvalidParameterValue"]


async def test_the_oldest_group_is_first(queues: Queues) -> None:
    """A receive takes as much as it may of the group whose turn it is, then of the next."""
    queue = await queues.create("q.fifo")
    for body, group in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c"), ("b2", "b")):
        await queues.send(queue, body, group_id=group)
    assert await queues.bodies(queue, 4) == ["a1", "a2", "b1", "b2"]
    assert await queues.bodies(queue, 4) == ["c1"]


async def test_groups_whose_names_begin_alike(queues: Queues) -> None:
    """No group's messages are mistaken for another's."""
    queue = await queues.create("q.fifo")
    for group in ("a", "aa", "a!", "A", "~", "!"):
        await queues.send(queue, group, group_id=group)
    assert await queues.bodies(queue, 1) == ["a"]
    assert sorted(await queues.bodies(queue)) == sorted(["aa", "a!", "A", "~", "!"])


async def test_duplicates_within_five_minutes(queues: Queues) -> None:
    """The same id is the same message until five minutes are over, whatever became of it; at that moment no more."""
    queue = await queues.create("q.fifo")
    (first,) = await queues.send(queue, "a", deduplication_id="d")
    (again,) = await queues.send(queue, "b", deduplication_id="d", group_id="other")
    assert (again.id, again.sequence_number) == (first.id, first.sequence_number)
    messages = await queues.take(queue)
    assert [m.body for m in messages] == ["a"]
    await queues.delete(queue, messages)
    await queues.timer.move(299.999)
    await queues.send(queue, "c", deduplication_id="d")
    assert await queues.bodies(queue) == []
    await queues.timer.move(0.001)
    await queues.send(queue, "d", deduplication_id="d")
    assert await queues.bodies(queue) == ["d"]


async def test_duplicates_within_a_group(queues: Queues) -> None:
    """With the scope of a message group an id counts in its group alone."""
    queue = await queues.create("q.fifo", DeduplicationScope="messageGroup", FifoThroughputLimit="perMessageGroupId")
    await queues.send(queue, "a", deduplication_id="d", group_id="1")
    await queues.send(queue, "b", deduplication_id="d", group_id="2")
    await queues.send(queue, "c", deduplication_id="d", group_id="2")
    assert await queues.bodies(queue) == ["a", "b"]


async def test_duplicates_by_content(queues: Queues) -> None:
    """Without an id the body stands in for it; an id that is given counts instead."""
    queue = await queues.create("q.fifo", ContentBasedDeduplication="true")
    for given in ("", "", "1"):
        await queues.send(queue, "same", deduplication_id=given)
    messages = await queues.take(queue)
    assert [m.attributes["MessageDeduplicationId"][:3] for m in messages] == ["096", "1"]


async def test_sequence_numbers_grow(queues: Queues) -> None:
    """They have 20 digits and grow across groups, time, and clocks that go back."""
    queue = await queues.create("q.fifo")
    numbers = [sent.sequence_number for sent in await queues.send(queue, *"abc")]
    queues.timer.time_ms -= 60_000
    numbers += [sent.sequence_number for sent in await queues.send(queue, *"def", group_id="other")]
    await queues.timer.move(120)
    numbers += [sent.sequence_number for sent in await queues.send(queue, *"ghi")]
    assert [len(number) for number in numbers] == [20] * 9
    assert numbers == sorted(set(numbers), key=int)


async def test_a_repeated_attempt(queues: Queues) -> None:
    """The same attempt gets the same messages under the same receive, as long as it holds them, for five minutes."""
    queue = await queues.create("q.fifo", VisibilityTimeout=30)
    await queues.send(queue, *"abc")
    first = await queues.take(queue, 2, attempt_id="t")
    await queues.timer.move(20)
    again = await queues.take(queue, 2, attempt_id="t")
    assert [m.id for m in again] == [m.id for m in first]
    assert [m.attributes["ApproximateReceiveCount"] for m in again] == ["1", "1"]
    await queues.timer.move(20)
    # The second time counted anew.
    assert await queues.bodies(queue) == []
    assert await queues.delete(queue, again[:1]) == [None]
    assert [m.body for m in await queues.take(queue, 2, attempt_id="t")] == ["b"]
    await queues.timer.move(300)
    assert await queues.bodies(queue, attempt_id="t") == ["b", "c"]


async def test_a_queues_delay_reaches_what_waits(queues: Queues) -> None:
    """In a FIFO queue the delay counts as it is now, and never changes the order."""
    queue = await queues.create("q.fifo", DelaySeconds=60)
    await queues.send(queue, "1")
    queue = await queues.alter(queue, DelaySeconds=10)
    await queues.timer.move(5)
    await queues.send(queue, "2")
    await queues.timer.move(5)
    assert await queues.bodies(queue, 1) == ["1"]
    assert await queues.counts(queue) == (0, 1, 1)
    queue = await queues.alter(queue, DelaySeconds=0)
    (one,) = await queues.take(queue, 1) or [None]  # its group is held
    assert one is None


async def test_dead_letters_keep_their_order(queues: Queues) -> None:
    """The messages of a group come to the dead-letter queue one after the other, in their group, and unlock it."""
    dead = await queues.create("dead.fifo")
    policy = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 1})
    queue: QueueRecord = await queues.create("q.fifo", VisibilityTimeout=1, RedrivePolicy=policy)
    await queues.send(queue, "1", "2", "3")
    assert await queues.bodies(queue, 2) == ["1", "2"]
    await queues.timer.move(1)
    assert await queues.bodies(queue) == ["3"]
    letters = await queues.take(dead)
    assert [m.body for m in letters] == ["1", "2"]
    assert {m.attributes["MessageGroupId"] for m in letters} == {"g"}
    assert {m.attributes["DeadLetterQueueSourceArn"] for m in letters} == {queue.arn}


async def test_what_is_too_old_goes_from_the_front_of_its_group(queues: Queues) -> None:
    """Expiry takes the oldest of a group and leaves the rest receivable; locks and groups leave nothing behind."""
    queue = await queues.create("q.fifo", MessageRetentionPeriod=60)
    await queues.send(queue, "old", group_id="g")
    await queues.send(queue, "gone", group_id="h")
    await queues.timer.move(50)
    await queues.send(queue, "young", group_id="g")
    await queues.timer.move(10)
    messages = await queues.take(queue)
    assert [m.body for m in messages] == ["young"]
    await queues.delete(queue, messages)
    await queues.timer.move(600)
    assert not await queues.store.expire(queue.ident, now_ms=queues.timer.now_ms())
    assert [key.split("}:")[1] for key in await queues.keys()] == [f"queue:{queue.ident}", "queues"]


async def test_a_clock_that_goes_back_changes_no_order(queues: Queues) -> None:
    """Delayed messages come in the order in which they were sent, whatever the time said meanwhile."""
    queue = await queues.create("q.fifo", DelaySeconds=5)
    await queues.send(queue, "1")
    queues.timer.time_ms -= 60_000
    await queues.send(queue, "2")
    queues.timer.time_ms += 60_000
    assert await queues.bodies(queue) == []
    await queues.timer.move(5)
    assert await queues.bodies(queue) == ["1", "2"]


async def test_an_attempt_that_holds_nothing_any_more(queues: Queues) -> None:
    """An attempt whose messages came back, or were deleted, receives again as any other does."""
    queue = await queues.create("q.fifo", VisibilityTimeout=30)
    await queues.send(queue, *"ab")
    assert await queues.bodies(queue, 1, attempt_id="t") == ["a"]
    await queues.timer.move(30)
    again = await queues.take(queue, 1, attempt_id="t")
    assert [(m.body, m.attributes["ApproximateReceiveCount"]) for m in again] == [("a", "2")]
    assert await queues.delete(queue, again) == [None]
    assert await queues.bodies(queue, 1, attempt_id="t") == ["b"]
    assert await queues.bodies(queue, 1, attempt_id="t") == ["b"]
