"""Unpacked code packages on this machine, shared by all environments of the same package.

A package is unpacked once into `<folder>/<sha256>/`, appears whole, and is never written again; environments get hard
links of its files in a folder of their own. The least recently used are dropped when all together are over a limit.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from lambent_platform.contracts.errors import InvalidParameterValue, SandboxError
from lambent_platform.core.keepalive import least_recently_used
from lambent_platform.store.packages import extract

_PART: Final = ".part-"


class PackageSource(Protocol):
    """The part of `store.objects.ObjectStore` that the cache uses."""

    async def get(self, key: str) -> bytes | None:
        """Read an object; None where there is none."""


class CodeCache:
    """The cache; one for a worker."""

    def __init__(self, objects: PackageSource, folder: Path, *, limit_bytes: int = 8 * 1024**3) -> None:
        self._objects = objects
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._locks: dict[str, asyncio.Lock] = {}
        self._sizes: dict[str, int] = {}
        self._used_at: dict[str, float] = {}
        self._in_use: Counter[str] = Counter()

    async def open(self) -> None:
        """Take stock of what an earlier run left; drop what it left half done."""
        self._sizes = await asyncio.to_thread(_take_stock, self._folder)

    @asynccontextmanager
    async def package(self, key: str) -> AsyncIterator[Path]:
        """Hold a package unpacked; it is not dropped meanwhile.

        Raises:
            StoreUnavailable: the object store cannot be reached.
            SandboxError: there is no such package, or it is broken.
        """
        name = key.rpartition("/")[2].removesuffix(".zip")
        self._in_use[name] += 1
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                if name not in self._sizes:
                    self._sizes[name] = await self._fetch(key, name)
                    await self._evict()
            self._used_at[name] = time.monotonic()
            yield self._folder / name
        finally:
            self._in_use[name] -= 1
            if not self._in_use[name]:
                del self._in_use[name]
                self._locks.pop(name, None)

    async def _fetch(self, key: str, name: str) -> int:
        data = await self._objects.get(key)
        if data is None:
            raise SandboxError(f"the code package {key} is missing")
        try:
            return await asyncio.to_thread(_unpack, data, self._folder, name)
        except (InvalidParameterValue, OSError) as error:
            raise SandboxError(f"the code package {key} cannot be unpacked: {error}") from error

    async def _evict(self) -> None:
        for name in least_recently_used(self._sizes, self._used_at, self._in_use, self._limit_bytes):
            # Not counted any more before it is gone, so that nobody takes it half removed.
            del self._sizes[name]
            self._used_at.pop(name, None)
            await asyncio.to_thread(_remove, self._folder / name)


def _take_stock(folder: Path) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for entry in folder.iterdir():
        if entry.name.startswith(_PART):
            _remove(entry)
        elif entry.is_dir():
            sizes[entry.name] = _tree_bytes(entry)
    return sizes


def _unpack(data: bytes, folder: Path, name: str) -> int:
    part = Path(tempfile.mkdtemp(prefix=_PART, dir=folder))
    try:
        extract(data, part / "code")
        size = _tree_bytes(part / "code")
        _remove(folder / name)
        (part / "code").rename(folder / name)
        return size
    finally:
        _remove(part)


def _tree_bytes(root: Path) -> int:
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(root) for name in names)


def _remove(path: Path) -> None:
    """Move a folder out of sight at once, then delete it."""
    if not path.exists():
        return
    if not path.name.startswith(_PART):
        hidden = Path(tempfile.mkdtemp(prefix=_PART, dir=path.parent))
        path = path.rename(hidden / path.name).parent
    shutil.rmtree(path, ignore_errors=True)


def link_tree(source: Path, target: Path) -> None:
    """Fill an empty folder with hard links of another's files; copies where links cannot be made.

    Raises:
        OSError: the folder cannot be written.
    """
    for entry in os.scandir(source):
        to = target / entry.name
        if entry.is_symlink():
            to.symlink_to(os.readlink(entry.path))
        elif entry.is_dir():
            to.mkdir()
            link_tree(Path(entry.path), to)
            to.chmod(0o755)
        else:
            try:
                os.link(entry.path, to)
            except OSError:  # another file system, or one without links
                shutil.copy2(entry.path, to)
