"""Where the requests of APIs come in, and which API they are for.

    http://<api id>.execute-api.<region>.<any host>/<stage>/…    by the Host header
    /_api/<api id>/<stage>/…                                     for clients without wildcard names

The stage `$default` has no segment of its own. The prefix of the second form is not in the event's path. Below a
stage of a WebSocket API, `/@connections/<connection id>` is the management API, for an SDK's `endpoint_url`.
"""

from __future__ import annotations

import uuid
from typing import Final

from aiohttp import web

from lambent_platform.contracts.apis import HTTP
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.core.http_event import HttpReply
from lambent_platform.gateway.apis.connection_operations import SERVICE, ConnectionOperations
from lambent_platform.gateway.apis.http_apis import NOT_FOUND, UNAVAILABLE, HttpApis, refusal
from lambent_platform.gateway.apis.sites import Sites
from lambent_platform.gateway.apis.socket_apis import SocketApis
from lambent_platform.gateway.app import Route, below, split_path
from lambent_platform.gateway.aws.api import Api
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.hosts import API, API_PATH, site_id
from lambent_platform.gateway.http_functions import RETRY_AFTER_S, to_response

PATH: Final = API_PATH
_CONNECTIONS: Final = "/@connections/"


class Entrance:
    """Finds the API of a request, and hands it to what serves its kind."""

    def __init__(
        self,
        sites: Sites,
        http: HttpApis,
        sockets: SocketApis,
        connections: ConnectionOperations,
        catalog: ServiceCatalog,
    ) -> None:
        """Take what answers each kind, and the operations for what is asked below a WebSocket API's stage."""
        self._sites = sites
        self._http = http
        self._sockets = sockets
        # These alone: whatever a request to somebody's site names, no other operation is behind it.
        registry = Registry()
        registry.serve(SERVICE, connections)
        self._operations = Api(registry, catalog)

    def host_route(self) -> Route:
        """Return the route by Host header; it goes before all others."""
        return Route(lambda request: bool(site_id(request.headers.get("Host", ""), API)), self._by_host)

    def path_route(self) -> Route:
        """Return the route of `/_api/`."""
        return Route(below(PATH), self._by_path)

    async def _by_host(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, site_id(request.headers.get("Host", ""), API), split_path(request)[0])

    async def _by_path(self, request: web.Request) -> web.StreamResponse:
        api_id, slash, rest = split_path(request)[0].removeprefix(f"{PATH}/").partition("/")
        return await self._serve(request, api_id, f"{slash}{rest}" or "/")

    async def _serve(self, request: web.Request, api_id: str, path: str) -> web.StreamResponse:
        try:
            site = await self._sites.find(api_id)
        except StoreUnavailable:
            return _closed(request, refusal(503, UNAVAILABLE, ("Retry-After", str(RETRY_AFTER_S))))
        if site is None:
            return _closed(request, refusal(404, NOT_FOUND))
        if site.protocol == HTTP:
            return await self._http.serve(request, site, path)
        _, marked, connection = path.replace("%40", "@").partition(_CONNECTIONS)
        if not marked:
            return await self._sockets.serve(request, site, path)
        call = self._operations.open_call(
            request, f"{_CONNECTIONS}{connection}", split_path(request)[1], str(uuid.uuid4())
        )
        return await self._operations.handle(call)


def _closed(request: web.Request, reply: HttpReply) -> web.Response:
    response = to_response(reply)
    if not request.content.is_eof():
        response.force_close()
    return response
