"""The object store on a real folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.objects import ObjectStore, StoredObject


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


async def test_lists_are_bounded(objects: ObjectStore) -> None:
    """Objects are listed below a prefix, no more than asked for."""
    for name in ("logs/a", "logs/b", "logs/c", "code/d"):
        await objects.put(name, b"xy")
    assert sorted(o.key for o in await objects.list("logs/", limit=10)) == ["logs/a", "logs/b", "logs/c"]
    assert len(await objects.list("logs/", limit=2)) == 2
    assert await objects.list("none/", limit=2) == []
    assert await objects.list("code/", limit=1) == [StoredObject("code/d", 2)]


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
