"""Functions on Redis: one hash each, read in one go, written against the generation it was read at.

gen          generation; never used twice
reserved     reserved concurrency, absent without
live:<v>     revision of version v that calls run now; the scripts of the invocation path read it
v:<v>        version v, JSON            a:<alias>    alias, JSON
tags         JSON                       policies     statements by qualifier, JSON
url:<q>      URL configuration, JSON    eic:<q>      settings of asynchronous calls, JSON
next         number of the next version
recursion    `Allow` where the function may be part of a loop; absent else
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from heapq import merge
from itertools import islice
from typing import Any, Final

import orjson

from lambent_platform.contracts.errors import LambentError
from lambent_platform.contracts.function import Alias, FunctionRecord, FunctionVersion
from lambent_platform.contracts.limits import ACCOUNT_CONCURRENCY, UNRESERVED_CONCURRENCY_MIN
from lambent_platform.contracts.names import LATEST
from lambent_platform.core.functions import awaiting_preparation, code_bytes
from lambent_platform.core.lineage import ALLOW, TERMINATE
from lambent_platform.store.redis import RedisStore, translated

URL_ID: Final = "UrlId"
"""Member of a stored URL configuration that is its id; not part of Lambda's shape."""
_URL_ID_CHARACTERS: Final = string.ascii_lowercase + string.digits
_URL_ID_LENGTH: Final = 32
_BATCH: Final = 200


class ReservationExceeded(LambentError):
    """More concurrency would be reserved than the account can spare; nothing was written."""


def _encode(record: FunctionRecord) -> dict[str, bytes]:
    """Return a function's hash, without `gen` and `reserved`, which the script keeps itself."""
    fields: dict[str, bytes] = {"next": str(record.next_version).encode()}
    for number, version in record.versions.items():
        fields[f"v:{number}"] = orjson.dumps(version.to_dict())
        fields[f"live:{number}"] = version.serving.revision.encode()
    for name, alias in record.aliases.items():
        fields[f"a:{name}"] = orjson.dumps(asdict(alias))
    for qualifier, config in record.url_configs.items():
        fields[f"url:{qualifier}"] = orjson.dumps(config)
    for qualifier, config in record.event_invoke_configs.items():
        fields[f"eic:{qualifier}"] = orjson.dumps(config)
    if record.recursive_loop != TERMINATE:
        fields["recursion"] = record.recursive_loop.encode()
    if record.tags:
        fields["tags"] = orjson.dumps(record.tags)
    if record.policies:
        fields["policies"] = orjson.dumps(record.policies)
    return fields


def _decode(fields: Mapping[bytes, bytes]) -> FunctionRecord | None:
    if b"gen" not in fields:
        return None
    groups: dict[str, dict[str, bytes]] = {"v": {}, "a": {}, "url": {}, "eic": {}, "live": {}}
    plain: dict[str, bytes] = {}
    for raw, value in fields.items():
        group, colon, rest = raw.decode().partition(":")
        if colon and group in groups:
            groups[group][rest] = value
        else:
            plain[raw.decode()] = value
    return FunctionRecord(
        versions={k: FunctionVersion.from_dict(orjson.loads(v)) for k, v in groups["v"].items()},
        aliases={k: Alias(**orjson.loads(v)) for k, v in groups["a"].items()},
        tags=orjson.loads(plain.get("tags", b"{}")),
        policies=orjson.loads(plain.get("policies", b"{}")),
        url_configs={k: orjson.loads(v) for k, v in groups["url"].items()},
        event_invoke_configs={k: orjson.loads(v) for k, v in groups["eic"].items()},
        reserved_concurrency=int(plain["reserved"]) if "reserved" in plain else None,
        recursive_loop=ALLOW if plain.get("recursion") == ALLOW.encode() else TERMINATE,
        next_version=int(plain["next"]),
        generation=int(plain["gen"]),
    )


def _url_ids(record: FunctionRecord | None) -> dict[str, str]:
    configs = record.url_configs if record else {}
    return {str(config[URL_ID]): qualifier for qualifier, config in configs.items()}


def _usage_name(ident: str) -> str:
    return ident.rsplit(":", 1)[0]


class FunctionStore:
    """Functions, by `ident` (`account:region:name`). Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(
        self,
        redis: RedisStore,
        *,
        account_concurrency: int = ACCOUNT_CONCURRENCY,
        unreserved_min: int = UNRESERVED_CONCURRENCY_MIN,
    ) -> None:
        self._redis = redis
        self._keys = redis.keys
        self._client = redis.client
        self.account_concurrency = account_concurrency
        self.reservable = account_concurrency - unreserved_min

    async def load(self, ident: str) -> FunctionRecord | None:
        """Read a function; None where there is none."""
        with translated():
            return _decode(await self._client.hgetall(self._keys.function(ident)))

    async def load_many(self, idents: Sequence[str]) -> list[FunctionRecord]:
        """Read functions in batches, in the order given; those that are gone meanwhile are left out."""
        records: list[FunctionRecord] = []
        for at in range(0, len(idents), _BATCH):
            with translated():
                pipe = self._client.pipeline(transaction=False)
                for ident in idents[at : at + _BATCH]:
                    pipe.hgetall(self._keys.function(ident))
                found = await pipe.execute()
            records += [record for fields in found if (record := _decode(fields)) is not None]
        return records

    async def load_latest(self, idents: Sequence[str]) -> list[FunctionVersion]:
        """Read `$LATEST` of functions in batches, in the order given; those that are gone are left out."""
        versions: list[FunctionVersion] = []
        for at in range(0, len(idents), _BATCH):
            with translated():
                pipe = self._client.pipeline(transaction=False)
                for ident in idents[at : at + _BATCH]:
                    pipe.hget(self._keys.function(ident), f"v:{LATEST}")
                found = await pipe.execute()
            versions += [FunctionVersion.from_dict(orjson.loads(data)) for data in found if data is not None]
        return versions

    async def create(self, ident: str, record: FunctionRecord) -> bool:
        """Write a new function; False where the name is taken.

        Raises:
            ReservationExceeded: it would reserve too much concurrency.
        """
        return await self._write(ident, None, record)

    async def write(self, ident: str, before: FunctionRecord, after: FunctionRecord) -> bool:
        """Write what changed from `before`, as it was read, to `after`; False where it was changed or deleted since.

        Raises:
            ReservationExceeded: it would reserve too much concurrency.
        """
        return await self._write(ident, before, after)

    async def _write(self, ident: str, before: FunctionRecord | None, after: FunctionRecord) -> bool:
        old, new = _encode(before) if before else {}, _encode(after)
        changed = [(name, value) for name, value in new.items() if old.get(name) != value]
        gone = [name for name in old if name not in new]
        old_urls, new_urls = _url_ids(before), _url_ids(after)
        prefix = self._keys.prefix(ident)
        args: list[Any] = [
            ident,
            before.generation if before else 0,
            int(any(awaiting_preparation(after))),
            "" if after.reserved_concurrency is None else after.reserved_concurrency,
            self.reservable,
            await self._reserved_elsewhere(prefix),
            _usage_name(ident),
            code_bytes(after) - (code_bytes(before) if before else 0),
            *_counted(changed),
            *_counted([(name,) for name in gone]),
            *_counted([(i, q) for i, q in new_urls.items() if old_urls.get(i) != q]),
            *_counted([(i,) for i in old_urls if i not in new_urls]),
        ]
        said = int(await self._redis.run("function_write", prefix, args))
        if said < 0:
            raise ReservationExceeded(f"{ident}: more than {self.reservable} would be reserved")
        return said > 0

    async def delete(self, ident: str, before: FunctionRecord) -> bool:
        """Delete a function as it was read; False where it was changed or deleted since."""
        args = [ident, before.generation, _usage_name(ident), code_bytes(before), *_url_ids(before)]
        return bool(await self._redis.run("function_delete", self._keys.prefix(ident), args))

    async def page(self, account: str, region: str, *, after: str, limit: int) -> list[str]:
        """Return at most `limit` idents of an account and region in order, behind the name `after` ("" for none)."""
        start = f"({account}:{region}:{after}" if after else f"[{account}:{region}:"
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for prefix in self._keys.prefixes:
                pipe.zrange(f"{prefix}fns", start, f"({account}:{region};", bylex=True, offset=0, num=limit)
            pages = await pipe.execute()
        return [ident.decode() for ident in islice(merge(*pages), limit)]

    async def page_of_all(self, partition: str, *, after: str, limit: int) -> list[str]:
        """Return at most `limit` idents of one partition, of every account and region, behind the ident `after`."""
        low = f"({after}" if after else "-"
        with translated():
            found = await self._client.zrangebylex(f"{partition}fns", low, "+", 0, limit)
        return [ident.decode() for ident in found]

    async def preparing(self) -> list[str]:
        """Return the idents of functions with a version that awaits preparation."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for prefix in self._keys.prefixes:
                pipe.smembers(f"{prefix}preparing")
            found = await pipe.execute()
        return sorted(ident.decode() for members in found for ident in members)

    async def find_url(self, url_id: str) -> tuple[str, str] | None:
        """Return the ident and qualifier (`$LATEST` or an alias) that a function URL leads to."""
        with translated():
            found = await self._client.hget(f"{self._keys.prefix(url_id)}urls", url_id)
        if found is None:
            return None
        ident, _, qualifier = found.decode().rpartition("|")
        return ident, qualifier

    def new_url_id(self, ident: str) -> str:
        """Make a random URL id that belongs to the same partition as its function, so that one look finds it."""
        wanted = self._keys.prefix(ident)
        while True:
            url_id = "".join(secrets.choice(_URL_ID_CHARACTERS) for _ in range(_URL_ID_LENGTH))
            if self._keys.prefix(url_id) == wanted:
                return url_id

    async def usage(self, account: str, region: str) -> tuple[int, int]:
        """Return how many functions an account has in a region, and the bytes of their packages."""
        name = f"{account}:{region}"
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for prefix in self._keys.prefixes:
                pipe.zlexcount(f"{prefix}fns", f"[{name}:", f"({name};")
                pipe.hget(f"{prefix}usage", name)
            found = await pipe.execute()
        return sum(found[0::2]), sum(int(size or 0) for size in found[1::2])

    async def reserved(self) -> int:
        """Return the sum of all reserved concurrency."""
        return await self._reserved_on(self._keys.prefixes)

    async def _reserved_elsewhere(self, prefix: str) -> int:
        others = [other for other in self._keys.prefixes if other != prefix]
        return await self._reserved_on(others) if others else 0

    async def _reserved_on(self, prefixes: Iterable[str]) -> int:
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for prefix in prefixes:
                pipe.hget(f"{prefix}reserved", "*")
            return sum(int(value or 0) for value in await pipe.execute())


def _counted(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [len(rows), *(value for row in rows for value in row)]
