"""One connection: plain, hot requests are answered here, one after the other; anything else is handed on, for good.

reading ──▶ answering ──▶ reading …          a hot request
   └──────▶ handed over to aiohttp            anything else; its bytes are given along, unread
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from lambent_platform.gateway.aws.http import HttpReply
from lambent_platform.gateway.front.head import HEAD_BYTES_MAX, Head, read_head

if TYPE_CHECKING:
    from lambent_platform.gateway.front.front import Front, HotRoute

Answer = Callable[[], Awaitable[HttpReply]]
_END_OF_HEAD: Final = b"\r\n\r\n"
_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_date: tuple[int, str] = (0, "")


class Connection(asyncio.Protocol):
    """A client's connection until it brings something that is not hot."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: Head | None = None
        self._answering: asyncio.Task[None] | None = None
        self._ends_with_client = False
        self._writable = True
        self._ended_by_peer = False
        self.active_at = time.monotonic()
        """When its request began to come, or its last answer was sent."""

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered."""
        return self._answering is not None or self._head is not None or bool(self._buffer)

    @property
    def answering(self) -> asyncio.Task[None] | None:
        """What answers its request, while it has one."""
        return self._answering

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._front.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it; a call that runs goes on, and its answer is dropped, unless it is of no use then."""
        self._transport = None
        if self._answering is not None and self._ends_with_client:
            self._answering.cancel()
        self._front.closed(self)

    def eof_received(self) -> bool:
        """Answer what was asked before the client ended its half, then close."""
        self._ended_by_peer = True
        # A client that has gone looks the same as one that has only ended its half.
        return self._answering is not None and not self._ends_with_client

    def pause_writing(self) -> None:
        """Begin no further request while the client does not read."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on with what waits."""
        self._writable = True
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if not self.busy:
            # Not at every byte: who sends them one by one has no more time than others.
            self.active_at = time.monotonic()
        self._buffer += data
        if self._answering is None and self._writable:
            self._advance()
        elif len(self._buffer) > HEAD_BYTES_MAX and self._transport is not None:
            self._transport.pause_reading()  # it sends ahead of its answers, or takes none

    # -- requests ------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Begin the next request, if it is whole."""
        if self._answering is not None or not self._writable or self._transport is None or not self._buffer:
            return
        head = self._head
        if head is None:
            end = self._buffer.find(_END_OF_HEAD)
            if end < 0:
                if len(self._buffer) > HEAD_BYTES_MAX or not self._front.may_be_hot(self._buffer):
                    self._hand_over()
                return
            head = read_head(bytes(self._buffer[:end])) if end <= HEAD_BYTES_MAX else None
            if head is None or not self._front.is_hot(head):
                self._hand_over()
                return
            self._head = head
            del self._buffer[: end + len(_END_OF_HEAD)]
        if len(self._buffer) < head.content_length:
            return
        body = bytes(self._buffer[: head.content_length])
        del self._buffer[: head.content_length]
        self._head = None
        route = self._front.route(head)
        self._ends_with_client = route.ends_with_client
        self._answering = asyncio.get_running_loop().create_task(self._answer(route, head, body))

    async def _answer(self, route: HotRoute, head: Head, body: bytes) -> None:
        try:
            reply = await route.handler(head, body)
            self._send(reply)
        finally:
            self._answering = None
            transport = self._transport
            if transport is not None:
                if self._ended_by_peer or self._front.draining:
                    transport.close()
                else:
                    self._go_on()

    def _go_on(self) -> None:
        """Read on and begin the next request, unless the client is to read first."""
        transport = self._transport
        if transport is not None and not transport.is_closing() and self._answering is None and self._writable:
            transport.resume_reading()
            self._advance()

    def _send(self, reply: HttpReply) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self.active_at = time.monotonic()
        lines = [_STATUS_LINES[reply.status]]
        # A function's text must not become a header of its own.
        lines += [f"{name}: {value}\r\n" for name, value in reply.headers.items() if "\n" not in value]
        if reply.status not in (204, 304):
            lines.append(f"Content-Length: {len(reply.body)}\r\n")
        lines.append(f"Date: {_http_date()}\r\n")
        lines.append("Connection: close\r\n\r\n" if self._front.draining else "\r\n")
        transport.write("".join(lines).encode("utf-8") + reply.body)

    def _hand_over(self) -> None:
        """Give the connection to aiohttp, with what it has sent so far."""
        transport, data = self._transport, bytes(self._buffer)
        if transport is None:
            return
        self._transport = None
        self._buffer.clear()
        self._front.closed(self)
        protocol = self._front.general()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def close(self) -> None:
        """End the connection unless it answers; then it ends after the answer."""
        if self._transport is not None and self._answering is None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def _http_date() -> str:
    """The time as HTTP writes it; made once a second."""
    global _date
    now_s = int(time.time())
    if _date[0] != now_s:
        _date = (now_s, formatdate(now_s, usegmt=True))
    return _date[1]
