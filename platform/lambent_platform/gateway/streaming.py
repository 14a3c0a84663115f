"""Writing a response whose length nobody knows: at the client's pace, and cut off where it must not look whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Final

from aiohttp import web

STALL_S: Final = 120.0
"""How long a client may take nothing before its connection is given up."""


class ClientGone(Exception):
    """The client hung up, or takes nothing any more: there is nobody to answer."""


class Writer:
    """Writes one response in parts."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response

    async def begin(self) -> None:
        """Send the head.

        Raises:
            ClientGone: there is nobody to send it to.
        """
        try:
            await self._response.prepare(self._request)
        except ConnectionError as error:
            raise ClientGone from error

    async def write(self, data: bytes) -> None:
        """Send a part, and wait until the connection has room for more.

        Raises:
            ClientGone: the client does not take it.
        """
        try:
            async with asyncio.timeout(STALL_S):
                await self._response.write(data)
        except (ConnectionError, TimeoutError) as error:
            self.cut()
            raise ClientGone from error

    async def end(self) -> None:
        """Say that the response is whole.

        Raises:
            ClientGone: the client does not hear it.
        """
        try:
            async with asyncio.timeout(STALL_S):
                await self._response.write_eof()
        except (ConnectionError, TimeoutError) as error:
            self.cut()
            raise ClientGone from error

    def cut(self) -> None:
        """End the connection without an end of the response; what was written before is still sent."""
        transport = self._request.transport
        if transport is None:
            return
        if self._response.prepared and not self._response.chunked:
            # Without chunks an ordinary end of the connection would be the end of the response.
            _reset(transport)
        else:
            transport.close()


def _reset(transport: asyncio.Transport) -> None:
    """End a connection so that its client sees an error; what was not sent yet is dropped."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # Of a copy, since event loops hand out stand-ins of their sockets; the option is the connection's.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
