"""Records of stacks over HTTP, for `lambent deploy`: a place to keep what a template's deployment has made.

    GET    /_lambent/stacks          {"Stacks": ["name", …]}
    GET    /_lambent/stacks/<name>   the record; its revision is the `ETag`
    PUT    /_lambent/stacks/<name>   writes it; `If-Match` is the revision that was read, `"0"` for a new one
    DELETE /_lambent/stacks/<name>   removes it, with `If-Match` as well

412 `PreconditionFailedException` where somebody else wrote it since. The platform does not look into a record.
"""

from __future__ import annotations

import re
from typing import Final

import orjson
from aiohttp import web

from lambent_platform.contracts.errors import (
    InvalidRequestContent,
    PreconditionFailed,
    RequestTooLarge,
    ResourceNotFound,
    TooManyRequests,
)
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION, MIB
from lambent_platform.gateway.app import Route, split_path
from lambent_platform.gateway.aws.body import read_body
from lambent_platform.gateway.aws.detection import read_scope
from lambent_platform.store.stacks import StackStore

RECORD_BYTES_MAX: Final = 2 * MIB
_LIST: Final = "/_lambent/stacks"
_PATH: Final = re.compile(r"/_lambent/stacks/(?P<name>[a-zA-Z][a-zA-Z0-9-]{0,127})")
_REVISION: Final = re.compile(r'(?:W/)?"(\d{1,18})"')


class StackPages:
    """Serves the records."""

    def __init__(self, stacks: StackStore, *, account: str = DEFAULT_ACCOUNT, region: str = DEFAULT_REGION) -> None:
        self._stacks = stacks
        self._account = account
        self._region = region

    def route(self) -> Route:
        """Return the route to serve."""
        return Route(lambda request: _is_ours(split_path(request)[0]), self.serve)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        region = read_scope(request.headers.get("Authorization", "")).region or self._region
        match = _PATH.fullmatch(split_path(request)[0])
        if match is None:
            if request.method != "GET":
                raise web.HTTPMethodNotAllowed(request.method, ("GET",))
            return _json(orjson.dumps({"Stacks": await self._stacks.names(self._account, region)}))
        name = match["name"]
        ident = f"{self._account}:{region}:{name}"
        if request.method == "GET":
            found = await self._stacks.load(ident)
            if found is None:
                raise ResourceNotFound(f"Stack not found: {name}", Type="User")
            return _json(found.body, revision=found.revision)
        if request.method not in ("PUT", "DELETE"):
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "PUT", "DELETE"))
        read = _REVISION.fullmatch(request.headers.get("If-Match", ""))
        if read is None:
            raise InvalidRequestContent("If-Match must be the revision that was read, in quotes", Type="User")
        body = await _body(request) if request.method == "PUT" else b""
        revision = await self._stacks.write(ident, body, revision=int(read[1]))
        if revision < 0:
            raise TooManyRequests("There are too many stacks", Type="User")
        if revision == 0:
            raise PreconditionFailed(f"The stack {name} was changed by somebody else in the meantime", Type="User")
        return _json(b"{}", revision=revision)


def _is_ours(path: str) -> bool:
    return path == _LIST or _PATH.fullmatch(path) is not None


async def _body(request: web.Request) -> bytes:
    """Read a record; it must be a JSON object of no more than `RECORD_BYTES_MAX`."""
    too_large = RequestTooLarge(f"A stack's record may have {RECORD_BYTES_MAX} bytes", Type="User")
    body = await read_body(request, RECORD_BYTES_MAX, too_large)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestContent(f"Could not parse request body into json: {error}", Type="User") from error
    if not isinstance(value, dict):
        raise InvalidRequestContent("A stack's record is a JSON object", Type="User")
    return body


def _json(body: bytes, *, revision: int | None = None) -> web.Response:
    headers = {"Cache-Control": "no-store"} | ({} if revision is None else {"ETag": f'"{revision}"'})
    return web.Response(body=body, content_type="application/json", headers=headers)
