"""Files of the kernel's that are read again and again: opened once, since opening costs many times a reading."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 16 * 1024
"""More than any file of counters that a control group has."""


class KernelFiles:
    """Reads files whose content the kernel makes anew for every reading; keeps them open until `close`."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def read(self, path: Path) -> bytes:
        """Return what a file says now.

        Raises:
            OSError: it is not there, or what it belongs to is gone.
        """
        descriptor = self._descriptors.get(path)
        if descriptor is None:
            descriptor = self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(descriptor, _READ_BYTES, 0)

    def close(self) -> None:
        """Close all of them. Idempotent; a file that is read after this is opened again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def counter(text: bytes, name: bytes) -> int:
    """Find one number in a file of lines `name number`; 0 where it is not there."""
    line = name + b" "
    if text.startswith(line):
        at = len(line)
    elif (before := text.find(b"\n" + line)) >= 0:
        at = before + 1 + len(line)
    else:
        return 0
    end = text.find(b"\n", at)
    digits = text[at:] if end < 0 else text[at:end]
    return int(digits) if digits.isdigit() else 0
