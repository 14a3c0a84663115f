"""WebSocket APIs: a client connects, its messages reach functions by what they say, functions answer it.

The upgrade is answered only after `$connect` said yes; a status of its own, or its failure, is the refusal. What the
platform itself tells a client has the words of API Gateway: `{"message", "connectionId", "requestId"}`.

Source: API Gateway Developer Guide, "Working with WebSocket APIs"; quotas for messages, frames and durations.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import orjson
import structlog
from aiohttp import web

from lambent_platform.contracts.apis import DEFAULT_ROUTE
from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.connections import ConnectionRecord
from lambent_platform.contracts.errors import ApiError, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.invocation import Reply
from lambent_platform.core.apis.routing import Route, Site, Stage
from lambent_platform.core.apis.socket_event import (
    CONNECT,
    DISCONNECT,
    connect_event,
    disconnect_event,
    message_event,
)
from lambent_platform.core.http_event import JSON_TYPE, HttpReply, InvalidReply, clean, read_reply_v1
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.gateway.apis.hub import Hub
from lambent_platform.gateway.apis.sites import Sites
from lambent_platform.gateway.apis.sockets import LimitedWebSocket, Socket
from lambent_platform.gateway.http_functions import Calls, described, new_trace_id, to_response, trace_id_of

CONNECTIONS_MAX: Final = 10_000
"""What one gateway holds."""
MESSAGES_AT_ONCE: Final = 16
"""Messages of one connection that functions work on; more are read when one of them is done."""
FORBIDDEN: Final = "Forbidden"
FAILED: Final = "Internal server error"
_SUBPROTOCOL: Final = "sec-websocket-protocol"

log = structlog.get_logger("gateway")


class SocketApis:
    """Answers the requests of WebSocket APIs."""

    def __init__(self, calls: Calls, clock: EventClock, sites: Sites, hub: Hub, *, idle_s: float, max_s: float) -> None:
        self._calls = calls
        self._clock = clock
        self._sites = sites
        self._hub = hub
        self._idle_s = idle_s
        self._max_s = max_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request, site: Site, path: str) -> web.StreamResponse:
        """Answer a request for a percent-encoded path of an API: connect it, and stay until it ends."""
        stage = site.stages.get(unquote(path.strip("/")))
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return _refused(426, "Upgrade Required")
        if stage is None:
            return _refused(403, FORBIDDEN)
        if not LimitedWebSocket().can_prepare(request).ok:
            return _refused(400, "Bad Request")
        if len(self._hub) >= CONNECTIONS_MAX or self._hub.leaving:
            return _refused(503, "Service Unavailable")
        asked = described(request, path, b"")
        record = ConnectionRecord(
            id=self._hub.store.new_id(site.id),
            api_id=site.id,
            stage=stage.name,
            connected_ms=self._clock.now_ms(),
            source_ip=asked.source_ip,
            user_agent=clean(request.headers.get("User-Agent", "")),
            domain=asked.domain,
        )
        protocols: tuple[str, ...] = ()
        route = stage.by_key.get(CONNECT)
        if route is not None:
            request_id, trace_id = str(uuid.uuid4()), trace_id_of(request)
            event = connect_event(record, asked, stage.variables, request_id=request_id, trace_id=trace_id)
            reply = await self._connect(record, route, event, request_id, trace_id)
            if not 200 <= reply.status < 300:
                return to_response(reply)
            protocols = tuple(value for name, value in reply.headers if name.lower() == _SUBPROTOCOL)
        return await self._hold(request, record, protocols)

    async def _connect(
        self, record: ConnectionRecord, route: Route, event: Mapping[str, Any], request_id: str, trace_id: str
    ) -> HttpReply:
        """What `$connect` says; a failure is a status that refuses."""
        status, message = 502, FAILED
        try:
            return read_reply_v1((await self._invoke(route, event, request_id, trace_id)).payload)
        except TimeoutError:
            status, message = 504, "Endpoint request timed out"
        except TooManyRequests:
            status, message = 429, "Too Many Requests"
        except StoreUnavailable:
            status, message = 503, "Service Unavailable"
        except (ApiError, InvalidReply) as error:
            log.info("integration failed", api=record.api_id, request_id=request_id, reason=str(error))
        return _told(status, message, record, request_id)

    async def _hold(
        self, request: web.Request, record: ConnectionRecord, protocols: tuple[str, ...]
    ) -> web.StreamResponse:
        try:
            if not await self._hub.store.open(record, self._hub.gateway_id):
                return _refused(503, "Service Unavailable")
        except StoreUnavailable:
            self._spawn(self._forget(record))  # it may have been noted down all the same
            return _refused(503, "Service Unavailable")
        response = LimitedWebSocket(protocols)
        socket = Socket(record, response, self._clock, idle_s=self._idle_s, max_s=self._max_s)
        self._hub.add(socket)
        try:
            await response.prepare(request)
            room = asyncio.Semaphore(MESSAGES_AT_ONCE)
            async for message in socket.messages():
                await room.acquire()
                self._spawn(self._message(socket, message)).add_done_callback(lambda _: room.release())
        except (ConnectionError, web.HTTPException):
            pass  # it was gone before it began
        finally:
            self._hub.remove(socket)
            if not self._hub.leaving:
                self._spawn(self._disconnect(socket))
        return response if response.prepared else _refused(400, "Bad Request")

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _message(self, socket: Socket, message: str) -> None:
        """Hand a message to its route's function, and its answer to the client where the route is two-way."""
        record, request_id = socket.record, str(uuid.uuid4())
        try:
            stage = await self._stage(record)
            route = _chosen(stage, message) if stage is not None else None
            if stage is None or route is None:
                socket.offer(_told(403, FORBIDDEN, record, request_id).body)
                return
            event = message_event(
                record, stage.variables, route.key, message, request_id=request_id, now_ms=self._clock.now_ms()
            )
            reply = await self._invoke(route, event, request_id)
            if route.two_way and (body := read_reply_v1(reply.payload).body):
                socket.offer(body)
        except TimeoutError:
            socket.offer(_told(504, "Endpoint request timed out", record, request_id).body)
        except TooManyRequests:
            socket.offer(_told(429, "Too Many Requests", record, request_id).body)
        except (ApiError, InvalidReply, StoreUnavailable) as error:
            log.info("integration failed", api=record.api_id, request_id=request_id, reason=str(error))
            socket.offer(_told(500, FAILED, record, request_id).body)

    async def _disconnect(self, socket: Socket) -> None:
        """Tell `$disconnect` how a connection ended, then forget the connection: in this order, lest it be lost."""
        record = socket.record
        for pause_s in _pauses_s():
            if self._hub.leaving:
                return
            try:
                await self._tell_end(record, *socket.ended)
                break
            except StoreUnavailable as error:
                log.warning("redis is away", loop="connections", error=str(error))
                await asyncio.sleep(pause_s)
            except (ApiError, TimeoutError) as error:
                reason = str(error) or "timed out"
                log.info("integration failed", api=record.api_id, connection=record.id, reason=reason)
                break
        await self._forget(record)

    async def _tell_end(self, record: ConnectionRecord, status: int, reason: str) -> None:
        stage = await self._stage(record)
        route = stage.by_key.get(DISCONNECT) if stage is not None else None
        if stage is not None and route is not None:
            request_id = str(uuid.uuid4())
            event = disconnect_event(
                record, stage.variables, status, reason, request_id=request_id, now_ms=self._clock.now_ms()
            )
            await self._invoke(route, event, request_id)

    async def _forget(self, record: ConnectionRecord) -> None:
        """Have Redis forget a connection, whenever it is there again: nobody else does while this gateway lives."""
        for pause_s in _pauses_s():
            try:
                await self._hub.store.close(record.id, self._hub.gateway_id)
                return
            except StoreUnavailable as error:
                log.warning("redis is away", loop="connections", error=str(error))
            if self._hub.leaving:
                return
            await asyncio.sleep(pause_s)

    async def _stage(self, record: ConnectionRecord) -> Stage | None:
        site = await self._sites.find(record.api_id)
        return site.stages.get(record.stage) if site is not None else None

    async def _invoke(self, route: Route, event: Mapping[str, Any], request_id: str, trace_id: str = "") -> Reply:
        """Run a route's function.

        Raises:
            TimeoutError: it took longer than its integration may.
            ApiError: it failed, or could not be run.
        """
        if route.function is None:
            raise ApiError(f"Route {route.key} leads to no function")
        options = CallOptions(request_id=request_id, trace_id=trace_id or new_trace_id())
        async with asyncio.timeout(route.timeout_s):
            reply = await self._calls.invoke(route.function, orjson.dumps(event), options)
        if reply.function_error:
            raise ApiError(f"The function of route {route.key} failed")
        return reply


def _pauses_s() -> Iterator[float]:
    """How long to wait for Redis each time."""
    return itertools.chain((0.25, 0.5, 1.0, 2.0), itertools.repeat(5.0))


def _chosen(stage: Stage, message: str) -> Route | None:
    key = stage.select(message, stage.variables) if stage.select is not None else None
    # `$connect` and the like are the platform's to call, whatever a message says.
    found = stage.by_key.get(key) if key and not key.startswith("$") else None
    return found or stage.by_key.get(DEFAULT_ROUTE)


def _told(status: int, message: str, record: ConnectionRecord, request_id: str) -> HttpReply:
    body = {"message": message, "connectionId": record.id, "requestId": request_id}
    return HttpReply(status=status, headers=(("Content-Type", JSON_TYPE),), body=orjson.dumps(body))


def _refused(status: int, message: str) -> web.Response:
    body = orjson.dumps({"message": message})
    return to_response(HttpReply(status=status, headers=(("Content-Type", JSON_TYPE),), body=body))
