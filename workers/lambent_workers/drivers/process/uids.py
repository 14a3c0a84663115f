"""Users of the machine for environments: each has one of its own while it lives, over all platforms of the machine."""

from __future__ import annotations

import fcntl
import os
from collections import deque
from pathlib import Path
from typing import Final

from lambent_platform.contracts.errors import SandboxError

RANGES: Final = ((1_900_000_000, 256), (61_000, 4))
"""First numbers and how many blocks follow: the first range is far from what systems and people use; the second is
for machines, such as some containers, that know 65,536 users only."""
BLOCK: Final = 1024
_LOCKS: Final = Path("/run/lambent")


class Uids:
    """A block of user numbers that no other process of this machine uses, held by a lock."""

    def __init__(self, first: int, lock_fd: int) -> None:
        self._free = deque(range(first, first + BLOCK))
        self._lock_fd = lock_fd

    @classmethod
    def take(cls, base: int | None = None) -> Uids:
        """Take a block.

        Raises:
            SandboxError: none is free, or this machine does not know such numbers.
        """
        uid_map = Path("/proc/self/uid_map").read_text()
        ranges = [(base, RANGES[0][1])] if base is not None else list(RANGES)
        usable = [(first, blocks) for first, blocks in ranges if _is_mapped(uid_map, first, BLOCK * blocks)]
        if not usable:
            raise SandboxError(f"this machine has no users numbered from {ranges[0][0]}")
        _LOCKS.mkdir(mode=0o700, exist_ok=True)
        start, blocks = usable[0]
        for first in range(start, start + BLOCK * blocks, BLOCK):
            fd = os.open(_LOCKS / f"uids-{first}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            return cls(first, fd)
        raise SandboxError(f"all user numbers from {start} are in use by other platforms on this machine")

    def lease(self) -> int:
        """Take the number that was given back longest ago.

        Raises:
            SandboxError: none is left.
        """
        if not self._free:
            raise SandboxError("no user number is left for one more environment")
        return self._free.popleft()

    def give_back(self, uid: int) -> None:
        """Give a number back, once nothing runs under it."""
        self._free.append(uid)

    def close(self) -> None:
        """Let others have the block."""
        os.close(self._lock_fd)


def _is_mapped(uid_map: str, first: int, count: int) -> bool:
    """Whether a range of numbers exists in this user namespace."""
    for line in uid_map.splitlines():
        start, _, length = map(int, line.split())
        if start <= first and first + count <= start + length:
            return True
    return False
