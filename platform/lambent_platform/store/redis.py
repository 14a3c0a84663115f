"""The connection to Redis or Valkey, and the scripts that run there.

Every exception of the client library becomes `StoreUnavailable` here and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import redis.asyncio
import redis.exceptions

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.keys import Keys

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
    except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Redis: {error or type(error).__name__}") from error


class RedisStore:
    """One role's connection to Redis: a pool, the scripts, and the names of the keys."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self.client: Any = client
        """Typed as Any: the library's own annotations mix its blocking and asynchronous results."""
        self.keys = keys
        prelude = (_LUA / "prelude.lua").read_text()
        self._sources = {path.stem: prelude + path.read_text() for path in sorted(_LUA.glob("*.lua"))}
        self._shas: dict[str, str] = {}

    async def run(self, script: str, prefix: str, args: Sequence[Any]) -> Any:
        """Run one of `lua/*.lua` on a partition, loading it first where the server does not have it.

        Raises:
            StoreUnavailable: Redis is away, or the script failed.
        """
        with translated():
            sha = self._shas.get(script)
            if sha is None:
                sha = self._shas[script] = await self.client.script_load(self._sources[script])
            try:
                return await self.client.evalsha(sha, 1, prefix, *args)
            except redis.exceptions.NoScriptError:
                self._shas[script] = await self.client.script_load(self._sources[script])
                return await self.client.evalsha(sha, 1, prefix, *args)

    async def run_durably(self, script: str, prefix: str, args: Sequence[Any]) -> Any:
        """Run a script and wait until what it wrote is on the server's disk (WAITAOF, on the same connection).

        Raises:
            StoreUnavailable: as `run`; or the disk did not confirm in time, or the server keeps no AOF.
        """
        with translated():
            sha = self._shas.get(script)
            if sha is None:
                sha = self._shas[script] = await self.client.script_load(self._sources[script])
            for attempt in (1, 2):
                pipe = self.client.pipeline(transaction=False)
                pipe.evalsha(sha, 1, prefix, *args)
                pipe.execute_command("WAITAOF", 1, 0, DISK_TIMEOUT_MS)
                result, written = await pipe.execute(raise_on_error=False)
                if isinstance(result, redis.exceptions.NoScriptError) and attempt == 1:
                    sha = self._shas[script] = await self.client.script_load(self._sources[script])
                    continue
                break
            for answer in (result, written):
                if isinstance(answer, Exception):
                    raise answer
        if int(written[0]) < 1:
            raise StoreUnavailable("Redis: the disk did not confirm the write in time")
        return result

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


@asynccontextmanager
async def open_redis(url: str, *, partitions: int = 1) -> AsyncIterator[RedisStore]:
    """Connect to `url` (`redis://…`, `unix:///path`); the connection ends with the block."""
    client = redis.asyncio.Redis.from_url(
        url,
        socket_timeout=COMMAND_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        max_connections=CONNECTIONS_MAX,
        health_check_interval=0,
    )
    try:
        yield RedisStore(client, Keys(partitions))
    finally:
        await client.aclose()
