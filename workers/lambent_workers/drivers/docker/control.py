"""The control connection: what the worker and init, process 1 of a container, say to each other.

Frames are cut as on the runtime's channel: length (u32, big endian, of type and body) · type (u8) · body.

    SPAWN   → u32 number of arguments · working folder, arguments, NAME=value pairs, each ended by a zero; once
    LIMIT   → u64 bytes of resident memory, apart from /tmp
    HELLO   ← u8: 1 where the read end of the output's pipe comes with it, 0 where output goes to output.sock
    EXITED  ← u8 kind (0 status, 1 signal) · u8 value · u8 out of memory
    MEMORY  ← u64 bytes of resident memory, apart from /tmp

Its end is the sandbox's end, whichever side it comes from.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum

from lambent_platform.contracts.errors import SandboxError
from lambent_workers.drivers.port import Exit
from lambent_workers.frames import FrameError, FrameReader

FRAME_BYTES_MAX = 256 * 1024
_HEAD = struct.Struct(">IB")
_READ_BYTES = 16 * 1024
_CLOSED = Exit(code=None, signal=signal.SIGKILL)


class ControlType(IntEnum):
    """The type byte."""

    SPAWN = 1
    LIMIT = 2
    HELLO = 16
    EXITED = 17
    MEMORY = 18


def encode_spawn(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> bytes:
    """Encode a SPAWN frame.

    Raises:
        SandboxError: there is nothing to run, a text holds a zero, or it is too long together.
    """
    texts = [cwd, *argv, *(f"{name}={value}" for name, value in env.items())]
    if not argv or any("\0" in text for text in texts):
        raise SandboxError("the runtime's command cannot be run: it is empty or has a zero byte in it")
    body = struct.pack(">I", len(argv)) + b"".join(os.fsencode(text) + b"\0" for text in texts)
    if len(body) >= FRAME_BYTES_MAX:
        raise SandboxError("the runtime's command and environment are too long")
    return _HEAD.pack(1 + len(body), ControlType.SPAWN) + body


def encode_limit(memory_bytes: int) -> bytes:
    """Encode a LIMIT frame."""
    return _HEAD.pack(9, ControlType.LIMIT) + struct.pack(">Q", memory_bytes)


class Control:
    """Our end of one control connection. `hello` and `exit` are answered at most once.

    `killed_for_memory` is asked when the connection ends without a word: init was killed, perhaps by the kernel.
    """

    def __init__(self, connection: socket.socket, killed_for_memory: Callable[[], bool] = lambda: False) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._reader = FrameReader()
        self._descriptors: list[int] = []
        self._killed_for_memory = killed_for_memory
        self.hello: asyncio.Future[int | None] = self._loop.create_future()
        """The read end of the output's pipe, or None where output comes by a socket."""
        self.exit: asyncio.Future[Exit] = self._loop.create_future()
        self.memory_bytes = 0
        self._peak_bytes = 0
        self._open = True
        connection.setblocking(False)
        self._loop.add_reader(connection.fileno(), self._read)

    @property
    def peer_pid(self) -> int:
        """Init's process id as this process sees it; 0 where it cannot be seen."""
        credentials = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    def send(self, frame: bytes) -> None:
        """Say something; the socket's buffer always has room for the little that is ever said.

        Raises:
            SandboxError: the sandbox is gone.
        """
        try:
            if not self._open or self._connection.send(frame) != len(frame):
                raise SandboxError("the sandbox is gone, or does not listen")
        except OSError as error:
            raise SandboxError(f"the sandbox is gone: {error}") from error

    def note_memory(self, used_bytes: int) -> None:
        """Take a sample into account."""
        self.memory_bytes = used_bytes
        self._peak_bytes = max(self._peak_bytes, used_bytes)

    def take_peak_bytes(self) -> int:
        """Return the highest sample since the last call, the latest one included."""
        peak, self._peak_bytes = max(self._peak_bytes, self.memory_bytes), 0
        return peak

    def close(self) -> None:
        """End the connection, and with it everything in the sandbox. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        if not self.exit.done():
            self.exit.set_result(_CLOSED)
        if not self.hello.done():
            self.hello.set_exception(SandboxError("init ended before it said a word"))
            self.hello.exception()  # whoever waited is told; nobody may be waiting

    def _read(self) -> None:
        try:
            data, ancillary, _, _ = self._connection.recvmsg(
                _READ_BYTES, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(payload) // 4
                self._descriptors += struct.unpack(f"{count}i", payload[: 4 * count])
        if not data:
            if not self.exit.done() and self._killed_for_memory():
                self.exit.set_result(Exit(code=None, signal=signal.SIGKILL, out_of_memory=True))
            self.close()
            return
        with contextlib.suppress(FrameError, struct.error, IndexError):
            for kind, body in self._reader.feed(data):
                self._take(kind, body)
            return
        self.close()

    def _take(self, kind: int, body: bytes) -> None:
        if kind == ControlType.MEMORY:
            self.note_memory(int(struct.unpack(">Q", body)[0]))
        elif kind == ControlType.HELLO and not self.hello.done():
            self.hello.set_result(self._descriptors.pop(0) if body[0] and self._descriptors else None)
        elif kind == ControlType.EXITED and not self.exit.done():
            value, out_of_memory = body[1], bool(body[2])
            killed = body[0] == 1
            self.exit.set_result(
                Exit(None if killed else value, value if killed else None, out_of_memory=out_of_memory)
            )
