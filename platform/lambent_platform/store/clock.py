"""Event time that can be waited for: the machine's own, or one that can be moved ahead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.redis import RedisStore, translated

SLICE_S: Final = 60.0
"""Longest single sleep: the machine's clock may be set while it lasts."""
LOOK_S: Final = 1.0
"""How often a process says that it follows the clock, and reads it in case it was not told of a move."""
LEASE_MS: Final = 3_000
"""Silence after which nobody waits any more for a process to see a move."""
BACKOFF_S: Final = 0.5
LEAVE_S: Final = 1.0

log = structlog.get_logger()


class SystemTimer(SystemClock):
    """Event time that is the machine's own."""

    async def sleep_until(self, due_ms: int) -> None:
        """Wait until event time has reached `due_ms`."""
        while (left_ms := due_ms - self.now_ms()) > 0:  # noqa: ASYNC110 - what is waited for is a time, not an event
            await asyncio.sleep(min(left_ms / 1000, SLICE_S))


class MovableTimer(SystemClock):
    """Event time that runs at the machine's pace, ahead of it by an offset that only grows."""

    def __init__(self) -> None:
        self.offset_ms = 0
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        """Milliseconds since the epoch, in event time."""
        return super().now_ms() + self.offset_ms

    def move(self, offset_ms: int) -> None:
        """Take a larger offset and wake whoever sleeps; a smaller one changes nothing."""
        if offset_ms <= self.offset_ms:
            return
        self.offset_ms = offset_ms
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep_until(self, due_ms: int) -> None:
        """Wait until event time has reached `due_ms`, by its own pace or by a move."""
        while (left_ms := due_ms - self.now_ms()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_ms / 1000, SLICE_S)):
                    await self._moved.wait()


class VirtualTimer(MovableTimer):
    """A movable clock that all processes on one Redis share.

    Each of them has a box that a move is put into, and says how far it has followed; it says so every `LOOK_S`, which
    is also how it learns of a move that its box lost.
    """

    def __init__(self, redis: RedisStore, member: str) -> None:
        """`member` names this process; no two have the same."""
        super().__init__()
        self._redis = redis
        self._member = member
        self._box = f"{redis.keys.home}clockbox:{member}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the clock while the block runs; it has been read when the block begins.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        while await self._look():
            pass
        following = asyncio.create_task(self._follow(), name="clock")
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._redis.run("clock/leave", self._redis.keys.home, [self._member])

    async def _look(self) -> bool:
        """Say how far this process has followed, and follow; True where there was something new to say."""
        before = self.offset_ms
        self.move(int(await self._redis.run("clock/look", self._redis.keys.home, [self._member, before, LEASE_MS])))
        return self.offset_ms != before

    async def _follow(self) -> None:
        while True:
            try:
                if not await self._look():
                    await self._redis.drain(self._box, wait_s=LOOK_S, count=100)
            except StoreUnavailable as error:
                log.warning("the clock cannot be followed", error=str(error))
                await asyncio.sleep(BACKOFF_S)


class ClockStore:
    """The shared clock on Redis: what it says, and how it is moved. Raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._home = redis.keys.home

    async def offset_ms(self) -> int:
        """How far event time is ahead of the machine's."""
        with translated():
            return int(await self._redis.client.hget(f"{self._home}clock", "offset_ms") or 0)

    async def advance(self, by_ms: int, *, real_ms: int) -> int:
        """Move event time ahead by a span; returns the new offset. `real_ms` is the machine's own time."""
        return int(await self._redis.run("clock/move", self._home, ["advance", by_ms, real_ms, LEASE_MS]))

    async def set(self, to_ms: int, *, real_ms: int) -> int:
        """Move event time ahead to a moment; returns the new offset. A moment that is past moves nothing."""
        return int(await self._redis.run("clock/move", self._home, ["set", to_ms, real_ms, LEASE_MS]))

    async def behind(self, offset_ms: int) -> list[str]:
        """The live processes that have not followed that far yet."""
        found = await self._redis.run("clock/behind", self._home, [offset_ms, LEASE_MS])
        return [name.decode() for name in found]

    async def moves(self) -> list[tuple[int, int]]:
        """The spans of event time that moves passed over, as (from_ms, to_ms), oldest first; the last thousand."""
        with translated():
            rows = await self._redis.client.lrange(f"{self._home}clockmoves", 0, -1)
        pairs = (row.decode().split(":") for row in reversed(rows))
        return [(int(start), int(end)) for start, end in pairs]
