"""All connections: which requests are hot, how long a silent one stays open, and how they end at a shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from lambent_platform.gateway.aws.http import HttpReply
from lambent_platform.gateway.front.connection import Connection
from lambent_platform.gateway.front.head import Head
from lambent_platform.gateway.hosts import is_site

KEEP_ALIVE_S: Final = 75.0
READ_S: Final = 60.0
"""How long a request may take to come."""
SWEEP_S: Final = 5.0


class HotHandler(Protocol):
    """Answers one hot request; raises nothing."""

    async def __call__(self, head: Head, body: bytes, /) -> HttpReply:
        """Answer it."""


@dataclass(frozen=True, slots=True)
class HotRoute:
    """What is hot, by the head alone, and who answers it."""

    matches: Callable[[Head], bool]
    handler: HotHandler
    ends_with_client: bool = False
    """Whether the handler is cancelled when its client goes away."""


class Front:
    """Makes connections, and knows all that are open and not handed over."""

    def __init__(self, routes: Sequence[HotRoute], general: Callable[[], asyncio.Protocol]) -> None:
        """Take the hot routes, in order, and what makes the protocol of everything else."""
        self._routes = tuple(routes)
        self.general = general
        self.draining = False
        self._open: set[Connection] = set()

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)

    def opened(self, connection: Connection) -> None:
        """Count a connection."""
        self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)

    def may_be_hot(self, beginning: bytes | bytearray) -> bool:
        """Whether a head that is not whole yet could be hot: all that is hot is a POST."""
        return b"POST "[: len(beginning)] == bytes(beginning[:5])

    def is_hot(self, head: Head) -> bool:
        """Whether a request is answered here: never one to a user's own site, whose requests may look like any."""
        return any(route.matches(head) for route in self._routes) and not is_site(head.headers["host"], head.path)

    def route(self, head: Head) -> HotRoute:
        """Return the route of a hot request."""
        return next(route for route in self._routes if route.matches(head))

    @asynccontextmanager
    async def running(self, *, drain_s: float) -> AsyncIterator[None]:
        """Close what is silent for too long; at the end let calls that run answer, for up to `drain_s`."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            await self._drain(drain_s)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for connection in list(self._open):
                if now - connection.active_at > (READ_S if connection.busy else KEEP_ALIVE_S):
                    connection.close()

    async def _drain(self, drain_s: float) -> None:
        self.draining = True
        for connection in list(self._open):
            connection.close()
        running = [task for connection in self._open if (task := connection.answering) is not None]
        if running:
            await asyncio.wait(running, timeout=drain_s)
        for connection in list(self._open):
            connection.abort()
        for task in running:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*running, return_exceptions=True)
