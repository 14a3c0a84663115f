"""Dead events: those that ended without anybody to be told, or that nobody would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from lambent_platform.contracts.events import DeliveryKind, Ending, EventMeta
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.store.invocations import DEAD_EVENTS_KEPT, QUEUED_EVENTS_MAX
from lambent_platform.store.redis import RedisStore, translated

Redrive = Literal["redriven", "gone", "stale", "full"]
FUNCTIONS_MAX: Final = 10_000
_KINDS: Final[tuple[DeliveryKind, ...]] = ("dead_letter", "on_failure", "on_success")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEvent:
    """One dead event."""

    invocation: Invocation
    meta: EventMeta
    ending: Ending
    refusals: dict[DeliveryKind, str]
    """Why deliveries of it could not be made."""
    died_at_ms: int
    """Event time."""

    @property
    def undelivered(self) -> bool:
        """Whether the event itself ran, and only its destination could not be told."""
        return self.ending.condition == "Success"


class DeadEventStore:
    """Dead events by their function's `ident`. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore, *, wait_for_disk: bool = False) -> None:
        self._redis = redis
        self._write = redis.run_durably if wait_for_disk else redis.run

    async def functions(self) -> dict[str, int]:
        """How many dead events each function has, of those that have any, bounded."""
        counts: dict[str, int] = {}
        for prefix in self._redis.keys.prefixes:
            with translated():
                idents = [ident.decode() for ident in await self._redis.client.hkeys(f"{prefix}deadbytes")]
                idents = idents[: FUNCTIONS_MAX - len(counts)]
                pipe = self._redis.client.pipeline(transaction=False)
                for ident in idents:
                    pipe.llen(f"{prefix}dead:{ident}")
                found = await pipe.execute() if idents else []
            counts |= {ident: count for ident, count in zip(idents, found, strict=True) if count}
        return counts

    async def ids(self, ident: str) -> list[str]:
        """The ids of a function's dead events, the oldest first."""
        with translated():
            found = await self._redis.client.lrange(
                f"{self._redis.keys.prefix(ident)}dead:{ident}", 0, DEAD_EVENTS_KEPT
            )
        return [event_id.decode() for event_id in found]

    async def load(self, ident: str, event_ids: Sequence[str]) -> list[DeadEvent]:
        """Read dead events; those that are gone meanwhile are left out."""
        if not event_ids:
            return []
        prefix = self._redis.keys.prefix(ident)
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for event_id in event_ids:
                refused = [f"refused:{kind}" for kind in _KINDS]
                pipe.hmget(f"{prefix}ev:{event_id}", "message", "meta", "ending", "attempts", *refused)
            rows = await pipe.execute()
        return [found for row in rows if (found := _decode(row)) is not None]

    async def redrive(
        self, ident: str, event_id: str, generation: int, invocation: Invocation, meta: EventMeta
    ) -> Redrive:
        """Make the event `invocation` of a dead one in its place, for the function as it was read at `generation`."""
        args = [ident, event_id, generation, QUEUED_EVENTS_MAX, invocation.id, invocation.target]
        args += [invocation.encode(), orjson.dumps(meta.to_dict()), meta.expires_at_ms]
        said: bytes = await self._write("redrive", self._redis.keys.prefix(ident), args)
        return said.decode()  # type: ignore[return-value]  # the script's own words

    async def redeliver(self, ident: str, event_id: str, *, now_ms: int) -> Redrive:
        """Have the deliveries of a dead event that were refused made again."""
        said: bytes = await self._write("redeliver", self._redis.keys.prefix(ident), [ident, event_id, now_ms])
        return said.decode()  # type: ignore[return-value]  # the script's own words

    async def remove(self, ident: str, event_ids: Sequence[str]) -> int:
        """Remove dead events for good; returns how many were there."""
        return int(await self._write("forget_dead", self._redis.keys.prefix(ident), [ident, *event_ids]))


def _decode(row: Sequence[bytes | None]) -> DeadEvent | None:
    message, meta, ending, attempts, *refused = row
    if message is None or meta is None:
        return None
    rules = EventMeta.from_dict(orjson.loads(meta))
    ended = (
        Ending.from_dict(orjson.loads(ending))
        if ending
        else Ending(condition="RetriesExhausted", ended_at_ms=rules.accepted_at_ms, attempts=int(attempts or 0))
    )
    refusals = {kind: orjson.loads(data) for kind, data in zip(_KINDS, refused, strict=True) if data is not None}
    return DeadEvent(
        invocation=Invocation.decode(message),
        meta=rules,
        ending=ended,
        refusals={kind: str(data["reason"]) for kind, data in refusals.items()},
        died_at_ms=max((int(data["at_ms"]) for data in refusals.values()), default=ended.ended_at_ms),
    )
