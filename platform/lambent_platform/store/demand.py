"""What waits for capacity or for its time: the scheduler's half of Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from lambent_platform.contracts.events import Settlement
from lambent_platform.contracts.limits import ACCOUNT_CONCURRENCY
from lambent_platform.contracts.names import split_target
from lambent_platform.store.invocations import DEAD_EVENTS_KEPT, Work, decode_work
from lambent_platform.store.redis import RedisStore, translated

PROMOTE_COUNT: Final = 500
OUTBOX_COUNT: Final = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """One target that something waits for."""

    target: str
    calls: int
    events: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry of the outbox: what a destination is to be sent."""

    prefix: str
    key: str
    destination: str
    envelope: dict[str, Any]


class DemandStore:
    """Queues, delays and the outbox, as the scheduler works them off."""

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

    async def mean_call_s(self, target: str, hour: str, memory_mb: int) -> float | None:
        """Mean billed duration of this function's calls in an hour; None where there were none."""
        ident = split_target(target)[0]
        with translated():
            requests, ms_mb = await self._redis.client.hmget(
                f"{self._prefix(target)}meter:{ident}", f"{hour}:requests", f"{hour}:ms_mb"
            )
        return int(ms_mb or 0) / int(requests) / memory_mb / 1000 if requests else None

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

    async def oldest_event(self, target: str) -> Work | None:
        """The event at the front of a target's queue."""
        prefix = self._prefix(target)
        with translated():
            ident = await self._redis.client.lindex(f"{prefix}evq:{target}", 0)
            if ident is None:
                return None
            fields = await self._redis.client.hmget(f"{prefix}ev:{ident.decode()}", "attempts", "meta", "message")
        if fields[0] is None:
            return None
        return decode_work(fields[0] + b" " + fields[1] + b"\n" + fields[2])

    async def drop(self, target: str, event_id: str, settlement: Settlement) -> bool:
        """End a queued event without another attempt."""
        delivery = orjson.dumps(settlement.delivery) if settlement.delivery else b""
        args = [target, event_id, delivery, DEAD_EVENTS_KEPT]
        return bool(await self._redis.run("drop_event", self._prefix(target), args))

    async def outbox(self) -> list[Delivery]:
        """The oldest deliveries that were not made yet, bounded."""
        found: list[Delivery] = []
        for prefix in self._prefixes:
            with translated():
                _, rows = await self._redis.client.hscan(f"{prefix}outbox", 0, count=OUTBOX_COUNT)
            for key, json in rows.items():
                entry = orjson.loads(json)
                found.append(Delivery(prefix, key.decode(), entry["destination"], entry["envelope"]))
        return found

    async def backlog(self) -> tuple[int, int]:
        """How many events are delayed, and how many deliveries wait in the outbox."""
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._prefixes:
                pipe.zcard(f"{prefix}delayed")
                pipe.hlen(f"{prefix}outbox")
            counts = await pipe.execute()
        return sum(counts[::2]), sum(counts[1::2])

    async def delivered(self, delivery: Delivery) -> None:
        """Take a delivery off the outbox."""
        with translated():
            await self._redis.client.hdel(f"{delivery.prefix}outbox", delivery.key)

    def _prefix(self, target: str) -> str:
        return self._redis.keys.prefix(split_target(target)[0])
