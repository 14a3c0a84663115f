"""Paths as the engine sees them: a worker that runs in a container shares folders with it under other names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lambent_platform.contracts.errors import SandboxError
from lambent_workers.drivers.docker.engine import Engine

_OWN_FILES = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
_CONTAINER = re.compile(r"/containers/([0-9a-f]{64})/")


def own_container_id(mountinfo: str) -> str | None:
    """Find the container that a process runs in, by the files that Docker mounts into each; None on a host."""
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] in _OWN_FILES and (match := _CONTAINER.search(fields[3])):
            return match[1]
    return None


class EnginePaths:
    """Translates our paths to the engine's, by the mounts of the container that we run in, if any."""

    def __init__(self, mounts: Sequence[tuple[Path, Path]] | None) -> None:
        self._mounts = None if mounts is None else sorted(mounts, key=lambda pair: len(pair[0].parts), reverse=True)

    @classmethod
    async def find(cls, engine: Engine) -> EnginePaths:
        """Ask the engine about our own container; without one, or one of another engine, paths are the same."""
        container_id = own_container_id(_own_mounts())
        found = await engine.inspect(container_id) if container_id else None
        if found is None:
            return cls(None)
        return cls([(Path(mount["Destination"]), Path(mount["Source"])) for mount in found["Mounts"]])

    def of(self, path: Path) -> Path:
        """Translate one absolute path.

        Raises:
            SandboxError: it lies on nothing that the engine could mount elsewhere.
        """
        if self._mounts is None:
            return path
        for inside, outside in self._mounts:
            if path.is_relative_to(inside):
                return outside / path.relative_to(inside)
        raise SandboxError(f"{path} is not on a volume, so no other container can see it; put the data dir on one")


def _own_mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text()
    except FileNotFoundError:
        return ""
