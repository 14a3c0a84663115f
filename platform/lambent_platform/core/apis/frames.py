"""How long the frames are that a client sends: a reading of their heads alone, wherever their bytes are cut.

Source: RFC 6455, section 5.2.
"""

from __future__ import annotations


class FrameLengths:
    """Follows the frames of one direction of one connection."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._skip = 0
        self.longest = 0
        """Payload bytes of the longest frame whose head was seen."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, as they came."""
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            length = _payload_length(self._head)
            if length is not None:
                self.longest = max(self.longest, length)
                self._skip = length
                self._head.clear()


def _payload_length(head: bytearray) -> int | None:
    """Return the length that a head says, once it is whole with its mask."""
    if len(head) < 2:
        return None
    short = head[1] & 0x7F
    extended = {126: 2, 127: 8}.get(short, 0)
    masked = 4 if head[1] & 0x80 else 0
    if len(head) < 2 + extended + masked:
        return None
    return int.from_bytes(head[2 : 2 + extended], "big") if extended else short
