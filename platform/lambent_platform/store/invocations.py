"""Calls and events on Redis: placed, taken, finished.

Every method is one round trip, and takes and returns batches, since the hot path is bounded by round trips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from lambent_platform.contracts.events import EventMeta, Settlement
from lambent_platform.contracts.invocation import Invocation, Reply
from lambent_platform.contracts.limits import ACCOUNT_CONCURRENCY
from lambent_platform.contracts.names import split_target
from lambent_platform.contracts.response_streams import Credit
from lambent_platform.store.redis import RedisStore, translated

DRAIN_COUNT: Final = 128
WAITING_CALLS_MAX: Final = 10_000
QUEUED_EVENTS_MAX: Final = 1_000_000
DEAD_EVENTS_KEPT: Final = 1_000
DEAD_BYTES_KEPT: Final = 268_435_456
"""Both of one function: of more the oldest go, and are counted."""
DEAD_LIMITS: Final = (DEAD_EVENTS_KEPT, DEAD_BYTES_KEPT)
SCAN_COUNT: Final = 512


class Placement(StrEnum):
    """What became of a call."""

    PLACED = "placed"
    QUEUED = "queued"
    STALE = "stale"
    """The function has changed since it was read: read it again."""
    RESERVED = "reserved"
    """The function's reserved concurrency is used up."""
    ACCOUNT = "account"
    FULL = "full"


class SlotAnswer(StrEnum):
    """What an environment does that got no next call."""

    IDLE = "idle"
    RETIRE = "retire"
    """What it runs is no longer deployed, or it said that it cannot go on."""
    LOST = "lost"
    """The call was not held by this worker any more: its result counts for nothing."""
    GONE = "gone"
    """The worker is not registered: it was given up."""


@dataclass(frozen=True, slots=True)
class Work:
    """One call for one environment. `event` is set for an asynchronous event."""

    invocation: Invocation
    event: EventMeta | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Inbox item: run this in that environment."""

    environment_id: str
    work: Work


@dataclass(frozen=True, slots=True)
class Start:
    """Inbox item: start an environment. `version` is a `FunctionVersion` as a dictionary."""

    environment_id: str
    version: dict[str, Any]
    last_call_ms: int = 0
    """When the function was last called (liveness time), where this is ahead of the next call; 0: a call waits."""


@dataclass(frozen=True, slots=True)
class Retire:
    """Inbox item: end that environment if it is idle, since its memory is needed."""

    environment_id: str


InboxItem = Call | Start | Retire | Credit
Next = Work | SlotAnswer


@dataclass(frozen=True, slots=True)
class Lease:
    """One call that a worker holds, as Redis has it."""

    prefix: str
    call_id: str
    value: bytes
    """As the scripts write it; its first part is the environment."""

    @property
    def environment_id(self) -> str:
        """The environment that the call was given to."""
        return self.value.partition(b"|")[0].decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of one call in a worker: a reply for a synchronous one, a settlement for an event."""

    environment_id: str
    invocation: Invocation
    reply: Reply | None = None
    settlement: Settlement | None = None
    keep: bool
    """Whether the environment can take another call."""
    billed_ms_mb: int = 0


def decode_work(data: bytes) -> Work:
    """Read a message as the scripts hand it out: attempt and meta (empty for a call), header, payload."""
    meta, _, message = data.partition(b"\n")
    if not meta:
        return Work(Invocation.decode(message))
    attempt, _, json = meta.partition(b" ")
    return Work(Invocation.decode(message, attempt=int(attempt)), EventMeta.from_dict(orjson.loads(json)))


def encode_ending(settlement: Settlement) -> tuple[bytes, bytes]:
    """What the scripts take of an event's end: `ending` as JSON (empty where nobody is told), and the response."""
    return orjson.dumps(settlement.ending.to_dict()) if settlement.ending else b"", settlement.response


def _answer(data: bytes) -> Next:
    return decode_work(data[1:]) if data[:1] == b">" else SlotAnswer(data.decode())


def _item(data: bytes) -> InboxItem:
    head, _, rest = data.partition(b"\n")
    if head == b"START":
        order = orjson.loads(rest)
        return Start(order["environment"], order["version"], order.get("last_call_ms", 0))
    if head == b"RETIRE":
        return Retire(rest.decode())
    if head == b"CREDIT":
        return Credit.decode(rest)
    return Call(head.decode(), decode_work(rest))


def start_order(environment_id: str, version: dict[str, Any], *, last_call_ms: int = 0) -> bytes:
    """Encode the inbox item that `Start` is read from."""
    order = {"environment": environment_id, "version": version, "last_call_ms": last_call_ms}
    return b"START\n" + orjson.dumps(order)


def retire_order(environment_id: str) -> bytes:
    """Encode the inbox item that `Retire` is read from."""
    return b"RETIRE\n" + environment_id.encode()


def credit_order(credit: Credit) -> bytes:
    """Encode the inbox item that a `Credit` is read from."""
    return b"CREDIT\n" + credit.encode()


class InvocationStore:
    """The invocation path's half of Redis."""

    def __init__(
        self, redis: RedisStore, *, account_concurrency: int = ACCOUNT_CONCURRENCY, wait_for_disk: bool = False
    ) -> None:
        self._redis = redis
        self._wait_for_disk = wait_for_disk
        self._limit = account_concurrency
        self._prefixes = redis.keys.prefixes

    def _by_partition(self, targets: Iterable[str]) -> dict[str, list[int]]:
        prefixes = self._prefixes
        groups: dict[str, list[int]] = {}
        for index, target in enumerate(targets):
            prefix = prefixes[0] if len(prefixes) == 1 else self._redis.keys.prefix(split_target(target)[0])
            groups.setdefault(prefix, []).append(index)
        return groups

    async def place(self, calls: Sequence[tuple[Invocation, int]]) -> list[Placement]:
        """Place calls, each with the generation that its function was read at.

        Raises:
            StoreUnavailable: it is not known whether any was placed.
        """
        rows = [(i, generation, (i.gateway, i.encode())) for i, generation in calls]
        return await self._submit("place", rows, [WAITING_CALLS_MAX])

    async def accept(self, events: Sequence[tuple[Invocation, int, EventMeta]], *, once_s: int = 0) -> list[Placement]:
        """Accept asynchronous events: `PLACED` where it is now on Redis, queued or leased; else `STALE` or `FULL`.

        Accepting the same id twice is accepting it once, as long as the event is there; and for `once_s` more, though
        it ended long ago.
        """
        rows = [
            (i, generation, (i.encode(), orjson.dumps(meta.to_dict()), meta.expires_at_ms))
            for i, generation, meta in events
        ]
        return await self._submit("accept", rows, [QUEUED_EVENTS_MAX, once_s])

    async def accept_ended(
        self, invocation: Invocation, meta: EventMeta, settlement: Settlement, *, once_s: int = 0
    ) -> bool:
        """Accept an event that is not run, with what becomes of it; False where it was accepted before."""
        ident = split_target(invocation.target)[0]
        prefix = self._redis.keys.prefix(ident)
        args: list[Any] = [invocation.id, ident, invocation.target, invocation.encode(), orjson.dumps(meta.to_dict())]
        args += [*encode_ending(settlement), *DEAD_LIMITS, once_s]
        run = self._redis.run_durably if self._wait_for_disk else self._redis.run
        return bool(await run("accept_ended", prefix, args))

    async def _submit(
        self, script: str, rows: Sequence[tuple[Invocation, int, Sequence[Any]]], limits: Sequence[int]
    ) -> list[Placement]:
        results = [Placement.STALE] * len(rows)
        for prefix, indices in self._by_partition(row[0].target for row in rows).items():
            args: list[Any] = [self._limit, *limits]
            for index in indices:
                invocation, generation, tail = rows[index]
                ident = split_target(invocation.target)[0]
                args += (invocation.id, ident, invocation.target, generation, *tail)
            durably = script == "accept" and self._wait_for_disk
            run = self._redis.run_durably if durably else self._redis.run
            for index, said in zip(indices, await run(script, prefix, args), strict=True):
                results[index] = Placement.PLACED if said == b"accepted" else Placement(said.decode())
        return results

    async def count_stopped(self, target: str) -> None:
        """Count a synchronous call that was stopped, being one turn too many of a loop."""
        with translated():
            prefix = self._redis.keys.prefix(split_target(target)[0])
            await self._redis.client.hincrby(f"{prefix}eventcounts", "recursive", 1)

    async def cancel(self, call_id: str, target: str) -> bool:
        """Take a waiting call back; False where it is not waiting any more."""
        prefix = self._redis.keys.prefix(split_target(target)[0])
        return bool(await self._redis.run("cancel", prefix, [call_id, target]))

    async def replies(self, gateway: str, *, wait_s: float, prefix: str) -> list[Reply]:
        """Take what is in a gateway's reply box on one partition; waits up to `wait_s` for the first."""
        return [
            Reply.decode(data)
            for data in await self._redis.drain(f"{prefix}replies:{gateway}", wait_s=wait_s, count=DRAIN_COUNT)
        ]

    async def inbox(self, worker: str, *, wait_s: float, prefix: str) -> list[InboxItem]:
        """Take what is in a worker's inbox on one partition; waits up to `wait_s` for the first."""
        return [
            _item(data) for data in await self._redis.drain(f"{prefix}inbox:{worker}", wait_s=wait_s, count=DRAIN_COUNT)
        ]

    @property
    def partitions(self) -> tuple[str, ...]:
        """The prefixes to drain: one loop for each."""
        return self._prefixes

    async def finish(self, worker: str, outcomes: Sequence[Outcome], *, now_ms: int, hour: str) -> list[Next]:
        """End calls; returns for each what its environment does next.

        `now_ms` is liveness time; `hour` names the metering bucket (`2026-11-23T10`).
        """
        results: list[Next] = [SlotAnswer.LOST] * len(outcomes)
        for prefix, indices in self._by_partition(o.invocation.target for o in outcomes).items():
            args: list[Any] = [worker, now_ms, self._limit, *DEAD_LIMITS, hour]
            for index in indices:
                one = outcomes[index]
                settled = one.settlement
                args += (
                    one.environment_id,
                    one.invocation.id,
                    int(one.keep),
                    one.reply.encode() if one.reply else b"",
                    settled.action if settled else "",
                    settled.due_ms if settled else 0,
                    *(encode_ending(settled) if settled else (b"", b"")),
                    one.billed_ms_mb,
                )
            for index, said in zip(indices, await self._redis.run("finish", prefix, args), strict=True):
                results[index] = _answer(said)
        return results

    async def offer(self, worker: str, environment_id: str, target: str, *, now_ms: int, record: bytes) -> Next:
        """Say that an environment is ready (`record`: its JSON), or with `record=b""` that it failed to start.

        Returns the call that it takes: to run, or in the second case to be answered with what failed.
        """
        ident = split_target(target)[0]
        args = [worker, now_ms, self._limit, environment_id, ident, target, record]
        return _answer(await self._redis.run("offer", self._redis.keys.prefix(ident), args))

    async def retire(self, worker: str, environment_id: str, target: str, *, dead: bool = False) -> bool:
        """Take an idle environment out of service; False where a call was just placed on it and it is not dead."""
        prefix = self._redis.keys.prefix(split_target(target)[0])
        return bool(await self._redis.run("retire", prefix, [worker, environment_id, target, int(dead)]))

    async def replace(self, worker: str, calls: Sequence[Work]) -> int:
        """Put calls that no environment has taken back in front of their queues; returns how many were still held."""
        moved = 0
        for prefix, indices in self._by_partition(c.invocation.target for c in calls).items():
            args: list[Any] = [worker]
            for index in indices:
                args += (calls[index].invocation.id, calls[index].invocation.encode())
            moved += int(await self._redis.run("replace", prefix, args))
        return moved

    async def held(self, worker: str) -> list[Lease]:
        """Every call that a worker holds, read in bounded pages; as many as it has environments, and a few unread."""
        found: dict[tuple[str, bytes], bytes] = {}
        for prefix in self._prefixes:
            cursor = -1
            while cursor:
                with translated():
                    cursor, page = await self._redis.client.hscan(
                        f"{prefix}held:{worker}", max(cursor, 0), count=SCAN_COUNT
                    )
                found |= {(prefix, call_id): value for call_id, value in page.items()}
        return [Lease(prefix, call_id.decode(), value) for (prefix, call_id), value in found.items()]

    async def recover(self, worker: str, lost: Sequence[Lease], *, code: str, message: str) -> tuple[int, int]:
        """Take back what a worker holds but never got: events to their queues, calls answered with the error.

        Returns how many of each; leases that have changed since they were read, or are unread, stay.
        """
        events = calls = 0
        for prefix in {lease.prefix for lease in lost}:
            args: list[Any] = [worker, code, message]
            for lease in lost:
                if lease.prefix == prefix:
                    args += (lease.call_id, lease.value)
            requeued, answered = await self._redis.run("recover", prefix, args)
            events, calls = events + int(requeued), calls + int(answered)
        return events, calls

    async def live(self, targets: Sequence[str]) -> list[bool]:
        """Whether each target is what is deployed now."""
        parts = [split_target(target) for target in targets]
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for ident, version, _ in parts:
                pipe.hget(self._redis.keys.function(ident), f"live:{version}")
            revisions = await pipe.execute()
        return [found == revision.encode() for found, (_, _, revision) in zip(revisions, parts, strict=True)]

    async def retarget(self, old: str, new: str, *, code: str, message: str) -> int:
        """Move what waits for `old` to `new`; with an empty `new`, answer calls with the error, and leave events."""
        prefix = self._redis.keys.prefix(split_target(old)[0])
        return int(await self._redis.run("retarget", prefix, [old, new, code, message]))
