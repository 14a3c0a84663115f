"""Event source mappings on Redis: one hash each, all in the home partition, written against the generation read.

`mapping-index` orders what exists by owner, function and source, each entry ending in a UUID, so that lists come in
pages; `mappings` has the generation of each, so that the scheduler reads what changed since it last looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from lambent_platform.contracts.errors import LambentError
from lambent_platform.contracts.mappings import NO_RECORDS, MappingRecord
from lambent_platform.store.redis import RedisStore, translated

MAPPINGS_MAX: Final = 10_000
CHANGED_COUNT: Final = 500
"""Most mappings that are read in one go."""


class PairTaken(LambentError):
    """A source is mapped to the function already; nothing was written. `uuid` is the mapping that does it."""

    def __init__(self, uuid: str) -> None:
        super().__init__(uuid)
        self.uuid = uuid


class TooManyMappings(LambentError):
    """There are `MAPPINGS_MAX` already; nothing was written."""


class MappingStore:
    """Mappings, by UUID. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._client = redis.client
        self._home = redis.keys.home

    async def load(self, uuid: str) -> MappingRecord | None:
        """Read a mapping; None where there is none."""
        found = await self.load_many([uuid])
        return found[0] if found else None

    async def load_many(self, uuids: Sequence[str]) -> list[MappingRecord]:
        """Read mappings, in the order given; those that are gone are left out."""
        if not uuids:
            return []
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for uuid in uuids:
                pipe.hmget(f"{self._home}mapping:{uuid}", "gen", "record", "result")
            rows = await pipe.execute()
        return [
            MappingRecord.from_dict(
                orjson.loads(json), generation=int(gen), last_result=result.decode() if result else NO_RECORDS
            )
            for gen, json, result in rows
            if gen is not None
        ]

    async def write(self, record: MappingRecord) -> int:
        """Write a mapping as it was read and changed (generation 0: make it).

        Returns its new generation; 0 where it was changed, made or deleted since.

        Raises:
            PairTaken: another mapping has this source and function.
            TooManyMappings: there is no room for a new one.
        """
        args: list[Any] = [
            record.uuid,
            record.generation,
            orjson.dumps(record.to_dict()),
            _owner(record.account, record.region),
            record.function_arn,
            record.source_arn,
            MAPPINGS_MAX,
        ]
        said = await self._redis.run("mapping_write", self._home, args)
        if isinstance(said, bytes):
            raise PairTaken(said.decode())
        if said < 0:
            raise TooManyMappings(f"there are {MAPPINGS_MAX} mappings")
        return int(said)

    async def delete(self, record: MappingRecord) -> bool:
        """Drop a mapping as it was read; False where it was changed or deleted since."""
        args = [record.uuid, record.generation, _owner(record.account, record.region), record.source_arn]
        return bool(await self._redis.run("mapping_delete", self._home, args))

    async def note_results(self, results: Mapping[str, str]) -> None:
        """Note what the last batch of each mapping ended with, for those that exist."""
        await self._redis.run("mapping_results", self._home, [text for row in results.items() for text in row])

    async def page(
        self, account: str, region: str, *, function_arn: str = "", source_arn: str = "", after: str, limit: int
    ) -> list[str]:
        """Return at most `limit` UUIDs in order behind `after` ("" for none): of a function, of a source, or all.

        With both it is the one mapping that they have.
        """
        owner = _owner(account, region)
        if function_arn and source_arn:
            with translated():
                found = await self._client.hget(f"{self._home}mapping-pairs", f"{source_arn} {function_arn}")
            return [found.decode()] if found is not None and found.decode() > after else []
        if function_arn:
            start = f"function {function_arn} "
        else:
            start = f"source {owner} {source_arn} " if source_arn else f"owner {owner} "
        low, high = f"({start}{after}" if after else f"[{start}", f"({start}\x7f"
        with translated():
            found = await self._client.zrangebylex(f"{self._home}mapping-index", low, high, 0, limit)
        return [entry.decode().rpartition(" ")[2] for entry in found]

    async def changed(self, since: int) -> list[MappingRecord]:
        """Return mappings that were written after a generation, oldest first, at most `CHANGED_COUNT`."""
        with translated():
            uuids = await self._client.zrangebyscore(f"{self._home}mappings", f"({since}", "+inf", 0, CHANGED_COUNT)
        return await self.load_many([uuid.decode() for uuid in uuids])

    async def sleep(self, wait_s: float) -> bool:
        """Sleep until a mapping is written; False after `wait_s`."""
        with translated():
            return await self._client.blpop([f"{self._home}wake-mappings"], timeout=wait_s) is not None


def _owner(account: str, region: str) -> str:
    return f"{account}:{region}"
