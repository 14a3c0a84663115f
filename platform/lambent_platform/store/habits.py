"""What functions' calls are like, on Redis: their idle times, and which of them are expected to be called soon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from lambent_platform.contracts.names import split_target
from lambent_platform.core.idle_history import BINS, EDGES_S, HISTORY_MAX, PAUSE_S, Habits
from lambent_platform.store.redis import RedisStore, translated

EXPECTED_COUNT: Final = 100
_EDGES: Final = orjson.dumps([round(edge_s * 1000) for edge_s in EDGES_S])


@dataclass(frozen=True, slots=True)
class Note:
    """One thing seen of a function; times in ms of liveness time."""

    ident: str
    what: Literal["warm", "cold", "end", "init"]
    """A call after a pause that found an environment, or found none; the end of the last running call; an init."""
    at_ms: int
    """When; of an init, how long it took."""
    from_ms: int = 0
    """Since when what a warm call found was idle; 0: since the last end that is known."""


class HabitStore:
    """Keeps and reads them. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def note(self, notes: Sequence[Note]) -> None:
        """Write down what was seen, in this order."""
        groups: dict[str, list[Any]] = {}
        for one in notes:
            args = groups.setdefault(self._redis.keys.prefix(one.ident), [_EDGES, HISTORY_MAX, round(PAUSE_S * 1000)])
            args += (one.ident, one.what, one.from_ms, one.at_ms)
        for prefix, args in groups.items():
            await self._redis.run("habits", prefix, args)

    async def load(self, idents: Sequence[str]) -> list[Habits]:
        """Read what is known of functions; of a function that was never called, nothing is."""
        if not idents:
            return []
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for ident in idents:
                pipe.hgetall(f"{self._redis.keys.prefix(ident)}habits:{ident}")
            return [_habits(fields) for fields in await pipe.execute()]

    async def expect(self, target: str, due_ms: int) -> None:
        """Say from when on (liveness time) an environment of a target is wanted, though nothing waits for it yet."""
        with translated():
            await self._redis.client.zadd(f"{self._prefix(target)}expected", {target: due_ms})

    async def take_expected(self, now_ms: int) -> list[str]:
        """Take the targets off the list whose time has come, bounded; what is taken and not served is forgotten."""
        taken: list[str] = []
        for prefix in self._redis.keys.prefixes:
            with translated():
                due = await self._redis.client.zrangebyscore(
                    f"{prefix}expected", "-inf", now_ms, start=0, num=EXPECTED_COUNT
                )
                if due:
                    await self._redis.client.zrem(f"{prefix}expected", *due)
            taken += [target.decode() for target in due]
        return taken

    def _prefix(self, target: str) -> str:
        return self._redis.keys.prefix(split_target(target)[0])


def _habits(fields: Mapping[bytes, bytes]) -> Habits:
    init_ms = fields.get(b"init_ms")
    counts = tuple(int(fields.get(b"%d" % at, 0)) for at in range(BINS))
    return Habits(
        counts=counts if any(counts) else (),
        warm=int(fields.get(b"warm", 0)),
        cold=int(fields.get(b"cold", 0)),
        last_ms=int(fields.get(b"last_ms", 0)),
        init_s=int(init_ms) / 1000 if init_ms else None,
    )
