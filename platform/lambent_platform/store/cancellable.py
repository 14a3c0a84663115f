"""Connections of the client library that let go when a task is cancelled, on Python 3.11 too.

The library sends by `asyncio.wait_for`, which before Python 3.12 drops a cancellation that comes together with the
end of what it waits for (python/cpython#86296). A loop that is cancelled in that moment would never end.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio.connection


class _Cancellable:
    """In front of a connection class of the library's."""

    is_connected: bool
    socket_timeout: float | None

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send as the library does, under a limit of time that does not swallow cancellations."""
        library: Any = super()
        if not self.is_connected:
            await library.connect_check_health(check_health=False)
        # Without a timeout of its own the library waits plainly.
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await library.send_packed_command(command, check_health)
        finally:
            self.socket_timeout = limit_s


def cancellable_pool(url: str, **options: Any) -> redis.asyncio.ConnectionPool:
    """Make a pool of such connections to `url`; `options` are the library's.

    Where all connections are taken, who wants one waits for it, as long as for a new one at most: a burst of one loop
    is no reason for the others to believe that Redis is away.
    """
    found: dict[str, Any] = dict(redis.asyncio.connection.parse_url(url))
    base = found.pop("connection_class", redis.asyncio.connection.Connection)
    kind = type(f"Cancellable{base.__name__}", (_Cancellable, base), {})
    options = {"timeout": options.get("socket_connect_timeout")} | options | found
    return redis.asyncio.BlockingConnectionPool(connection_class=kind, **options)
