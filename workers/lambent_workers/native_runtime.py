"""The connection to our own bootstraps: frames on a sandbox's channel.

Sockets are used directly instead of through a transport: a call is then one `send` and one `recv`, made in the tick
that needs them, and what a dying runtime wrote last can be read at once.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Final

import orjson

from lambent_workers.frames import REQUEST_ID_BYTES, FrameError, FrameReader, FrameType, encode, invoke
from lambent_workers.runtime_link import AnswerKind, Delivery, RuntimeEvents

_READ_BYTES: Final = 256 * 1024
CONTENT_TYPE_BYTES_MAX: Final = 256
_DRAIN_READS_MAX: Final = 128
_ANSWERS: Final[dict[int, AnswerKind]] = {
    FrameType.RESULT: AnswerKind.RESULT,
    FrameType.ERROR: AnswerKind.ERROR,
    FrameType.FATAL: AnswerKind.FATAL,
    FrameType.END: AnswerKind.STREAMED,
}


class NativeRuntime:
    """A `RuntimeLink` over a channel. The socket stays the sandbox's."""

    def __init__(self, channel: socket.socket, events: RuntimeEvents) -> None:
        self._socket = channel
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader()
        self._unsent = bytearray()
        self._open = True
        self._paused = False
        self.taken = False
        self._loop.add_reader(channel, self._read)

    def claim(self, *, env: Mapping[str, str] | None, handler: str, task_root: str) -> None:
        """Tell a waiting bootstrap which function it becomes; without `env` it keeps its own variables."""
        self._send(encode(FrameType.CLAIM, orjson.dumps({"env": env, "handler": handler, "task_root": task_root})))

    def deliver(self, delivery: Delivery) -> None:
        """Send an event."""
        header = orjson.dumps(
            {
                "id": delivery.request_id,
                "deadline_ms": delivery.deadline_ms,
                "arn": delivery.arn,
                "trace_id": delivery.trace_id,
                "client_context": delivery.client_context,
            }
        )
        self.taken = True
        self._send(invoke(header, delivery.payload))

    def drain(self) -> None:
        """Read what is there, up to a bound."""
        for _ in range(_DRAIN_READS_MAX):
            if not self._read():
                return

    def pause(self) -> None:
        """Leave what comes in the channel; the process's end is heard of otherwise."""
        if self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._socket)

    def resume(self) -> None:
        """Read again."""
        if self._open and self._paused:
            self._paused = False
            self._loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            if self._unsent:
                self._loop.remove_writer(self._socket)
                self._unsent.clear()

    def _send(self, data: bytes) -> None:
        if not self._open:
            return
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._lost()
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._socket, self._write)
        self._unsent += data

    def _write(self) -> None:
        try:
            with memoryview(self._unsent) as view:
                sent = self._socket.send(view[:_READ_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._socket)

    def _read(self) -> bool:
        """Read once and act on the frames; False where there was nothing to read."""
        if not self._open:
            return False
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._lost()
            return False
        try:
            for kind, body in self._frames.feed(data):
                self._act(kind, body)
        except (FrameError, ValueError, struct.error):
            self._lost()
            return False
        return True

    def _act(self, kind: int, body: bytes) -> None:
        if not self._open:
            return
        answer = _ANSWERS.get(kind)
        if answer is not None:
            request_id = body[:REQUEST_ID_BYTES].decode("ascii")
            self._events.on_answer(request_id, body[REQUEST_ID_BYTES:], answer)
        elif kind == FrameType.PART:
            self._events.on_part(body[:REQUEST_ID_BYTES].decode("ascii"), body[REQUEST_ID_BYTES:])
        elif kind == FrameType.STREAM:
            content_type = body[REQUEST_ID_BYTES : REQUEST_ID_BYTES + CONTENT_TYPE_BYTES_MAX].decode("latin-1")
            self._events.on_stream(body[:REQUEST_ID_BYTES].decode("ascii"), content_type)
        elif kind == FrameType.READY:
            self._events.on_ready()
        elif kind == FrameType.FAILED:
            self._events.on_init_failed(body)
        else:
            raise FrameError(f"a frame of type {kind}")

    def _lost(self) -> None:
        if self._open:
            self.close()
            self._events.on_lost()
