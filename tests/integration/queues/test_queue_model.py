"""Any order of sends, receives, deletes, timeouts and moves of the clock, against what must hold after each."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambent_platform.contracts.queues import Message, QueueRecord
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import open_redis

from .conftest import MovableTimer, Queues

VISIBILITY_S = 10
RECEIVES_MAX = 4
GROUPS = ("g", "h", "gg")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, len(GROUPS) - 1), st.integers(1, 3)),
        st.tuples(st.just("receive"), st.integers(1, 10)),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("hold"), st.integers(0, 5), st.sampled_from([0, 3, 30])),
        st.tuples(st.just("pass"), st.sampled_from([1, 4, 10, 40])),
        st.tuples(st.just("delay"), st.sampled_from([0, 5])),
    ),
    max_size=60,
)


@dataclass
class Model:
    """What a queue must do, told by its user."""

    queues: Queues
    queue: QueueRecord
    dead: QueueRecord
    sent: dict[str, str] = field(default_factory=dict)
    """Body → group."""
    order: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Group → bodies that are neither deleted nor dead."""
    held: list[tuple[Message, int]] = field(default_factory=list)
    """Received, with when that is over."""
    receives: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    deleted: set[str] = field(default_factory=set)

    async def run(self, step: tuple[object, ...]) -> None:
        """Do one step and check it."""
        await getattr(self, f"do_{step[0]}")(*step[1:])
        now_ms = self.queues.timer.now_ms()
        self.held = [(message, until_ms) for message, until_ms in self.held if until_ms > now_ms]

    async def do_send(self, group: int, count: int) -> None:
        """Send to a group."""
        bodies = [f"{len(self.sent) + n}" for n in range(count)]
        await self.queues.send(self.queue, *bodies, group_id=GROUPS[group])
        for body in bodies:
            self.sent[body] = GROUPS[group]
            self.order[GROUPS[group]].append(body)

    async def do_receive(self, count: int) -> None:
        """Receive, and check who may be received."""
        busy = {message.body for message, _ in self.held}
        locked = {self.sent[body] for body in busy}
        messages = await self.queues.take(self.queue, count)
        assert len(messages) <= count
        taken: defaultdict[str, list[str]] = defaultdict(list)
        for message in messages:
            body, group = message.body, self.sent[message.body]
            assert body not in self.deleted
            assert body not in busy, "two hold it at the same time"
            self.receives[body] += 1
            assert self.receives[body] == int(message.attributes["ApproximateReceiveCount"]) <= RECEIVES_MAX
            taken[group].append(body)
            self.held.append((message, self.queues.timer.now_ms() + VISIBILITY_S * 1000))
        if self.queue.fifo:
            for group, bodies in taken.items():
                assert group not in locked, "its group is locked"
                alive = [body for body in self.order[group] if body in bodies or not self.dying(body)]
                assert bodies == alive[: len(bodies)], "out of order"

    def dying(self, body: str) -> bool:
        """Whether the next receive of it makes it a dead letter, or has made it one."""
        return self.receives[body] >= RECEIVES_MAX

    async def do_delete(self, at: int) -> None:
        """Delete something that is held."""
        if self.held:
            message, _ = self.held.pop(at % len(self.held))
            assert await self.queues.delete(self.queue, [message]) == [None]
            self.deleted.add(message.body)
            self.order[self.sent[message.body]].remove(message.body)

    async def do_hold(self, at: int, seconds: int) -> None:
        """Change the timeout of something that is held."""
        if self.held:
            at %= len(self.held)
            message, _ = self.held[at]
            assert await self.queues.hold(self.queue, message, seconds) is None
            self.held[at] = (message, self.queues.timer.now_ms() + seconds * 1000)

    async def do_pass(self, seconds: int) -> None:
        """Let time pass."""
        await self.queues.timer.move(seconds)

    async def do_delay(self, seconds: int) -> None:
        """Change the queue's delay."""
        self.queue = await self.queues.alter(self.queue, DelaySeconds=seconds)

    async def finish(self) -> None:
        """Take all that is left: every message is deleted, or here, or dead, and exactly once so."""
        await self.queues.timer.move(3600)
        left: list[str] = []
        while messages := await self.queues.take(self.queue, 10):
            left += [message.body for message in messages]
            assert await self.queues.delete(self.queue, messages) == [None] * len(messages)
        letters: list[str] = []
        while messages := await self.queues.take(self.dead, 10):
            letters += [message.body for message in messages]
            await self.queues.delete(self.dead, messages)
        assert sorted([*self.deleted, *left, *letters]) == sorted(self.sent)
        assert all(self.receives[body] == RECEIVES_MAX for body in letters)
        if self.queue.fifo:
            for group in GROUPS:
                of_group = [body for body in left if self.sent[body] == group]
                assert of_group == sorted(of_group, key=int)
        assert await self.queues.counts(self.queue) == (0, 0, 0)


async def check(url: str, suffix: str, plan: list[tuple[object, ...]]) -> None:
    """Run a plan on queues of its own."""
    async with open_redis(url, partitions=3) as redis:
        queues = Queues(QueueStore(redis), redis, MovableTimer())
        name = secrets.token_hex(6)
        dead = await queues.create(f"dead-{name}{suffix}", VisibilityTimeout=5)
        policy = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": RECEIVES_MAX})
        queue = await queues.create(f"{name}{suffix}", VisibilityTimeout=VISIBILITY_S, RedrivePolicy=policy)
        model = Model(queues, queue, dead)
        for step in plan:
            await model.run(step)
        await model.finish()
        await queues.store.drop(queue.ref)
        await queues.store.drop(dead.ref)
        assert not [key for key in await queues.keys() if name in key]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=steps)
def test_fifo_queues(redis_url: str, plan: list[tuple[object, ...]]) -> None:
    """No message is lost, doubled or out of order within its group, and none is held by two."""
    asyncio.run(check(redis_url, ".fifo", plan))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=steps)
def test_standard_queues(redis_url: str, plan: list[tuple[object, ...]]) -> None:
    """No message is lost or doubled, and none is held by two."""
    asyncio.run(check(redis_url, "", plan))


async def test_many_at_once(redis_url: str) -> None:
    """Senders and receivers of several processes at the same time: each message is deleted once, groups in order."""
    async with open_redis(redis_url, partitions=3) as one, open_redis(redis_url, partitions=3) as two:
        await one.client.flushall()
        timer = MovableTimer()
        sides = [Queues(QueueStore(redis), redis, timer) for redis in (one, two)]
        queue = await sides[0].create("q.fifo")
        expected = 0
        seen: defaultdict[str, list[int]] = defaultdict(list)

        async def produce(side: Queues, group: str) -> None:
            for number in range(100):
                await side.send(queue, f"{group} {number}", group_id=group)

        async def consume(side: Queues) -> None:
            while sum(map(len, seen.values())) < expected:
                messages = await side.take(queue, 10)
                for message in messages:
                    group, number = message.body.split()
                    seen[group].append(int(number))
                assert await side.delete(queue, messages) == [None] * len(messages)
                await asyncio.sleep(0)

        groups = [f"g{n}" for n in range(8)]
        expected = 100 * len(groups)
        producers = [produce(sides[n % 2], group) for n, group in enumerate(groups)]
        async with asyncio.timeout(60):
            await asyncio.gather(*producers, *(consume(sides[n % 2]) for n in range(4)))
        assert dict(seen) == {group: list(range(100)) for group in groups}
