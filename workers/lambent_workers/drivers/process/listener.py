"""The Runtime API's door on the machine's loopback: for one environment's own processes, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from lambent_workers.drivers.port import ProtocolFactory
from lambent_workers.drivers.process.processes import peer_uid

CONNECTIONS_MAX: Final = 64
_BACKLOG: Final = 64


class Listener:
    """Listens on a free port of 127.0.0.1; `uid` is whose connections are accepted (None: everybody's)."""

    def __init__(self, protocol: ProtocolFactory, uid: int | None) -> None:
        self._protocol = protocol
        self._uid = uid
        self._loop = asyncio.get_running_loop()
        self._transports: list[asyncio.BaseTransport] = []
        self._accepting: set[asyncio.Task[None]] = set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._loop.add_reader(self._socket, self._on_connection)

    def _on_connection(self) -> None:
        try:
            connection, peer = self._socket.accept()
        except OSError:  # it went again, or there is no descriptor to be had
            return
        self._transports = [transport for transport in self._transports if not transport.is_closing()]
        full = len(self._transports) + len(self._accepting) >= CONNECTIONS_MAX
        if full or (self._uid is not None and peer_uid(peer, connection.getsockname()) != self._uid):
            connection.close()
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._serve(connection))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            transport, _ = await self._loop.connect_accepted_socket(self._protocol, connection)
            self._transports.append(transport)

    def close(self) -> None:
        """Stop listening and end every connection. Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        for task in self._accepting:
            task.cancel()
        for transport in self._transports:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
            else:
                transport.close()
        self._transports.clear()
