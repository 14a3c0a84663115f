"""Carries a sandbox's calls of the platform's public API from its own socket to the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import socket

CONNECTIONS_MAX = 64
CONNECT_TIMEOUT_S = 5.0
_CHUNK_BYTES = 64 * 1024


class ApiRelay:
    """The server behind one sandbox's `api.sock`. It reads nothing of what it carries."""

    def __init__(self, gateway_address: tuple[str, int]) -> None:
        self._gateway_address = gateway_address
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, listener: socket.socket) -> None:
        """Begin to serve on a listening socket."""
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_CHUNK_BYTES)

    async def close(self) -> None:
        """End every connection. Idempotent."""
        if self._server is not None:
            self._server.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except (OSError, TimeoutError):
            pass  # the caller sees its connection end, as with any server that cannot be reached
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            there, back = await asyncio.open_connection(*self._gateway_address, limit=_CHUNK_BYTES)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, back))
                group.create_task(_copy(there, writer))
        except* OSError as errors:
            raise OSError(str(errors)) from errors
        finally:
            back.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction to its end; a side that does not read stops the other."""
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
