"""An environment's own sockets, in the folder that only its container sees."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from lambent_platform.contracts.errors import SandboxError

BACKLOG = 128
_ADDRESS_BYTES_MAX = 100
"""What every system has room for in a socket's address; a longer folder is reached by a short link, for a moment."""
_LISTENING_MODE = 0o666
"""The container's user is not ours; the folder's own mode keeps everyone else on the host out."""


def listen(folder: Path, name: str) -> socket.socket:
    """Listen on `folder/name`, however long the folder's path is.

    Raises:
        OSError: the folder is not there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(listener, folder, name)
        (folder / name).chmod(_LISTENING_MODE)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _bind(listener: socket.socket, folder: Path, name: str) -> None:
    if len(os.fsencode(folder / name)) <= _ADDRESS_BYTES_MAX:
        listener.bind(str(folder / name))
        return
    short = Path(tempfile.gettempdir()) / f"lambent-{secrets.token_hex(8)}"
    short.symlink_to(folder)
    try:
        listener.bind(str(short / name))
    finally:
        short.unlink()


class OncePath:
    """A socket that accepts exactly one peer; after it, or at the end, neither listener nor name is left."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        self._listener = listen(folder, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._listener.close()
        self._path.unlink(missing_ok=True)

    async def accept(self, timeout_s: float) -> socket.socket:
        """Wait for the peer; returns its non-blocking connection.

        Raises:
            SandboxError: nobody came in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        except TimeoutError as error:
            raise SandboxError(f"init did not connect to {self._path.name} within {timeout_s:g} s") from error
        finally:
            self.close()
        connection.setblocking(False)
        return connection
