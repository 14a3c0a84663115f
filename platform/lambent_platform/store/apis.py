"""APIs on Redis: one hash each, read in one go, written against the generation it was read at.

gen              generation; never used twice
owner            account:region
api              settings, JSON
route:<id>       route            rr:<route>/<id>   route response
int:<id>         integration      stage:<name>      stage
dep:<id>         deployment       snap:<id>         what was deployed
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from heapq import merge
from itertools import islice
from typing import Any, Final

import orjson

from lambent_platform.contracts.apis import ApiRecord
from lambent_platform.store.redis import RedisStore, translated

_ID_CHARACTERS: Final = string.ascii_lowercase + string.digits
_GROUPS: Final = {
    "route": "routes",
    "rr": "responses",
    "int": "integrations",
    "stage": "stages",
    "dep": "deployments",
    "snap": "snapshots",
}


def _encode(record: ApiRecord) -> dict[str, bytes]:
    fields = {"owner": f"{record.account}:{record.region}".encode(), "api": orjson.dumps(record.settings)}
    for group, attribute in _GROUPS.items():
        fields |= {f"{group}:{key}": orjson.dumps(item) for key, item in getattr(record, attribute).items()}
    return fields


def _decode(api_id: str, fields: Mapping[bytes, bytes]) -> ApiRecord | None:
    if b"gen" not in fields:
        return None
    groups: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
    for raw, value in fields.items():
        group, colon, key = raw.decode().partition(":")
        if colon and group in groups:
            groups[group][key] = orjson.loads(value)
    account, _, region = fields[b"owner"].decode().partition(":")
    return ApiRecord(
        id=api_id,
        account=account,
        region=region,
        settings=orjson.loads(fields[b"api"]),
        generation=int(fields[b"gen"]),
        **{attribute: groups[group] for group, attribute in _GROUPS.items()},
    )


class ApiStore:
    """APIs by id. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._keys = redis.keys

    async def load(self, api_id: str) -> ApiRecord | None:
        """Read an API; None where there is none."""
        with translated():
            return _decode(api_id, await self._redis.client.hgetall(self._keys.api(api_id)))

    async def generation(self, api_id: str) -> int:
        """Return the generation of an API, 0 where there is none: the cheap question whether it is as it was."""
        found = await self._redis.hot("HGET", self._keys.api(api_id), "gen")
        return int(found or 0)

    async def create(self, record: ApiRecord) -> bool:
        """Write a new API; False where its id is taken."""
        return await self._write(None, record)

    async def write(self, before: ApiRecord, after: ApiRecord) -> bool:
        """Write what changed from `before`, as it was read, to `after`; False where it was changed or deleted since."""
        return await self._write(before, after)

    async def _write(self, before: ApiRecord | None, after: ApiRecord) -> bool:
        old, new = _encode(before) if before else {}, _encode(after)
        changed = [(name, value) for name, value in new.items() if old.get(name) != value]
        gone = [name for name in old if name not in new]
        args: list[Any] = [after.id, after.ident, before.generation if before else 0, len(changed)]
        args += [part for pair in changed for part in pair]
        return bool(await self._redis.run("api_write", self._keys.prefix(after.id), [*args, *gone]))

    async def delete(self, before: ApiRecord) -> bool:
        """Delete an API as it was read; False where it was changed or deleted since."""
        args = [before.id, before.ident, before.generation]
        return bool(await self._redis.run("api_delete", self._keys.prefix(before.id), args))

    async def count(self, account: str, region: str) -> int:
        """Return how many APIs an account has in a region."""
        name = f"{account}:{region}"
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._keys.prefixes:
                pipe.zlexcount(f"{prefix}apis", f"[{name}:", f"({name};")
            return sum(await pipe.execute())

    async def page(self, account: str, region: str, *, after: str, limit: int) -> list[str]:
        """Return at most `limit` ids of APIs of an account and region in order, behind the id `after` ("" for none)."""
        start = f"({account}:{region}:{after}" if after else f"[{account}:{region}:"
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._keys.prefixes:
                pipe.zrange(f"{prefix}apis", start, f"({account}:{region};", bylex=True, offset=0, num=limit)
            pages = await pipe.execute()
        return [ident.decode().rpartition(":")[2] for ident in islice(merge(*pages), limit)]


def new_id(length: int) -> str:
    """Make a random id in the alphabet of the service's own."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(length))
