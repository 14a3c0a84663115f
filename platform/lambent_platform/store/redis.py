"""The connection to Redis or Valkey, and the scripts that run there.

Every exception of the client library becomes `StoreUnavailable` here and nowhere else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import hiredis
import redis.asyncio
import redis.exceptions

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.cancellable import cancellable_pool
from lambent_platform.store.keys import Keys
from lambent_platform.store.wire import Wire

COMMAND_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
CONNECTIONS_MAX: Final = 64
DISK_TIMEOUT_MS: Final = 5_000
_LUA = Path(__file__).parent / "lua"


@contextmanager
def translated() -> Iterator[None]:
    """Turn the client's exceptions into `StoreUnavailable`."""
    try:
        yield
    except (redis.exceptions.RedisError, hiredis.ReplyError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Redis: {error or type(error).__name__}") from error


class RedisStore:
    """One role's connection to Redis: a pool, the scripts on connections of their own, and the names of the keys."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, url: str) -> None:
        self.client: Any = client
        """Typed as Any: the library's own annotations mix its blocking and asynchronous results."""
        self.keys = keys
        self._sources = _scripts(_LUA)
        self._shas = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in self._sources.items()}  # noqa: S324 - how Redis names scripts
        self._url = url
        self._hot = Wire(url, timeout_s=COMMAND_TIMEOUT_S)
        # Waiting for the disk holds up whatever else is on the same connection.
        self._durable = Wire(url, timeout_s=COMMAND_TIMEOUT_S)
        self._drains: dict[str, Wire] = {}
        self._loading = asyncio.Lock()

    async def run(self, script: str, prefix: str, args: Sequence[Any]) -> Any:
        """Run one of `lua/*.lua` on a partition (`queues/send` is one in a folder), loading it where it is unknown.

        Raises:
            StoreUnavailable: Redis is away, or the script failed.
        """
        sha = self._shas[script]
        try:
            return await self._hot.call("EVALSHA", sha, 1, prefix, *args)
        except hiredis.ReplyError as error:
            await self._load(script, error)
        with translated():
            return await self._hot.call("EVALSHA", sha, 1, prefix, *args)

    async def hot(self, *command: Any) -> Any:
        """Run one command on the connection of the scripts, which costs a fraction of what the client's does.

        Raises:
            StoreUnavailable: Redis is away, or refused the command.
        """
        with translated():
            return await self._hot.call(*command)

    async def _load(self, script: str, error: hiredis.ReplyError) -> None:
        """Give the server a script that it does not know.

        Raises:
            StoreUnavailable: its error was another one.
        """
        if not str(error).startswith("NOSCRIPT"):
            raise StoreUnavailable(f"Redis: {error}") from error
        # One after the other: a hundred calls that find a new script missing would take every connection of the pool.
        async with self._loading:
            with translated():
                await self.client.script_load(self._sources[script])

    async def run_durably(self, script: str, prefix: str, args: Sequence[Any]) -> Any:
        """Run a script and wait until what it wrote is on the server's disk (WAITAOF, on the same connection).

        Raises:
            StoreUnavailable: as `run`; or the disk did not confirm in time, or the server keeps no AOF.
        """
        result: Any = None
        written: Any = None
        for _ in range(2):
            ran = self._durable.call("EVALSHA", self._shas[script], 1, prefix, *args)
            waited = self._durable.call("WAITAOF", 1, 0, DISK_TIMEOUT_MS)
            result, written = await asyncio.gather(ran, waited, return_exceptions=True)
            if not isinstance(result, hiredis.ReplyError):
                break
            await self._load(script, result)
        with translated():
            for answer in (result, written):
                if isinstance(answer, BaseException):
                    raise answer
        if int(written[0]) < 1:
            raise StoreUnavailable("Redis: the disk did not confirm the write in time")
        return result

    async def drain(self, key: str, *, wait_s: float, count: int) -> list[bytes]:
        """Take up to `count` items off the front of a list, waiting up to `wait_s` for the first.

        Each list has a connection of its own, since waiting holds it up.
        """
        wire = self._drains.get(key)
        if wire is None:
            wire = self._drains[key] = Wire(self._url, timeout_s=COMMAND_TIMEOUT_S + wait_s)
        with translated():
            popped = await wire.call("BLMPOP", wait_s, 1, key, "LEFT", "COUNT", count)
        return popped[1] if popped else []

    def close(self) -> None:
        """End the connections of the scripts."""
        for wire in (self._hot, self._durable, *self._drains.values()):
            wire.close()

    async def now_ms(self) -> int:
        """Liveness time: the server's own clock, the same for every machine."""
        with translated():
            seconds, micros = await self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def ping(self) -> None:
        """Ask whether the server answers.

        Raises:
            StoreUnavailable: it does not.
        """
        with translated():
            await self.client.ping()


def _scripts(folder: Path) -> dict[str, str]:
    """Every script by its path without `.lua`, with the prelude of its own folder in front."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): (path.parent / "prelude.lua").read_text()
        + path.read_text()
        for path in sorted(folder.rglob("*.lua"))
    }


@asynccontextmanager
async def open_redis(url: str, *, partitions: int = 1) -> AsyncIterator[RedisStore]:
    """Connect to `url` (`redis://…`, `unix:///path`); the connection ends with the block."""
    pool = cancellable_pool(
        url,
        socket_timeout=COMMAND_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        max_connections=CONNECTIONS_MAX,
        health_check_interval=0,
    )
    client = redis.asyncio.Redis.from_pool(pool)
    store = RedisStore(client, Keys(partitions), url)
    try:
        yield store
    finally:
        store.close()
        await client.aclose()
