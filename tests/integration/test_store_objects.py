"""The object store on a real folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.objects import ObjectStore


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    """A store in a new folder."""
    return ObjectStore.from_url(f"file://{tmp_path}/deep/objects")


async def test_put_get_delete(objects: ObjectStore) -> None:
    """An object is there from when it is put until it is deleted; what is absent is None, not an error."""
    assert await objects.get("code/a.zip") is None
    assert not await objects.exists("code/a.zip")
    await objects.put("code/a.zip", b"one")
    await objects.put("code/a.zip", b"two!")
    assert await objects.get("code/a.zip") == b"two!"
    assert await objects.size("code/a.zip") == 4
    await objects.delete("code/a.zip")
    await objects.delete("code/a.zip")
    assert not await objects.exists("code/a.zip")


async def test_big_objects_are_streamed(objects: ObjectStore, tmp_path: Path) -> None:
    """A file goes in and comes out piece by piece, unchanged; a download appears whole."""
    source = tmp_path / "big"
    source.write_bytes(bytes(range(256)) * 20_000)
    await objects.put("big", source)
    chunks = [chunk async for chunk in objects.stream("big", chunk_bytes=1_000_000)]
    assert len(chunks) > 1
    assert b"".join(chunks) == source.read_bytes()
    assert await objects.download("big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert not await objects.download("none", tmp_path / "none")
    assert sorted(os.listdir(tmp_path)) == ["big", "copy", "deep"]
    with pytest.raises(FileNotFoundError):
        _ = [chunk async for chunk in objects.stream("none")]


async def test_objects_are_listed(objects: ObjectStore, tmp_path: Path) -> None:
    """What lies below a prefix is listed with its size and when it was last put, as is one object alone."""
    began_ms = time.time() * 1000 - 1000
    for name in ("logs/a", "logs/b/c", "code/d"):
        await objects.put(name, b"xy")
    assert sorted([found.key async for found in objects.walk("logs/")]) == ["logs/a", "logs/b/c"]
    assert [found async for found in objects.walk("none/")] == []
    [code] = [found async for found in objects.walk("code/")]
    assert code == await objects.head("code/d")
    assert (code.key, code.size_bytes) == ("code/d", 2)
    assert began_ms <= code.modified_ms <= time.time() * 1000 + 1000
    assert await objects.head("code/none") is None


async def test_a_store_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    """Errors of the library and of the disk become StoreUnavailable."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable):
        ObjectStore.local(tmp_path / "file" / "below")
    with pytest.raises(StoreUnavailable):
        ObjectStore.from_url("nonsense://x")
    objects = ObjectStore.local(tmp_path / "objects")
    (tmp_path / "objects" / "code").write_text("in the way")
    with pytest.raises(StoreUnavailable):
        await objects.put("code/a.zip", b"x")
