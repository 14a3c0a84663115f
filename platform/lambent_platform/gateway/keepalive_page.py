"""How long a function is kept while it is idle, and how that does: `GET /_lambent/keepalive/<name>`.

    {"function", "policy", "from_s", "until_s", "linger_s", "observations", "warm", "cold", "hit_rate", "idle_s"}

`policy` is `history`, `default` (by history, of which there is too little yet) or `fixed`. An environment is kept from
`from_s` to `until_s` after the last call; where `from_s` is not 0 it goes `linger_s` after the call and one is brought
up again. `warm` and `cold` count the calls that came after a pause, by whether they found an environment; `hit_rate`
and `idle_s`, the time since the last call, are null where nothing is known. No part of an AWS API.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from aiohttp import web

from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.idle_history import Habits
from lambent_platform.core.keepalive import KeepAlive, window_of
from lambent_platform.core.resolution import not_found
from lambent_platform.gateway.app import Route, split_path
from lambent_platform.gateway.aws.detection import read_scope
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.habits import HabitStore
from lambent_platform.store.redis import RedisStore

_PATH: Final = re.compile(r"^/_lambent/keepalive/(?P<name>[A-Za-z0-9_-]{1,64})$")


class KeepAlivePage:
    """Serves it for the functions of one account, in the region that a request is signed for."""

    def __init__(
        self,
        redis: RedisStore,
        functions: FunctionStore,
        policy: KeepAlive,
        *,
        account: str = DEFAULT_ACCOUNT,
        region: str = DEFAULT_REGION,
    ) -> None:
        self._redis = redis
        self._habits = HabitStore(redis)
        self._functions = functions
        self._policy = policy
        self._account = account
        self._region = region

    def route(self) -> Route:
        """Return the route to serve."""
        return Route(lambda request: _PATH.match(split_path(request)[0]) is not None, self.read)

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; an unknown function is Lambda's `ResourceNotFoundException`."""
        path, query = split_path(request)
        match = _PATH.match(path)
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))
        region = read_scope(request.headers.get("Authorization", ""), query).region or self._region
        ref = FunctionRef(match["name"] if match else "", None, self._account, region)
        if await self._functions.load(ref.ident) is None:
            raise not_found(ref)
        [habits] = await self._habits.load([ref.ident])
        shown = described(self._policy, habits, now_ms=await self._redis.now_ms())
        return web.Response(body=orjson.dumps({"function": ref.name, **shown}), content_type="application/json")


def described(policy: KeepAlive, habits: Habits, *, now_ms: int) -> dict[str, Any]:
    """Say what is decided of a function, and from what."""
    window, returns = window_of(policy, habits), habits.warm + habits.cold
    unknown = habits.observations < policy.observations_min
    return {
        "policy": "fixed" if policy.keep_alive == "fixed" else "default" if unknown else "history",
        "from_s": round(window.from_s, 1),
        "until_s": round(max(window.until_s, window.linger_s), 1),
        "linger_s": round(window.first_end_s, 1) if window.from_s > 0 else 0.0,
        "observations": habits.observations,
        "warm": habits.warm,
        "cold": habits.cold,
        "hit_rate": round(habits.warm / returns, 4) if returns else None,
        "idle_s": max(0.0, round((now_ms - habits.last_ms) / 1000, 1)) if habits.last_ms else None,
    }
