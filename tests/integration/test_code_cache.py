"""The code cache over a real object store and a real folder."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.store.objects import ObjectStore
from lambent_workers.code_cache import CodeCache, link_tree


class Counting:
    """An object store that counts what is read of it."""

    def __init__(self, folder: Path) -> None:
        self.store = ObjectStore.local(folder)
        self.reads = 0

    async def put(self, files: dict[str, str]) -> str:
        """Store a package; returns its key."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        key = f"code/{hashlib.sha256(buffer.getvalue()).hexdigest()}.zip"
        await self.store.put(key, buffer.getvalue())
        return key

    async def get(self, key: str) -> bytes | None:
        """Read, slowly enough to be asked twice meanwhile."""
        self.reads += 1
        await asyncio.sleep(0.05)
        return await self.store.get(key)


async def use(cache: CodeCache, key: str) -> set[str]:
    """The files of a package."""
    async with cache.package(key) as folder:
        return {str(path.relative_to(folder)) for path in folder.rglob("*")}


async def test_a_package_is_unpacked_once(tmp_path: Path) -> None:
    """However many ask at once, and after a restart, a package is fetched once."""
    source = Counting(tmp_path / "objects")
    key = await source.put({"a.py": "1", "d/b.py": "2"})
    cache = CodeCache(source, tmp_path / "cache")
    await cache.open()
    assert await asyncio.gather(*(use(cache, key) for _ in range(8))) == [{"a.py", "d", "d/b.py"}] * 8
    again = CodeCache(source, tmp_path / "cache")
    await again.open()
    assert await use(again, key) == {"a.py", "d", "d/b.py"}
    assert source.reads == 1


async def test_half_unpacked_packages_do_not_survive(tmp_path: Path) -> None:
    """What an earlier run left half done is removed at the start, and never taken for a package."""
    (tmp_path / ".part-x" / "code").mkdir(parents=True)
    cache = CodeCache(Counting(tmp_path / "objects"), tmp_path)
    await cache.open()
    assert not (tmp_path / ".part-x").exists()


async def test_the_size_is_bounded(tmp_path: Path) -> None:
    """The least recently used package goes first; one that is in use stays although the limit is passed."""
    source = Counting(tmp_path / "objects")
    keys = [await source.put({f"{n}.txt": str(n) * 1000}) for n in range(4)]
    cache = CodeCache(source, tmp_path / "cache", limit_bytes=2500)
    await cache.open()

    def cached() -> set[str]:
        return {path.stem for path in (tmp_path / "cache").glob("*/*.txt")}

    await use(cache, keys[0])
    await use(cache, keys[1])
    await use(cache, keys[0])
    await use(cache, keys[2])
    assert cached() == {"0", "2"}
    async with cache.package(keys[0]), cache.package(keys[2]), cache.package(keys[3]):
        assert cached() == {"0", "2", "3"}
    assert await use(cache, keys[1]) == {"1.txt"}
    assert len(cached()) == 2


async def test_bad_packages(tmp_path: Path) -> None:
    """A package that is missing, or broken in the store, is an error that leaves nothing behind."""
    source = Counting(tmp_path / "objects")
    await source.store.put("code/bad.zip", b"PK not a zip")
    cache = CodeCache(source, tmp_path / "cache")
    await cache.open()
    for key in ("code/none.zip", "code/bad.zip"):
        with pytest.raises(SandboxError, match="code package"):
            await use(cache, key)
    assert list((tmp_path / "cache").iterdir()) == []


def test_trees_are_linked(tmp_path: Path) -> None:
    """A tree of links has the same files as its source, and shares them."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d").mkdir(parents=True)
    (source / "a").write_text("1")
    (source / "d" / "link").symlink_to("../a")
    target.mkdir()
    link_tree(source, target)
    assert os.readlink(target / "d" / "link") == "../a"
    assert (target / "a").samefile(source / "a")
