"""Function URLs: HTTP in, an event of payload format 2.0, the function, HTTP out.

    http://<url id>.lambda-url.<region>.<any host>/…    by the Host header
    /fn/<name>/…   /fn/<name>:<alias>/…                 for clients without wildcard names; the prefix is not in rawPath

Both exist only where a URL was configured. Who may call is everybody (AuthType NONE): signatures are not verified.
Source: Lambda Developer Guide, "Invoking Lambda function URLs", for statuses.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import orjson
import structlog
from aiohttp import web

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import (
    ApiError,
    RequestTooLarge,
    ResourceConflict,
    ResourceNotFound,
    StoreUnavailable,
    TooManyRequests,
)
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION, SYNC_PAYLOAD_BYTES
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.cors import is_preflight, preflight_headers, with_cors
from lambent_platform.core.http_event import (
    Headers,
    HttpReply,
    InvalidReply,
    Place,
    make_event,
    read_collected,
    read_reply,
)
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.gateway.app import Route, below, split_path
from lambent_platform.gateway.aws.body import read_body
from lambent_platform.gateway.hosts import FUNCTION_URL, FUNCTION_URL_PATH, site_id
from lambent_platform.gateway.http_functions import RETRY_AFTER_S, Calls, described, to_response, trace_id_of
from lambent_platform.gateway.streamed_reply import FunctionFailed, send_streamed
from lambent_platform.store.functions import URL_ID, FunctionStore

PATH: Final = FUNCTION_URL_PATH
CACHED_URLS_MAX: Final = 10_000
CACHED_S: Final = 1.0
"""How long a changed or deleted configuration may go on being used."""
_BELOW: Final = re.compile(
    r"^/fn/(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<alias>\$LATEST|[A-Za-z0-9_-]{1,128}))?(?P<rest>/.*)?$"
)

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class _Url:
    """One URL: what it calls, and its configuration in Lambda's shape."""

    ref: FunctionRef
    config: Mapping[str, Any]


class FunctionUrls:
    """Serves the URLs of functions."""

    def __init__(
        self,
        functions: FunctionStore,
        calls: Calls,
        clock: EventClock,
        *,
        account: str = DEFAULT_ACCOUNT,
        region: str = DEFAULT_REGION,
    ) -> None:
        self._functions = functions
        self._calls = calls
        self._clock = clock
        self._account = account
        self._region = region
        self._cache: OrderedDict[str, tuple[float, _Url]] = OrderedDict()

    def host_route(self) -> Route:
        """Return the route by Host header; it goes before all others."""
        return Route(lambda request: bool(site_id(request.headers.get("Host", ""), FUNCTION_URL)), self._by_host)

    def path_route(self) -> Route:
        """Return the route of `/fn/`."""
        return Route(below(PATH), self._by_path)

    async def _by_host(self, request: web.Request) -> web.StreamResponse:
        url_id = site_id(request.headers.get("Host", ""), FUNCTION_URL)
        path = split_path(request)[0]
        return await self._answer(request, path, self._cached(url_id, lambda: self._find(url_id)))

    async def _by_path(self, request: web.Request) -> web.StreamResponse:
        path = split_path(request)[0]
        # The name may have its colon percent-encoded; what follows belongs to the function as it was sent.
        head, slash, rest = path.removeprefix(f"{PATH}/").partition("/")
        match = _BELOW.match(f"{PATH}/{unquote(head)}")
        if match is None:
            return _refusal(404, "Not Found")
        alias = None if match["alias"] in (None, LATEST) else match["alias"]
        ref = FunctionRef(match["name"], alias, self._account, self._region)
        found = self._cached(f"{ref.ident}:{alias or ''}", lambda: self._load(ref))
        return await self._answer(request, f"{slash}{rest}" or "/", found)

    async def _answer(self, request: web.Request, path: str, finding: Awaitable[_Url | None]) -> web.StreamResponse:
        """Answer a request, also where the platform or the function fails: never in the shape of an AWS API."""
        request_id = str(uuid.uuid4())
        try:
            url = await finding
            response = _refusal(404, "Not Found") if url is None else await self._serve(request, path, url, request_id)
        except RequestTooLarge:
            response = _refusal(413, "Request Entity Too Large")
        except TooManyRequests as error:
            response = _refusal(429, error.message, Reason=error.extra.get("Reason"), Type="User")
        except ResourceNotFound:
            response = _refusal(404, "Not Found")
        except ResourceConflict as error:
            response = _refusal(503, error.message)
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        except StoreUnavailable as error:
            log.warning("store_unavailable", request_id=request_id, reason=str(error))
            response = _refusal(503, "Service Unavailable")
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        except ApiError as error:
            response = _refusal(error.status if error.status in (408,) else 502, error.message)
        if not response.prepared:
            response.headers["x-amzn-RequestId"] = request_id
        if not request.content.is_eof():
            response.force_close()  # a body that was refused unread is not read for the sake of the connection
        return response

    async def _serve(self, request: web.Request, path: str, url: _Url, request_id: str) -> web.StreamResponse:
        cors, origin = url.config.get("Cors") or {}, request.headers.get("Origin", "")
        if cors and is_preflight(request.method, request.headers):
            return to_response(HttpReply(status=200, headers=preflight_headers(cors, request.headers), body=b""))
        body = await read_body(request, SYNC_PAYLOAD_BYTES, RequestTooLarge("Request Entity Too Large"))
        trace_id = trace_id_of(request)
        event = make_event(
            described(request, path, body),
            Place(api_id=str(url.config[URL_ID])),
            request_id=request_id,
            trace_id=trace_id,
            now_ms=self._clock.now_ms(),
        )
        payload = orjson.dumps(event)
        if len(payload) > SYNC_PAYLOAD_BYTES:
            raise RequestTooLarge("Request Entity Too Large")
        options = CallOptions(request_id=request_id, trace_id=trace_id)

        def decorated(headers: Headers) -> Headers:
            both = [*headers, ("X-Amzn-Trace-Id", trace_id)]
            return with_cors(cors, origin, both) if cors and origin else both

        if url.config.get("InvokeMode") == "RESPONSE_STREAM":
            return await self._stream(request, url, payload, options, decorated)
        answer = _read(await self._calls.invoke(url.ref, payload, options), request_id)
        return to_response(HttpReply(status=answer.status, headers=decorated(answer.headers), body=answer.body))

    async def _stream(
        self,
        request: web.Request,
        url: _Url,
        payload: bytes,
        options: CallOptions,
        decorated: Callable[[Headers], Headers],
    ) -> web.StreamResponse:
        def named(headers: Headers) -> Headers:
            return [*decorated(headers), ("x-amzn-RequestId", options.request_id)]

        try:
            async with self._calls.stream(url.ref, payload, options) as stream:
                return await send_streamed(request, stream, named)
        except FunctionFailed:
            failed = _failed()
            return to_response(HttpReply(status=failed.status, headers=decorated(failed.headers), body=failed.body))

    async def _cached(self, key: str, find: Callable[[], Awaitable[_Url | None]]) -> _Url | None:
        """Find a URL, at most once within `CACHED_S`; one that is not there is looked for each time."""
        known = self._cache.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        found = await find()
        if found is None:
            self._cache.pop(key, None)
            return None
        self._cache[key] = (time.monotonic() + CACHED_S, found)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHED_URLS_MAX:
            self._cache.popitem(last=False)
        return found

    async def _find(self, url_id: str) -> _Url | None:
        found = await self._functions.find_url(url_id)
        if found is None:
            return None
        ident, qualifier = found
        account, region, name = ident.split(":", 2)
        return await self._load(FunctionRef(name, None if qualifier == LATEST else qualifier, account, region))

    async def _load(self, ref: FunctionRef) -> _Url | None:
        record = await self._functions.load(ref.ident)
        config = record.url_configs.get(ref.qualifier or LATEST) if record else None
        return _Url(ref, config) if config is not None else None


def _read(reply: Reply, request_id: str) -> HttpReply:
    """What the function's reply is to the client; its errors are its own business, and in its log."""
    if not reply.function_error:
        try:
            if reply.streamed is not None:
                return read_collected(reply.payload, reply.streamed.content_type)
            return read_reply(reply.payload)
        except InvalidReply as error:
            log.info("invalid reply", request_id=request_id, reason=str(error))
    return _failed()


def _failed() -> HttpReply:
    body = orjson.dumps({"Message": "Internal Server Error"})
    return HttpReply(status=502, headers=(("Content-Type", "application/json"),), body=body)


def _refusal(status: int, message: str, **extra: Any) -> web.Response:
    body = {"Message": message, **{name: value for name, value in extra.items() if value}}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
