"""The gateway's aiohttp application: the order in which requests are recognised, and the end of every error.

front     plain requests for what is hot (`gateway/front`), before aiohttp sees them
hosts     handlers that go by the Host header (function URLs), before anything else
Invoke    by its path, past all generic work
routes    handlers of the gateway's own paths (`/_lambent/`, `/fn/`, `/healthz`, `/metrics`)
the rest  the generic layer, from the service models
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import ClientPayloadError, web

from lambent_platform.contracts.limits import CREATE_REQUEST_BYTES, DEFAULT_ACCOUNT, DEFAULT_REGION
from lambent_platform.gateway.aws.api import Api, Call
from lambent_platform.gateway.aws.body import BODY_TIMEOUT_S
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.errors import refusal
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.front.front import KEEP_ALIVE_S, Front, HotRoute

HEADER_BYTES_MAX: Final = 16_384
READ_BUFFER_BYTES: Final = 262_144
LISTEN_BACKLOG: Final = 1024
LINGER_S: Final = 5.0
"""How long a refused body is read and dropped, so that a client that is still sending gets to see the refusal."""
STALL_S: Final = 120.0
"""How long a client may take nothing of what is sent to it: neither its buffers nor a slow link explain more."""
_GONE: Final = (ConnectionError, ClientPayloadError, asyncio.IncompleteReadError, web.RequestPayloadError)


class Matcher(Protocol):
    """Says whether a request is for a handler, from its head alone; quick, without I/O."""

    def __call__(self, request: web.Request, /) -> bool:
        """Whether it is."""


class Handler(Protocol):
    """Answers a request; may raise `ApiError` as any operation does."""

    async def __call__(self, request: web.Request, /) -> web.StreamResponse:
        """Answer one request, whose body is not read yet."""


@dataclass(frozen=True, slots=True)
class Route:
    """A handler and what it is for."""

    matches: Matcher
    handler: Handler


def below(prefix: str) -> Matcher:
    """Match a path and everything below it: `below("/fn")` takes `/fn` and `/fn/a`, not `/fnord`."""
    prefix = prefix.rstrip("/")

    def matches(request: web.Request) -> bool:
        return split_path(request)[0].startswith(f"{prefix}/") or split_path(request)[0] == prefix

    return matches


def exactly(path: str) -> Matcher:
    """Match one path, whatever its query."""

    def matches(request: web.Request) -> bool:
        return split_path(request)[0] == path

    return matches


def split_path(request: web.Request) -> tuple[str, str]:
    """Return the path, percent-encoded as it was sent, and the raw query."""
    target = request.raw_path
    if not target.startswith("/"):
        # A proxy's form, `http://host/path`, and the `*` of OPTIONS.
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def make_app(
    registry: Registry,
    *,
    catalog: ServiceCatalog | None = None,
    hosts: Sequence[Route] = (),
    routes: Sequence[Route] = (),
    account: str = DEFAULT_ACCOUNT,
    region: str = DEFAULT_REGION,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> web.Application:
    """Make the application. Routes are tried in their order, `hosts` before the APIs and `routes` after Invoke."""
    api = Api(registry, catalog or ServiceCatalog(), account=account, region=region, body_timeout_s=body_timeout_s)
    app = web.Application(client_max_size=CREATE_REQUEST_BYTES)
    app.router.add_route("*", "/{path:.*}", _Front(api, hosts, routes).handle)
    return app


@asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    *,
    sock: socket.socket | None = None,
    drain_s: float = 4.0,
    hot: Sequence[HotRoute] = (),
    stall_s: float = STALL_S,
) -> AsyncIterator[int]:
    """Serve an application; yields the bound port (`port` may be 0). At the end, running calls get `drain_s`.

    A connection whose client takes nothing of what is sent to it for `stall_s` is ended by the kernel.
    With `sock`, which listens already, host and port do not matter. `hot` are answered before the application.

    Raises:
        OSError: the address cannot be bound.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=drain_s,
        keepalive_timeout=KEEP_ALIVE_S,
        lingering_time=LINGER_S,
        # Bodies belong to functions as they were sent, and a bomb is never unpacked.
        auto_decompress=False,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        read_bufsize=READ_BUFFER_BYTES,
    )
    await runner.setup()
    try:
        general = runner.server
        assert general is not None  # it is there after the setup
        front = Front(hot, general)
        loop = asyncio.get_running_loop()
        address: dict[str, Any] = {"sock": sock} if sock is not None else {"host": host, "port": port}
        server = await loop.create_server(front, **address, backlog=LISTEN_BACKLOG)
        for listener in server.sockets:
            _end_stalled(listener.fileno(), stall_s)
        async with front.running(drain_s=drain_s):
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                server.close()
    finally:
        await runner.cleanup()


def _end_stalled(listener: int, stall_s: float) -> None:
    """Have the kernel end connections to a listening socket that take nothing for so long, where it can (Linux)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    with socket.socket(fileno=os.dup(listener)) as copy:
        if option is not None and copy.family in (socket.AF_INET, socket.AF_INET6):
            copy.setsockopt(socket.IPPROTO_TCP, option, round(stall_s * 1000))


class _Front:
    """The handler of every request."""

    def __init__(self, api: Api, hosts: Sequence[Route], routes: Sequence[Route]) -> None:
        self._api = api
        self._hosts = tuple(hosts)
        self._routes = tuple(routes)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever becomes of it."""
        path, query = split_path(request)
        call = self._api.open_call(request, path, query, str(uuid.uuid4()))
        try:
            return await self._route(request, call, path)
        except web.HTTPException:
            raise
        except Exception as error:
            if isinstance(error, _GONE) and _is_gone(request):
                # There is nobody to answer, and nothing to report.
                return _closing(web.Response(status=400))
            return self._refuse(call, error)

    async def _route(self, request: web.Request, call: Call, path: str) -> web.StreamResponse:
        for route in self._hosts:
            if route.matches(request):
                return await route.handler(request)
        if request.method == "POST":
            found = self._api.invoke_handler(path)
            if found is not None and found[0].raw is not None:
                return await found[0].raw(call.context, request, found[1])
        for route in self._routes:
            if route.matches(request):
                return await route.handler(request)
        return await self._api.handle(call)

    def _refuse(self, call: Call, error: Exception) -> web.Response:
        service = self._api.error_service(call)
        reply = refusal(
            error, service, request_id=call.context.request_id, operation=call.operation, protocol=call.protocol
        )
        response = web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
        # A body that was refused unread is not read to its end for the sake of the connection.
        return response if call.request.content.is_eof() or not call.request.can_read_body else _closing(response)


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response
