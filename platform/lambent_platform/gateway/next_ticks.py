"""When schedules and rules are due next, which AWS's own APIs do not say. No part of an AWS API.

    GET /_lambent/schedules/<group>/<name>/next
    GET /_lambent/rules/<name>/next

answer `{"next_ms": [1764208800000, …]}`: up to five moments of event time, the first one as it is kept; none where it
is disabled or over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

import orjson
from aiohttp import web

from lambent_platform.contracts.errors import ResourceNotFound
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION
from lambent_platform.contracts.schedules import SourceRecord, rule_id, schedule_id
from lambent_platform.core.schedules.timelines import timeline_of
from lambent_platform.gateway.app import Route, split_path
from lambent_platform.gateway.aws.detection import read_scope
from lambent_platform.store.schedules import ScheduleStore

TICKS_SHOWN: Final = 5
_NAME: Final = r"[0-9a-zA-Z-_.]{1,64}"
_PATH: Final = re.compile(rf"/_lambent/(?:schedules/(?P<group>{_NAME})|rules)/(?P<name>{_NAME})/next")


class NextTicks:
    """Serves them for one account, in the region that a request is signed for."""

    def __init__(
        self, schedules: ScheduleStore, *, account: str = DEFAULT_ACCOUNT, region: str = DEFAULT_REGION
    ) -> None:
        self._schedules = schedules
        self._account = account
        self._region = region

    def route(self) -> Route:
        """Return the route to serve."""
        return Route(lambda request: _PATH.fullmatch(split_path(request)[0]) is not None, self.read)

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))
        path, query = split_path(request)
        match = _PATH.fullmatch(path)
        group, name = (match["group"], match["name"]) if match else (None, "")
        region = read_scope(request.headers.get("Authorization", ""), query).region or self._region
        source = rule_id(self._account, region, name)
        if group is not None:
            source = schedule_id(self._account, region, group, name)
        record = await self._schedules.load(source)
        if record is None:
            raise ResourceNotFound(f"{'Rule' if group is None else 'Schedule'} {name} does not exist.")
        body = orjson.dumps({"next_ms": next_ticks(record)})
        return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})


def next_ticks(record: SourceRecord, count: int = TICKS_SHOWN) -> list[int]:
    """Return the next ticks of a schedule or rule, the first one as it is kept."""
    line = timeline_of(record)
    if line is None or record.next_ms is None or not record.enabled:
        return []

    def following(tick_ms: int | None) -> Iterator[int]:
        while tick_ms is not None:
            yield tick_ms
            tick_ms = line.after(tick_ms)

    return list(islice(following(record.next_ms), count))
