"""Dead events, looked at and dealt with: the platform's own API below `/_lambent/dead`.

GET  /_lambent/dead                        functions that have dead events: {"functions": [{"name", "count"}]}
GET  /_lambent/dead/<function>             the oldest first, without payloads: {"events": […], "next": id or null};
                                           `?after=<id>` goes on behind one, `?limit=` is at most 100
GET  /_lambent/dead/<function>/<id>        one with its payload
POST /_lambent/dead/<function>/redrive     {"ids": […]} or {"all": true}: accepted again, as new events with fresh
                                           attempts, or delivered again where only that had failed;
                                           {"redriven": n, "failed": [{"id", "reason"}]}
POST /_lambent/dead/<function>/purge       {"ids": […]} or {"all": true}: removed for good; {"purged": n}
"""

from __future__ import annotations

import base64
import random
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiohttp import web

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import ApiError, RequestTooLarge, ResourceNotFound, ValidationFailed
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core import lineage
from lambent_platform.core.dead_events import reason
from lambent_platform.core.resolution import event_meta, not_found, resolve
from lambent_platform.gateway.app import Route, split_path
from lambent_platform.gateway.aws.body import read_body
from lambent_platform.gateway.aws.detection import read_scope
from lambent_platform.store.dead_events import DeadEvent, DeadEventStore, Redrive
from lambent_platform.store.functions import FunctionStore

PAGE_MAX, PAGE = 100, 50
READ_AT_ONCE: Final = 10
"""Events in memory at a time, each with its payload."""
PREVIEW_CHARACTERS: Final = 200
BODY_BYTES_MAX: Final = 131_072
REDRIVE_TRIES: Final = 5
_PATH: Final = re.compile(
    r"^/_lambent/dead(?:/(?P<name>[A-Za-z0-9_-]{1,64})(?:/(?P<verb>redrive|purge|[0-9A-Za-z-]{1,64}))?)?$"
)


class DeadEvents:
    """Serves dead events of the functions of one account, in the region that a request is signed for."""

    def __init__(
        self,
        dead: DeadEventStore,
        functions: FunctionStore,
        clock: EventClock,
        *,
        account: str = DEFAULT_ACCOUNT,
        region: str = DEFAULT_REGION,
    ) -> None:
        self._dead = dead
        self._functions = functions
        self._clock = clock
        self._account = account
        self._region = region

    def route(self) -> Route:
        """Return the route to serve."""
        return Route(lambda request: _PATH.match(split_path(request)[0]) is not None, self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        match = _PATH.match(split_path(request)[0])
        name, verb = (match["name"], match["verb"]) if match else (None, None)
        wanted = "POST" if verb in ("redrive", "purge") else "GET"
        if request.method != wanted:
            raise web.HTTPMethodNotAllowed(request.method, (wanted,))
        region = read_scope(request.headers.get("Authorization", ""), split_path(request)[1]).region or self._region
        if name is None:
            return _json(await self._list_functions(region))
        ref = FunctionRef(name, None, self._account, region)
        if verb == "redrive":
            return _json(await self._redrive(ref, await self._chosen(request, ref)))
        if verb == "purge":
            chosen = await self._chosen(request, ref)
            return _json({"purged": await self._dead.remove(ref.ident, chosen) if chosen else 0})
        if verb is not None:
            return _json(await self._show(ref, verb))
        return _json(await self._list(request, ref))

    async def _list_functions(self, region: str) -> dict[str, Any]:
        prefix = f"{self._account}:{region}:"
        counts = await self._dead.functions()
        mine = {ident.removeprefix(prefix): count for ident, count in counts.items() if ident.startswith(prefix)}
        return {"functions": [{"name": name, "count": mine[name]} for name in sorted(mine)]}

    async def _list(self, request: web.Request, ref: FunctionRef) -> dict[str, Any]:
        limit = _limit(request.query.get("limit"))
        ids = await self._dead.ids(ref.ident)
        if not ids and await self._functions.load(ref.ident) is None:
            raise not_found(ref)
        after = request.query.get("after")
        start = ids.index(after) + 1 if after in ids else 0
        page = ids[start : start + limit]
        events = [_summary(dead) for some in _batches(page) for dead in await self._dead.load(ref.ident, some)]
        return {"events": events, "next": page[-1] if start + limit < len(ids) else None}

    async def _show(self, ref: FunctionRef, event_id: str) -> dict[str, Any]:
        dead = await self._find(ref, event_id)
        payload = dead.invocation.payload
        try:
            shown = {"payload": payload.decode()}
        except UnicodeDecodeError:
            shown = {"payload_base64": base64.b64encode(payload).decode()}
        return {**_summary(dead), "trace_id": dead.invocation.trace_id, **shown}

    async def _find(self, ref: FunctionRef, event_id: str) -> DeadEvent:
        if event_id in await self._dead.ids(ref.ident):
            for dead in await self._dead.load(ref.ident, [event_id]):
                return dead
        raise ResourceNotFound(f"{ref.name} has no dead event {event_id}.", Type="User")

    async def _chosen(self, request: web.Request, ref: FunctionRef) -> list[str]:
        """Return the ids that a body names: some, or all that are dead now."""
        body = await read_body(request, BODY_BYTES_MAX, RequestTooLarge("The request is too large.", Type="User"))
        try:
            given = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError:
            given = None
        if isinstance(given, dict):
            ids = given.get("ids")
            if given.get("all") is True and ids is None:
                return await self._dead.ids(ref.ident)
            if isinstance(ids, list) and ids and all(isinstance(one, str) for one in ids):
                return list(dict.fromkeys(ids))
        raise ValidationFailed('Give {"ids": […]} with at least one id, or {"all": true}.')

    async def _redrive(self, ref: FunctionRef, event_ids: Sequence[str]) -> dict[str, Any]:
        redriven = 0
        failed: list[dict[str, str]] = []
        known = set(await self._dead.ids(ref.ident))
        for event_id in event_ids:
            said = "gone" if event_id not in known else await self._redrive_one(ref, event_id)
            if said == "redriven":
                redriven += 1
            else:
                failed.append({"id": event_id, "reason": _FAILURES.get(said, said)})
        return {"redriven": redriven, "failed": failed}

    async def _redrive_one(self, ref: FunctionRef, event_id: str) -> str:
        """Redrive one event; returns what became of it, or why it stays dead."""
        said: Redrive = "gone"
        for _ in range(REDRIVE_TRIES):
            found = await self._dead.load(ref.ident, [event_id])
            if not found:
                return "gone"
            if found[0].undelivered:
                return await self._dead.redeliver(ref.ident, event_id, now_ms=self._clock.now_ms())
            try:
                said = await self._accept_again(ref, found[0])
            except ApiError as error:
                return f"{error.code}: {error.message}"
            if said != "stale":
                break
        return said

    async def _accept_again(self, ref: FunctionRef, dead: DeadEvent) -> Redrive:
        """Make a new event of a dead one, under the rules of today and with a chain of its own.

        Raises:
            ResourceNotFound, ResourceConflict: the function, or the version that was called, cannot be.
        """
        named = FunctionRef.parse(dead.invocation.qualified_arn) or ref
        record = await self._functions.load(ref.ident)
        version = resolve(record, named, roll=random.random())  # noqa: S311 - a weighted choice, not a secret
        assert record is not None  # resolve raises without one
        event_id = str(uuid.uuid4())
        invocation = replace(
            dead.invocation,
            id=event_id,
            target=version.target,
            trace_id=lineage.next_turn("", ref.ident, event_id).trace_id,
            placed_at_ms=time.time_ns() // 1_000_000,
        )
        meta = event_meta(record, version, named, now_ms=self._clock.now_ms())
        return await self._dead.redrive(ref.ident, dead.invocation.id, record.generation, invocation, meta)


_FAILURES: Final = {
    "gone": "It is not among the dead events.",
    "full": "The function's queue is full; try again later.",
    "stale": "The function is being changed; try again.",
}


def _summary(dead: DeadEvent) -> dict[str, Any]:
    payload = dead.invocation.payload
    return {
        "id": dead.invocation.id,
        "function_arn": dead.meta.function_arn,
        "kind": "delivery" if dead.undelivered else "event",
        "reason": reason(dead.ending, dead.refusals),
        "condition": dead.ending.condition,
        "error_type": dead.ending.error_type,
        "error_message": dead.ending.error_message,
        "refusals": dead.refusals,
        "attempts": dead.ending.attempts,
        "accepted_at": _moment(dead.meta.accepted_at_ms),
        "died_at": _moment(dead.died_at_ms),
        "payload_bytes": len(payload),
        "payload_preview": payload[: 4 * PREVIEW_CHARACTERS].decode(errors="replace")[:PREVIEW_CHARACTERS],
    }


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if text.isascii() and text.isdigit() and 1 <= int(text) <= PAGE_MAX:
        return int(text)
    raise ValidationFailed(f"limit must be a number from 1 to {PAGE_MAX}.")


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[at : at + READ_AT_ONCE] for at in range(0, len(ids), READ_AT_ONCE))


def _json(value: Any) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), content_type="application/json", headers={"Cache-Control": "no-store"}
    )
