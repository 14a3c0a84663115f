"""What waits for capacity or for its time: the scheduler's half of Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from lambent_platform.contracts.events import EventMeta, Settlement
from lambent_platform.contracts.limits import ACCOUNT_CONCURRENCY
from lambent_platform.contracts.names import split_target
from lambent_platform.store.invocations import DEAD_LIMITS, encode_ending
from lambent_platform.store.redis import RedisStore, translated

PROMOTE_COUNT: Final = 500
EXPIRE_COUNT: Final = 200


@dataclass(frozen=True, slots=True)
class Waiting:
    """One target that something waits for."""

    target: str
    calls: int
    events: int


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """One event that waits for its (next) attempt, without its payload."""

    prefix: str
    id: str
    attempts: int
    """How many were made."""
    meta: EventMeta


def _meta(data: bytes | None) -> EventMeta:
    return EventMeta.from_dict(orjson.loads(data)) if data else EventMeta(accepted_at_ms=0, function_arn="")


class DemandStore:
    """Queues and delays, as the scheduler works them off."""

    def __init__(self, redis: RedisStore, *, account_concurrency: int = ACCOUNT_CONCURRENCY) -> None:
        self._redis = redis
        self._limit = account_concurrency
        self._prefixes = redis.keys.prefixes

    async def sleep(self, wait_s: float) -> bool:
        """Sleep until something asks for the scheduler; False after `wait_s`."""
        with translated():
            woken = await self._redis.client.blpop([f"{prefix}wake" for prefix in self._prefixes], timeout=wait_s)
        return woken is not None

    async def waiting(self) -> list[Waiting]:
        """Every target that something waits for."""
        client = self._redis.client
        found: list[Waiting] = []
        with translated():
            for prefix in self._prefixes:
                targets = [target.decode() for target in await client.smembers(f"{prefix}demand")]
                pipe = client.pipeline(transaction=False)
                for target in targets:
                    pipe.zcard(f"{prefix}wait:{target}")
                    pipe.llen(f"{prefix}evq:{target}")
                counts = await pipe.execute() if targets else []
                found += [Waiting(t, counts[2 * n], counts[2 * n + 1]) for n, t in enumerate(targets)]
        return found

    async def forget(self, target: str) -> bool:
        """Say that a target needs nothing more; False where something waits after all."""
        return bool(await self._redis.run("forget_demand", self._prefix(target), [target]))

    async def ended_calls(self, target: str, hour: str, memory_mb: int) -> tuple[int, float]:
        """How many of this function's calls have ended in an hour, and their mean billed duration in seconds."""
        ident = split_target(target)[0]
        with translated():
            requests, ms_mb = await self._redis.client.hmget(
                f"{self._prefix(target)}meter:{ident}", f"{hour}:requests", f"{hour}:ms_mb"
            )
        count = int(requests or 0)
        return count, int(ms_mb or 0) / count / memory_mb / 1000 if count else 0.0

    async def promote(self, now_ms: int) -> int | None:
        """Queue the delayed events that are due (event time); returns when the next one is, or None."""
        next_due: int | None = None
        for prefix in self._prefixes:
            while True:
                moved, due = await self._redis.run("promote", prefix, [now_ms, PROMOTE_COUNT])
                if moved < PROMOTE_COUNT:
                    break
            if due:
                next_due = min(int(float(due)), next_due) if next_due is not None else int(float(due))
        return next_due

    async def dispatch(self, target: str) -> int:
        """Give queued events the idle slots of their target; returns how many were placed."""
        args = [target, split_target(target)[0], self._limit]
        return int(await self._redis.run("dispatch", self._prefix(target), args))

    async def expired(self, now_ms: int) -> list[WaitingEvent]:
        """The events that have passed their maximum age (event time), bounded; also of those that run just now."""
        found: list[WaitingEvent] = []
        for prefix in self._prefixes:
            with translated():
                ids = await self._redis.client.zrangebyscore(
                    f"{prefix}expiries", "-inf", f"({now_ms}", start=0, num=EXPIRE_COUNT
                )
            found += await self._events(prefix, ids)
        return found

    async def queued_events(self, target: str) -> list[WaitingEvent]:
        """The events at the front of a target's queue, bounded."""
        prefix = self._prefix(target)
        with translated():
            ids = await self._redis.client.lrange(f"{prefix}evq:{target}", 0, EXPIRE_COUNT - 1)
        return await self._events(prefix, ids)

    async def _events(self, prefix: str, ids: Sequence[bytes]) -> list[WaitingEvent]:
        if not ids:
            return []
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for event_id in ids:
                pipe.hmget(f"{prefix}ev:{event_id.decode()}", "attempts", "meta")
            rows = await pipe.execute()
        return [
            WaitingEvent(prefix, event_id.decode(), int(attempts or 1) - 1, _meta(meta))
            for event_id, (attempts, meta) in zip(ids, rows, strict=True)
        ]

    async def drop(self, event: WaitingEvent, settlement: Settlement, *, look_again_ms: int) -> bool:
        """End an event that waits, without another attempt; False where it does not wait (any more).

        One that runs is among the expired again at `look_again_ms` (event time), should its attempt be given back.
        """
        args = [event.id, *encode_ending(settlement), *DEAD_LIMITS, look_again_ms]
        return bool(await self._redis.run("drop_event", event.prefix, args))

    async def backlog(self) -> tuple[int, int]:
        """How many events are delayed, and how many destinations have deliveries waiting."""
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._prefixes:
                pipe.zcard(f"{prefix}delayed")
                pipe.scard(f"{prefix}outboxes")
            counts = await pipe.execute()
        return sum(counts[::2]), sum(counts[1::2])

    async def event_counts(self) -> dict[str, int]:
        """How often what has happened to events since this data set began.

        `dead`, `dead_dropped`, `purged`, `redriven`, `recursive`; `delivered_` and `refused_` with a kind of delivery.
        """
        total: Counter[str] = Counter()
        for prefix in self._prefixes:
            with translated():
                counts = await self._redis.client.hgetall(f"{prefix}eventcounts")
            total.update({name.decode(): int(count) for name, count in counts.items()})
        return dict(total)

    def _prefix(self, target: str) -> str:
        return self._redis.keys.prefix(split_target(target)[0])
