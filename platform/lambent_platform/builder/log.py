"""The log of one build: bounded, and readable in the object store while the build runs."""

from __future__ import annotations

import threading
from typing import Final

HEAD_BYTES_MAX: Final = 128 * 1024
TAIL_BYTES_MAX: Final = 384 * 1024
_DIAGNOSIS_BYTES: Final = 64 * 1024


class BuildLog:
    """Keeps the beginning and the end of what a build prints. Written by one thread, read by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._dirty = False

    def write(self, data: bytes) -> None:
        """Add output as it comes."""
        with self._lock:
            room = HEAD_BYTES_MAX - len(self._head)
            self._head += data[:room]
            self._tail += data[room:] if room < len(data) else b""
            over = len(self._tail) - TAIL_BYTES_MAX
            if over > 0:
                del self._tail[:over]
                self._dropped += over
            self._dirty = True

    def line(self, text: str) -> None:
        """Add a line of the builder's own."""
        self.write(f"{text}\n".encode())

    def text(self) -> bytes:
        """Everything that was kept, with a line for what was not."""
        with self._lock:
            gap = f"\n[{self._dropped} bytes left out]\n".encode() if self._dropped else b""
            return bytes(self._head) + gap + bytes(self._tail)

    def take_changed(self) -> bytes | None:
        """Everything that was kept, if something was added since this was last asked."""
        with self._lock:
            if not self._dirty:
                return None
            self._dirty = False
        return self.text()

    def tail(self) -> str:
        """The end, as text: enough to say what went wrong."""
        return self.text()[-_DIAGNOSIS_BYTES:].decode("utf-8", "replace")
