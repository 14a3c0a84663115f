"""AWS's event stream encoding: what an operation answers that has more than one thing to say.

    message := length of all (u32) · length of headers (u32) · CRC-32 of those 8 bytes
               · headers · payload · CRC-32 of everything before it
    header  := length of name (u8) · name · 7 (a string) · length of value (u16) · value

Pure. Source: "Amazon Event Stream Specification" of Smithy, and botocore's decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
_PRELUDE: Final = struct.Struct(">II")
_CRC: Final = struct.Struct(">I")
_STRING: Final = 7


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Encode one message."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    size = _PRELUDE.size + 2 * _CRC.size + len(head) + len(payload)
    prelude = _PRELUDE.pack(size, len(head))
    data = b"".join((prelude, _CRC.pack(zlib.crc32(prelude)), head, payload))
    return data + _CRC.pack(zlib.crc32(data))


def event(name: str, payload: bytes, *, content_type: str) -> bytes:
    """Encode an event of the operation's output."""
    return message({":message-type": "event", ":event-type": name, ":content-type": content_type}, payload)


def error(code: str, text: str) -> bytes:
    """Encode an error that the service model does not know: it ends the stream."""
    return message({":message-type": "error", ":error-code": code, ":error-message": text}, b"")


def _header(name: str, value: str) -> bytes:
    key, data = name.encode(), value[:8_000].encode()
    return b"".join((bytes((len(key),)), key, struct.pack(">BH", _STRING, len(data)), data))
