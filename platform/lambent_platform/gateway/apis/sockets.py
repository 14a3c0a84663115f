"""One client's connection to a WebSocket API: what goes out waits in a bounded buffer, what comes in is bounded too."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.connections import FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, ConnectionRecord, OrderEnd
from lambent_platform.core.apis.frames import FrameLengths
from lambent_platform.core.apis.socket_event import ABNORMAL, NO_STATUS, REASONS

BUFFER_BYTES: Final = 4 * MESSAGE_BYTES_MAX
"""What may wait for a client that reads slowly."""
BUFFER_ITEMS: Final = 1_000
CLOSE_S: Final = 2.0
"""How long a client may take to answer a close."""


class Socket:
    """A connection that is held by this gateway."""

    def __init__(
        self,
        record: ConnectionRecord,
        response: LimitedWebSocket,
        clock: EventClock,
        *,
        idle_s: float,
        max_s: float,
    ) -> None:
        self._clock = clock
        self.record = record
        self._response = response
        self._idle_s = idle_s
        self._ends_at = time.monotonic() + max_s
        self._active_at = time.monotonic()
        self._active_ms = record.connected_ms
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self._more = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self.ended = (ABNORMAL, "")
        """Status and reason of its end, once it ended."""

    def facts(self) -> dict[str, Any]:
        """What `GetConnection` says of it."""
        return {
            "ConnectedAt": self.record.connected_ms / 1000,
            "LastActiveAt": self._active_ms / 1000,
            "Identity": {"SourceIp": self.record.source_ip, "UserAgent": self.record.user_agent},
        }

    def offer(self, data: bytes) -> OrderEnd:
        """Send a message, in its turn."""
        if self._response.closed or self._closing is not None:
            return "gone"
        if self._out_bytes + len(data) > BUFFER_BYTES or len(self._out) >= BUFFER_ITEMS:
            return "slow"
        self._out.append(data)
        self._out_bytes += len(data)
        self._more.set()
        return "ok"

    def end(self, code: int, reason: str = "") -> None:
        """Close it; whoever reads it sees the end."""
        if self._closing is None:
            self.ended = (code, reason)
            self._closing = asyncio.create_task(self._close(code, (reason or REASONS.get(code, "")).encode()))

    async def _close(self, code: int, message: bytes) -> None:
        """Say why and end the connection, without waiting longer than `CLOSE_S` for a client that does not read."""
        transport = self._response.transport
        with contextlib.suppress(TimeoutError, ConnectionError, RuntimeError):
            async with asyncio.timeout(2 * CLOSE_S):
                await self._response.close(code=code, message=message)
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()  # what it has not read keeps it open for ever

    async def messages(self) -> AsyncIterator[str]:
        """Yield what the client sends until the connection ends; then `ended` says how."""
        writing = asyncio.create_task(self._write())
        try:
            while True:
                message = await self._receive()
                if message is None:
                    return
                yield message
        finally:
            writing.cancel()
            await asyncio.gather(writing, *([self._closing] if self._closing else []), return_exceptions=True)

    async def _receive(self) -> str | None:
        while True:
            left_s = min(self._active_at + self._idle_s, self._ends_at) - time.monotonic()
            if left_s <= 0:
                self.end(WSCloseCode.GOING_AWAY)
                return None
            try:
                message = await self._response.receive(timeout=left_s)
            except TimeoutError:
                continue
            self._touch()
            if message.type is WSMsgType.TEXT:
                return str(message.data)
            if message.type is WSMsgType.PING:
                await self._response.pong(message.data)
            elif message.type is WSMsgType.BINARY:
                # As API Gateway does: what clients send is text.
                self.end(WSCloseCode.UNSUPPORTED_DATA, "Binary frames are not supported")
                return None
            elif message.type is not WSMsgType.PONG:
                self._note_end(message.type, message.data, message.extra)
                return None

    def _note_end(self, kind: WSMsgType, data: Any, extra: Any) -> None:
        if self._closing is not None:
            return
        if kind is WSMsgType.CLOSE:
            self.ended = (int(data) or NO_STATUS, str(extra or ""))
        elif kind is WSMsgType.ERROR and isinstance(data, WebSocketError):
            self.ended = (data.code, str(data))

    async def _write(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._out:
                data = self._out[0]
                try:
                    text = data.decode()
                except UnicodeDecodeError:
                    text = None
                try:
                    await (self._response.send_bytes(data) if text is None else self._response.send_str(text))
                except (ConnectionError, RuntimeError):
                    return  # whoever reads sees the end
                self._out.popleft()
                self._out_bytes -= len(data)
                self._touch()

    def _touch(self) -> None:
        self._active_at = time.monotonic()
        self._active_ms = self._clock.now_ms()


class LimitedWebSocket(web.WebSocketResponse):
    """A WebSocket with API Gateway's limits on messages and on frames, and without compression."""

    transport: asyncio.Transport | None = None
    """What it goes over, once it is prepared."""

    def __init__(self, protocols: tuple[str, ...] = ()) -> None:
        # aiohttp refuses what reaches its limit, API Gateway what is over it.
        super().__init__(
            timeout=CLOSE_S, autoping=False, compress=False, max_msg_size=MESSAGE_BYTES_MAX + 1, protocols=protocols
        )

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: Any) -> None:
        # aiohttp limits messages but not their frames, and has no hook between the socket and its parser.
        connection: Any = request.protocol
        sent_early, connection._message_tail = connection._message_tail, b""
        super()._post_start(request, protocol, writer)
        self.transport = request.transport
        guard = _FrameGuard(connection._payload_parser, self._reader)
        connection._payload_parser = guard
        if sent_early:
            guard.feed_data(sent_early)


class _FrameGuard:
    """Stands before a parser of WebSocket frames and ends the connection at one that is too long."""

    def __init__(self, parser: Any, queue: Any) -> None:
        self._parser = parser
        self._queue = queue
        self._lengths = FrameLengths()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass bytes on."""
        self._lengths.feed(data)
        if self._lengths.longest > FRAME_BYTES_MAX:
            reason = f"A frame has more than {FRAME_BYTES_MAX} bytes"
            self._queue.set_exception(WebSocketError(WSCloseCode.MESSAGE_TOO_BIG, reason))
            return True, b""
        result: tuple[bool, bytes] = self._parser.feed_data(data)
        return result

    def feed_eof(self) -> None:
        """Pass the end on."""
        self._parser.feed_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)
