"""Being told when something arrives in a queue, instead of asking again and again.

A process has a box, one list in each partition. Who waits for a queue is in a set at that queue; the script that
makes something receivable pushes the queue's ident into the boxes of all that are in it, and empties the set. So a
queue that nobody waits for costs nothing, and a box holds no more than there are queues that its process waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.redis import RedisStore

DRAIN_WAIT_S: Final = 5.0
DRAIN_COUNT: Final = 256
REGISTERED_S: Final = 120
"""How long a queue remembers who waits for it and says nothing more."""
REFRESH_S: Final = 40.0
LOST_PAUSE_S: Final = 1.0

log = structlog.get_logger("arrivals")


class Interest:
    """One waiter's interest in one queue."""

    def __init__(self, arrivals: Arrivals, ident: str) -> None:
        self._arrivals = arrivals
        self._ident = ident
        self._event = asyncio.Event()
        self._registered_s = 0.0

    async def wait(self, timeout_s: float) -> bool:
        """Wait until something arrived since the last wait returned (or since the interest began); False after so long.

        An arrival may be something that others have received already, or a change that makes something receivable
        earlier than was known: look again, and wait again.

        Raises:
            StoreUnavailable: Redis is away.
        """
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while not self._event.is_set():
            now_s = asyncio.get_running_loop().time()
            if now_s >= deadline_s:
                return False
            # Waits that are cut short again and again, by timers of the caller, must not let it be forgotten.
            if now_s >= self._registered_s + REFRESH_S:
                await self.register()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline_s, self._registered_s + REFRESH_S)):
                    await self._event.wait()
        self._event.clear()
        try:
            # Before the caller looks: what arrives from now on wakes it again.
            await self.register()
        except BaseException:
            self._event.set()  # perhaps nobody is told of the next arrival: the next wait says so again
            raise
        return True

    async def register(self) -> None:
        """Have this process told of the next arrival.

        Raises:
            StoreUnavailable: Redis is away.
        """
        now_s = asyncio.get_running_loop().time()
        await self._arrivals.register(self._ident)
        self._registered_s = now_s

    def arrived(self) -> None:
        """Wake the waiter."""
        self._event.set()


class Arrivals:
    """One process's interests. `process` is its unique name."""

    def __init__(self, redis: RedisStore, process: str) -> None:
        self._redis = redis
        self._process = process
        self._interests: dict[str, set[Interest]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take what arrives, for the length of the block."""
        tasks = [asyncio.create_task(self._take(prefix)) for prefix in self._redis.keys.prefixes]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def interested(self, ident: str) -> AsyncIterator[Interest]:
        """Be told of what arrives in a queue from now on; `ident` is `account:region:name`.

        Raises:
            StoreUnavailable: Redis is away.
        """
        interest = Interest(self, ident)
        self._interests.setdefault(ident, set()).add(interest)
        try:
            await interest.register()
            yield interest
        finally:
            interests = self._interests[ident]
            interests.discard(interest)
            if not interests:
                del self._interests[ident]

    async def register(self, ident: str) -> None:
        """Have this process told of the next arrival in a queue.

        Raises:
            StoreUnavailable: Redis is away.
        """
        await self._redis.run("queues/wait", self._redis.keys.prefix(ident), [self._process, REGISTERED_S, ident])

    async def _take(self, prefix: str) -> None:
        while True:
            try:
                idents = await self._redis.drain(
                    f"{prefix}arrivals:{self._process}", wait_s=DRAIN_WAIT_S, count=DRAIN_COUNT
                )
            except StoreUnavailable as error:
                log.warning("redis is away", error=str(error))
                await asyncio.sleep(LOST_PAUSE_S)
                # What was in the reply that got lost is not known: everybody looks.
                self._wake(list(self._interests))
                continue
            self._wake([ident.decode() for ident in idents])

    def _wake(self, idents: list[str]) -> None:
        for ident in idents:
            for interest in self._interests.get(ident, ()):
                interest.arrived()
