"""Objects: code packages and chunks of log, in a folder of the machine or in an S3-compatible store.

Keys are paths without a slash at their start (`code/<sha256 hex>.zip`). An object is whole or absent: a reader never
sees half of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import obstore
import obstore.exceptions
import obstore.store

from lambent_platform.contracts.errors import StoreUnavailable

CHUNK_BYTES: Final = 1024 * 1024
OPERATION_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store describes it."""

    key: str
    size_bytes: int
    modified_ms: int
    """When it was last put, by the clock of the store."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (obstore.exceptions.BaseError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"object store: {error or type(error).__name__}") from error


class ObjectStore:
    """A store of objects. Every method raises `StoreUnavailable` where the store cannot be reached or is full."""

    def __init__(self, store: Any, url: str) -> None:
        self._store = store
        self.url = url

    @classmethod
    def local(cls, folder: Path) -> Self:
        """Open a folder as a store, and make it where it is missing.

        Raises:
            StoreUnavailable: it cannot be made.
        """
        with _translated():
            folder.mkdir(parents=True, exist_ok=True)
            return cls(obstore.store.LocalStore(folder, automatic_cleanup=False), f"file://{folder}")

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Open a store by URL: `file:///path`, `s3://bucket/prefix` (credentials by AWS's own variables).

        Raises:
            StoreUnavailable: the URL names no store that can be opened.
        """
        if url.startswith("file://"):
            return cls.local(Path(url.removeprefix("file://")))
        with _translated():
            return cls(obstore.store.from_url(url), url)

    async def put(self, key: str, data: bytes | Path) -> None:
        """Store bytes or a file; an object of this name is replaced as a whole."""
        with _translated():
            async with asyncio.timeout(OPERATION_TIMEOUT_S):
                await obstore.put_async(self._store, key, data)

    async def get(self, key: str) -> bytes | None:
        """Read an object; None where there is none. For what fits in memory."""
        try:
            with _translated():
                async with asyncio.timeout(OPERATION_TIMEOUT_S):
                    result = await obstore.get_async(self._store, key)
                    return bytes(await result.bytes_async())
        except FileNotFoundError:
            return None

    async def size(self, key: str) -> int | None:
        """Return an object's bytes; None where there is none."""
        try:
            with _translated():
                async with asyncio.timeout(OPERATION_TIMEOUT_S):
                    return int((await obstore.head_async(self._store, key))["size"])
        except FileNotFoundError:
            return None

    async def exists(self, key: str) -> bool:
        """Whether there is an object of this name."""
        return await self.size(key) is not None

    async def stream(self, key: str, *, chunk_bytes: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        """Read an object piece by piece, each with a deadline of its own.

        Raises:
            FileNotFoundError: there is none.
        """
        with _translated():
            async with asyncio.timeout(OPERATION_TIMEOUT_S):
                chunks = aiter((await obstore.get_async(self._store, key)).stream(min_chunk_size=chunk_bytes))
        while True:
            with _translated():
                try:
                    async with asyncio.timeout(OPERATION_TIMEOUT_S):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield bytes(chunk)

    async def download(self, key: str, path: Path) -> bool:
        """Write an object to a file, which appears whole; False where there is no such object."""
        part = path.with_name(f"{path.name}.part")
        if not await self.exists(key):
            return False
        try:
            with part.open("wb") as file:
                async for chunk in self.stream(key):
                    await asyncio.to_thread(file.write, chunk)
            part.replace(path)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error}") from error
        finally:
            part.unlink(missing_ok=True)
        return True

    async def delete(self, key: str) -> None:
        """Delete an object; nothing happens where there is none."""
        try:
            with _translated():
                async with asyncio.timeout(OPERATION_TIMEOUT_S):
                    await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def head(self, key: str) -> StoredObject | None:
        """Look at an object; None where there is none."""
        try:
            with _translated():
                async with asyncio.timeout(OPERATION_TIMEOUT_S):
                    return _stored(await obstore.head_async(self._store, key))
        except FileNotFoundError:
            return None

    async def walk(self, prefix: str) -> AsyncIterator[StoredObject]:
        """List what lies below a prefix that ends with a slash, in no order, a thousand to a round trip."""
        batches = aiter(obstore.list(self._store, prefix))
        while True:
            with _translated():
                try:
                    async with asyncio.timeout(OPERATION_TIMEOUT_S):
                        batch = await anext(batches)
                except StopAsyncIteration:
                    return
            for entry in batch:
                yield _stored(entry)


def _stored(entry: Any) -> StoredObject:
    return StoredObject(entry["path"], int(entry["size"]), int(entry["last_modified"].timestamp() * 1000))
