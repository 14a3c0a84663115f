"""Frames: what the worker and our own bootstraps say to each other on a sandbox's channel.

    frame   := length (u32, big endian, of type and body) · type (u8) · body
    CLAIM   → JSON {env, handler, task_root}: become this function's environment; sent once. A null `env` means that
              the process has its variables already, and those of a wrapper script with them
    INVOKE  → u32 length of header · header JSON {id, deadline_ms, arn, trace_id, client_context} · event bytes
    READY   ← empty: the handler is loaded
    FAILED  ← JSON {errorMessage, errorType, stackTrace}: init failed; the process ends after it
    RESULT  ← 36 bytes of request id · response bytes
    ERROR   ← 36 bytes of request id · JSON {errorMessage, errorType, stackTrace}
    FATAL   ← like ERROR, and the process ends after it: nothing more may be sent to it
    STREAM  ← 36 bytes of request id · content type: the response comes in parts, instead of RESULT
    PART    ← 36 bytes of request id · bytes, at most `PART_BYTES_MAX` of them
    END     ← 36 bytes of request id: the stream is whole; ERROR or FATAL instead end it with an error

A frame is at most `FRAME_BYTES_MAX` long; a peer that says otherwise is ended. While a stream's caller does not take
what was sent, the worker does not read the channel: a bootstrap's writes then wait, and its handler with them.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES

FRAME_BYTES_MAX = 4 * SYNC_PAYLOAD_BYTES
"""Room for a response over the limit, so that the worker can say `Function.ResponseSizeTooLarge` of it."""
REQUEST_ID_BYTES = 36
PART_BYTES_MAX = 262_144
_HEAD = struct.Struct(">IB")


class FrameType(IntEnum):
    """The type byte."""

    CLAIM = 1
    INVOKE = 2
    READY = 16
    FAILED = 17
    RESULT = 18
    ERROR = 19
    FATAL = 20
    STREAM = 21
    PART = 22
    END = 23


_PART = int(FrameType.PART)


def encode(kind: FrameType, *parts: bytes) -> bytes:
    """One frame of the parts joined."""
    return _HEAD.pack(1 + sum(map(len, parts)), kind) + b"".join(parts)


def invoke(header: bytes, event: bytes) -> bytes:
    """Encode an INVOKE frame."""
    return encode(FrameType.INVOKE, struct.pack(">I", len(header)), header, event)


class FrameError(ValueError):
    """The peer does not speak frames."""


class FrameReader:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frames that these bytes complete, as (type, body).

        Raises:
            FrameError: a frame would be longer than `FRAME_BYTES_MAX`.
        """
        buffer = self._buffer
        buffer += data
        frames = []
        at = 0
        while len(buffer) - at >= _HEAD.size:
            length, kind = _HEAD.unpack_from(buffer, at)
            if not 1 <= length <= (FRAME_BYTES_MAX if kind != _PART else PART_BYTES_MAX + 1 + REQUEST_ID_BYTES):
                raise FrameError(f"a frame of {length} bytes")
            end = at + 4 + length
            if len(buffer) < end:
                break
            frames.append((kind, bytes(buffer[at + _HEAD.size : end])))
            at = end
        if at:
            del buffer[:at]
        return frames
