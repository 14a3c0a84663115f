"""The APIs that this gateway serves, compiled, and asked for their generation now and then.

A change made through this gateway is seen by its next request; one made through another within `CHECKED_S`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from lambent_platform.core.apis.routing import Site, compile_site
from lambent_platform.store.apis import ApiStore

CACHED_SITES_MAX: Final = 1_000
CHECKED_S: Final = 0.2
"""How long an answer that nothing has changed is good for."""


@dataclass(slots=True)
class _Cached:
    site: Site
    checked_until: float


class Sites:
    """APIs by id, as they are served."""

    def __init__(self, apis: ApiStore) -> None:
        self._apis = apis
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._changes = 0

    async def find(self, api_id: str) -> Site | None:
        """Return an API; None where there is none.

        Raises:
            StoreUnavailable: Redis is away.
        """
        cached = self._cache.get(api_id)
        if cached is not None:
            if cached.checked_until > time.monotonic():
                return cached.site
            if await self._apis.generation(api_id) == cached.site.generation:
                cached.checked_until = time.monotonic() + CHECKED_S
                return cached.site
        return await self._load(api_id)

    async def _load(self, api_id: str) -> Site | None:
        changes = self._changes
        record = await self._apis.load(api_id)
        if record is None:
            self._cache.pop(api_id, None)
            return None
        site = compile_site(record)
        # What was read while this gateway wrote may be from before the write.
        self._cache[api_id] = _Cached(site, time.monotonic() + CHECKED_S if changes == self._changes else 0.0)
        self._cache.move_to_end(api_id)
        if len(self._cache) > CACHED_SITES_MAX:
            self._cache.popitem(last=False)
        return site

    def forget(self, api_id: str) -> None:
        """Read an API again when it is next asked for."""
        self._changes += 1
        self._cache.pop(api_id, None)
