"""HTTP APIs: a request in, its route's function, a reply out.

What the platform itself answers, in HTTP APIs' own words: no route 404, too large 413, a function that fails or
returns nonsense 500, one that takes too long or has no concurrency left 503. A preflight of an API with cross-origin
rules is answered 204, whatever its routes.

Source: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs", "Configure CORS for HTTP
APIs". API Gateway decodes a request's path for its event (`rawPath`, `path`), but not its query.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Final
from urllib.parse import unquote

import orjson
import structlog
from aiohttp import web

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import (
    ApiError,
    RequestTooLarge,
    ResourceConflict,
    StoreUnavailable,
    TooManyRequests,
)
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_platform.core.apis.routing import Route, Site, Stage
from lambent_platform.core.cors import is_preflight, preflight_headers, with_cors
from lambent_platform.core.http_event import (
    JSON_TYPE,
    HttpReply,
    InvalidReply,
    Place,
    make_event,
    read_reply,
    read_reply_v1,
)
from lambent_platform.core.http_event_v1 import make_event_v1
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.gateway.aws.body import read_body
from lambent_platform.gateway.http_functions import RETRY_AFTER_S, Calls, described, to_response, trace_id_of

NOT_FOUND: Final = "Not Found"
FAILED: Final = "Internal Server Error"
UNAVAILABLE: Final = "Service Unavailable"
TOO_LARGE: Final = "Request Entity Too Large"

log = structlog.get_logger("gateway")


class HttpApis:
    """Answers the requests of HTTP APIs."""

    def __init__(self, calls: Calls, clock: EventClock) -> None:
        self._calls = calls
        self._clock = clock

    async def serve(self, request: web.Request, site: Site, path: str) -> web.Response:
        """Answer a request for a percent-encoded path of an API, whatever becomes of it."""
        request_id = str(uuid.uuid4())
        found = site.stage_of(path)
        if found is None:
            reply = refusal(404, NOT_FOUND)
        elif found[0].cors and is_preflight(request.method, request.headers):
            reply = HttpReply(status=204, headers=preflight_headers(found[0].cors, request.headers), body=b"")
        else:
            stage, inner = found
            reply = await self._answer(request, site, stage, path, inner, request_id)
            origin = request.headers.get("Origin")
            if stage.cors and origin:
                headers = with_cors(stage.cors, origin, reply.headers)
                reply = HttpReply(status=reply.status, headers=headers, body=reply.body)
        response = to_response(reply)
        response.headers["Apigw-Requestid"] = request_id
        if not request.content.is_eof():
            response.force_close()  # a body that was refused unread is not read for the sake of the connection
        return response

    async def _answer(
        self, request: web.Request, site: Site, stage: Stage, path: str, inner: str, request_id: str
    ) -> HttpReply:
        found = stage.table.find(request.method, inner)
        if found is None:
            return refusal(404, NOT_FOUND)
        route, variables = found
        try:
            place = Place(
                api_id=site.id,
                account=site.account,
                route_key=route.key,
                resource=route.path,
                stage=stage.name,
                path_parameters=variables,
                stage_variables=stage.variables,
            )
            return await self._call(request, route, place, path, request_id)
        except RequestTooLarge:
            return refusal(413, TOO_LARGE)
        except (TooManyRequests, ResourceConflict, TimeoutError) as error:
            log.info("integration failed", api=site.id, request_id=request_id, reason=str(error) or "timed out")
            return refusal(503, UNAVAILABLE)
        except StoreUnavailable as error:
            log.warning("store_unavailable", request_id=request_id, reason=str(error))
            return refusal(503, UNAVAILABLE, ("Retry-After", str(RETRY_AFTER_S)))
        except ApiError as error:
            log.info("integration failed", api=site.id, request_id=request_id, reason=error.message)
            return refusal(408, "Request Timeout") if error.status == 408 else refusal(500, FAILED)

    async def _call(self, request: web.Request, route: Route, place: Place, path: str, request_id: str) -> HttpReply:
        if route.function is None:
            raise ApiError(f"Route {route.key} leads to no function")
        body = await read_body(request, SYNC_PAYLOAD_BYTES, RequestTooLarge(TOO_LARGE))
        trace_id = trace_id_of(request)
        make = make_event if route.payload_format == "2.0" else make_event_v1
        event = make(
            described(request, unquote(path) if "%" in path else path, body),
            place,
            request_id=request_id,
            trace_id=trace_id,
            now_ms=self._clock.now_ms(),
        )
        payload = orjson.dumps(event)
        if len(payload) > SYNC_PAYLOAD_BYTES:
            raise RequestTooLarge(TOO_LARGE)
        options = CallOptions(request_id=request_id, trace_id=trace_id)
        async with asyncio.timeout(route.timeout_s):
            reply = await self._calls.invoke(route.function, payload, options)
        return _read(reply, route.payload_format, request_id)


def _read(reply: Reply, payload_format: str, request_id: str) -> HttpReply:
    """What the function's reply is to the client; its errors are its own business, and in its log."""
    if not reply.function_error:
        try:
            return read_reply(reply.payload) if payload_format == "2.0" else read_reply_v1(reply.payload)
        except InvalidReply as error:
            log.info("invalid reply", request_id=request_id, reason=str(error))
    return refusal(500, FAILED)


def refusal(status: int, message: str, *headers: tuple[str, str]) -> HttpReply:
    """Return an answer of the platform's own."""
    return HttpReply(
        status=status, headers=(("Content-Type", JSON_TYPE), *headers), body=orjson.dumps({"message": message})
    )
