"""Streamed replies on Redis: parts from workers to gateways, credit back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from lambent_platform.contracts.invocation import Invocation
from lambent_platform.contracts.names import split_target
from lambent_platform.contracts.response_streams import Chunk, Credit
from lambent_platform.store.invocations import credit_order
from lambent_platform.store.redis import RedisStore

DRAIN_COUNT: Final = 64


@dataclass(frozen=True, slots=True)
class Sending:
    """One part on its way; without a chunk only the question whether anybody reads."""

    invocation: Invocation
    chunk: Chunk | None


class ResponseStreamStore:
    """Both ends' half of Redis. What a box may hold is bounded by whoever sends: on credit, `STREAM_WINDOW_BYTES`."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def send(self, parts: Sequence[Sending]) -> list[bool]:
        """Send parts; False for each that nobody reads. Sending one again is harmless.

        Raises:
            StoreUnavailable: it is not known which were sent.
        """
        read = [False] * len(parts)
        groups: dict[str, list[int]] = {}
        for index, part in enumerate(parts):
            prefix = self._redis.keys.prefix(split_target(part.invocation.target)[0])
            groups.setdefault(prefix, []).append(index)
        for prefix, indices in groups.items():
            args: list[Any] = []
            for index in indices:
                part = parts[index]
                chunk = part.chunk.encode() if part.chunk is not None else b""
                args += (part.invocation.gateway, chunk)
            for index, said in zip(indices, await self._redis.run("parts_send", prefix, args), strict=True):
                read[index] = bool(said)
        return read

    async def chunks(self, gateway: str, *, wait_s: float, prefix: str) -> list[Chunk]:
        """Take what is in a gateway's stream box on one partition; waits up to `wait_s` for the first."""
        found = await self._redis.drain(f"{prefix}parts:{gateway}", wait_s=wait_s, count=DRAIN_COUNT)
        return [Chunk.decode(data) for data in found]

    async def credit(self, words: Sequence[tuple[str, Credit]]) -> list[None]:
        """Tell workers, each with its word, how much of their streams was taken. One that is gone is not told."""
        args = [one for worker, credit in words for one in (worker, credit_order(credit))]
        await self._redis.run("parts_credit", self._redis.keys.home, args)
        return [None] * len(words)
