"""A pipelined connection to Redis for the hot path: many commands in flight, one write for each turn of the loop.

The client library costs about 100 µs a command, most of it in layers that the hot path has no use for. This is what
is left without them: commands are packed and replies parsed by hiredis, and replies come in the order of commands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, cast
from urllib.parse import unquote

import hiredis
import redis.asyncio.connection

from lambent_platform.contracts.errors import StoreUnavailable

CONNECT_TIMEOUT_S: Final = 2.0
WATCH_S: Final = 1.0
Command = tuple[Any, ...]


class _Link(asyncio.Protocol):
    """One connection: commands out, replies in, in order."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._watch = self._loop.call_later(WATCH_S, self._look)

    def send(self, command: Command) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(hiredis.pack_command(command))
        self._pending.append((self._loop.time(), future))
        return future

    def _flush(self) -> None:
        data, self._unsent = self._unsent, []
        if self._transport is not None and not self.lost:
            self._transport.write(data[0] if len(data) == 1 else b"".join(data))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while True:
            try:
                reply = self._reader.gets()
            except hiredis.ProtocolError as error:
                self._end(error)
                return
            if reply is False:
                return
            _, future = self._pending.popleft()
            if future.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    def _look(self) -> None:
        """End a connection whose oldest command waits for longer than any may: its peer is gone without a word."""
        if self._pending and self._loop.time() - self._pending[0][0] > self._timeout_s:
            self._end(TimeoutError(f"no reply within {self._timeout_s:g} s"))
        elif not self.lost:
            self._watch = self._loop.call_later(WATCH_S, self._look)

    def _end(self, error: Exception | None) -> None:
        self.lost = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._pending:
            _, future = self._pending.popleft()
            if not future.done():
                future.set_exception(StoreUnavailable(f"Redis: {error or 'the connection was lost'}"))

    def close(self) -> None:
        self._end(None)


class Wire:
    """A connection that is made when it is first needed and made again after it was lost.

    What was in flight when it was lost fails, since nobody knows whether it ran; nothing is sent twice.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._options = redis.asyncio.connection.parse_url(url)
        self._timeout_s = timeout_s
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()

    async def call(self, *command: Any) -> Any:
        """Send one command and return its reply: bytes, integers, lists, None.

        Raises:
            StoreUnavailable: the server cannot be reached, was lost, or does not answer.
            hiredis.ReplyError: the server refused the command.
        """
        link = self._link
        if link is None or link.lost:
            link = await self._connect()
        return await link.send(command)

    async def _connect(self) -> _Link:
        async with self._connecting:
            if self._link is not None and not self._link.lost:
                return self._link
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    self._link = await self._open()
            except (OSError, TimeoutError, hiredis.ReplyError) as error:
                raise StoreUnavailable(f"Redis: {error or 'no connection in time'}") from error
            return self._link

    async def _open(self) -> _Link:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = dict(self._options)
        link = _Link(self._timeout_s)
        if path := options.get("path"):
            await loop.create_unix_connection(lambda: link, unquote(str(path)))
        else:
            secure = options.get("connection_class") is redis.asyncio.connection.SSLConnection
            host, port = str(options.get("host", "localhost")), int(options.get("port", 6379))
            await loop.create_connection(lambda: link, host, port, ssl=secure or None)
        if password := options.get("password"):
            user = options.get("username")
            await link.send(("AUTH", user, password) if user else ("AUTH", password))
        if database := options.get("db"):
            await link.send(("SELECT", database))
        return link

    def close(self) -> None:
        """End the connection; what is in flight fails."""
        if self._link is not None:
            self._link.close()
            self._link = None
