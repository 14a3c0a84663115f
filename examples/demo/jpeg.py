"""Reading how large a JPEG is, without decoding it."""

from __future__ import annotations

_START = b"\xff\xd8"
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Start-of-frame markers (ITU-T T.81, table B.1): the segment after one holds precision, height and width."""


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels.

    Raises:
        ValueError: these bytes are no JPEG, or end before its frame header.
    """
    if not data.startswith(_START):
        raise ValueError(f"no JPEG: it begins with {data[:16]!r}")
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            raise ValueError(f"no marker at byte {at}")
        marker = data[at + 1]
        if marker in _FRAME_MARKERS:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("it ends before its frame header")
