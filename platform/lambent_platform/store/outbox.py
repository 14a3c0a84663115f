"""The outbox: what destinations and dead-letter queues are still to be told of events that ended.

Each destination has a list of its own, so that one that takes nothing holds nobody else up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from lambent_platform.contracts.events import DeliveryKind, Ending, EventMeta
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.store.invocations import DEAD_LIMITS
from lambent_platform.store.redis import RedisStore, translated

DESTINATIONS_SEEN: Final = 512
"""Destinations with something to do that one look finds, picked at random, so that each comes to be seen."""


@dataclass(frozen=True, slots=True)
class Box:
    """The list of one destination on one partition."""

    prefix: str
    arn: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An event that ended, with everything that its deliveries are made of."""

    invocation: Invocation
    meta: EventMeta
    ending: Ending
    response: bytes
    since_ms: int
    """Since when (event time) its deliveries are tried: its end, or when an operator had them made again."""


class OutboxStore:
    """The outbox on Redis. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._prefixes = redis.keys.prefixes

    async def sleep(self, wait_s: float) -> None:
        """Sleep until something comes into the outbox, at most `wait_s`."""
        with translated():
            await self._redis.client.blpop([f"{prefix}wake-outbox" for prefix in self._prefixes], timeout=wait_s)

    async def boxes(self) -> list[Box]:
        """Destinations that are to be told something, bounded."""
        found: list[Box] = []
        for prefix in self._prefixes:
            with translated():
                arns = await self._redis.client.srandmember(f"{prefix}outboxes", DESTINATIONS_SEEN)
            found += [Box(prefix, arn.decode()) for arn in arns]
        return found

    async def entries(self, box: Box, count: int) -> list[tuple[str, DeliveryKind]]:
        """The oldest deliveries of a destination: id of the event, and kind."""
        with translated():
            rows = await self._redis.client.lrange(f"{box.prefix}outbox:{box.arn}", 0, count - 1)
        return [(event_id, kind) for event_id, _, kind in (row.decode().partition(" ") for row in rows)]

    async def load(self, prefix: str, event_id: str) -> Ended | None:
        """Read an event that ended; None where it is gone."""
        with translated():
            message, meta, ending, response, resent = await self._redis.client.hmget(
                f"{prefix}ev:{event_id}", "message", "meta", "ending", "response", "resent"
            )
        if message is None or ending is None:
            return None
        ended = Ending.from_dict(orjson.loads(ending))
        return Ended(
            Invocation.decode(message),
            EventMeta.from_dict(orjson.loads(meta)),
            ended,
            response or b"",
            int(resent or ended.ended_at_ms),
        )

    async def delivered(self, box: Box, event_id: str, kind: DeliveryKind) -> bool:
        """Take a delivery that was made off the outbox; the last one of an event takes the event with it."""
        return await self._close(box, event_id, kind, b"")

    async def refused(self, box: Box, event_id: str, kind: DeliveryKind, *, reason: str, now_ms: int) -> bool:
        """Take a delivery that cannot be made off the outbox; its event is kept as dead, with the reason."""
        return await self._close(box, event_id, kind, orjson.dumps({"at_ms": now_ms, "reason": reason}))

    async def _close(self, box: Box, event_id: str, kind: DeliveryKind, refusal: bytes) -> bool:
        args = [box.arn, f"{event_id} {kind}", refusal, *DEAD_LIMITS]
        return bool(await self._redis.run("delivered", box.prefix, args))
