"""Records of stacks: what `lambent deploy` made of a template, kept where everybody who deploys finds it.

The platform does not look into them. Keys, in the partition of the stack's ident (`account:region:name`):

    stack:<ident> HASH body, revision · stacks ZSET of idents, all of score 0, in their order
"""

from __future__ import annotations

import itertools
from heapq import merge
from typing import Final, NamedTuple

from lambent_platform.store.redis import RedisStore, translated

STACKS_PER_PARTITION_MAX: Final = 2_000
"""CloudFormation's limit on the stacks of an account."""
_LISTED_MAX: Final = 2_000


class StoredStack(NamedTuple):
    """A record as it is kept; `revision` counts its writings from 1."""

    body: bytes
    revision: int


class StackStore:
    """Stacks by ident. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis

    async def load(self, ident: str) -> StoredStack | None:
        """Read one; None where there is none."""
        with translated():
            body, revision = await self._redis.client.hmget(
                f"{self._redis.keys.prefix(ident)}stack:{ident}", "body", "revision"
            )
        return None if body is None else StoredStack(body, int(revision))

    async def write(self, ident: str, body: bytes, *, revision: int) -> int:
        """Write one that follows `revision` (0: it is new); an empty body removes it.

        Returns the new revision; 0 where somebody wrote it since, -1 where there are too many.
        """
        args = [ident, revision, body, STACKS_PER_PARTITION_MAX]
        return int(await self._redis.run("stack_write", self._redis.keys.prefix(ident), args))

    async def names(self, account: str, region: str) -> list[str]:
        """Return the names of an account's stacks in a region, in their order."""
        low, high = f"[{account}:{region}:", f"({account}:{region};"
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._redis.keys.prefixes:
                pipe.zrange(f"{prefix}stacks", low, high, bylex=True, offset=0, num=_LISTED_MAX)
            pages = await pipe.execute()
        idents = itertools.islice(merge(*pages), _LISTED_MAX)
        return [ident.decode().rpartition(":")[2] for ident in idents]
