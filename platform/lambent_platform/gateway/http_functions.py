"""What function URLs and APIs share: a request as the event makers read it, and a reply as aiohttp sends it."""

from __future__ import annotations

import re
import time
import uuid
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from aiohttp import web

from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.http_event import HttpReply, HttpRequest, clean
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.dispatch.streams import ReplyStream
from lambent_platform.gateway.app import split_path

RETRY_AFTER_S: Final = 1


class Calls(Protocol):
    """Who runs functions."""

    async def invoke(self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None) -> Reply:
        """Run one; see `Dispatcher.invoke`."""

    def stream(
        self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None
    ) -> AbstractAsyncContextManager[ReplyStream]:
        """Run one and read its reply while it comes; see `Dispatcher.stream`."""


def described(request: web.Request, path: str, body: bytes) -> HttpRequest:
    """Return a request as the event makers read it, under a path of the caller's choice."""
    host = clean(request.headers.get("Host", ""))
    domain, _, port = host.rpartition(":") if re.search(r":\d+$", host) else (host, "", "")
    return HttpRequest(
        method=request.method,
        path=path,
        query=split_path(request)[1],
        headers=[(str(name), value) for name, value in request.headers.items()],
        body=body,
        protocol=f"HTTP/{request.version.major}.{request.version.minor}",
        scheme=request.scheme,
        domain=domain,
        port=port or ("443" if request.scheme == "https" else "80"),
        source_ip=request.remote or "",
    )


def trace_id_of(request: web.Request) -> str:
    """Return the trace header that a request came with, or a new one."""
    return clean(request.headers.get("X-Amzn-Trace-Id", "")) or new_trace_id()


def new_trace_id() -> str:
    """Make the trace header of a chain of calls that begins here."""
    return f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"


def to_response(reply: HttpReply) -> web.Response:
    """Return a reply as aiohttp sends it; it has the reply's own headers alone."""
    response = web.Response(status=reply.status, body=reply.body)
    response.headers.popall("Content-Type", None)
    for name, value in reply.headers:
        response.headers.add(name, value)
    return response
