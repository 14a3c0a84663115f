"""Invoke: the one operation that bypasses the generic layer, for speed; it changes no behaviour.

Source: Lambda API reference, "Invoke".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web

from lambent_platform.contracts.errors import (
    InvalidParameterValue,
    InvalidRequestContent,
    RequestTooLarge,
    ValidationFailed,
)
from lambent_platform.contracts.limits import ASYNC_PAYLOAD_BYTES, CLIENT_CONTEXT_BYTES, SYNC_PAYLOAD_BYTES
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.dispatch.dispatcher import CallOptions, Dispatcher
from lambent_platform.gateway.aws.body import read_body
from lambent_platform.gateway.aws.http import HttpReply
from lambent_platform.gateway.aws.registry import RequestContext, raw_operation

NAME_PATTERN: Final = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?"
    r"([a-zA-Z0-9-_\.]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
_QUALIFIER = re.compile(r"^(\$LATEST|[a-zA-Z0-9-_]{1,128})$")
_TYPES: Final = ("Event", "RequestResponse", "DryRun")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, its payload apart."""

    kind: str
    ref: FunctionRef
    options: CallOptions

    @property
    def payload_bytes_max(self) -> int:
        """How large the payload may be."""
        return ASYNC_PAYLOAD_BYTES if self.kind == "Event" else SYNC_PAYLOAD_BYTES


class InvokeOperation:
    """Serves Invoke from a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    @raw_operation("Invoke")
    async def invoke(
        self, context: RequestContext, request: web.Request, labels: Mapping[str, str]
    ) -> web.StreamResponse:
        """Run a function: RequestResponse answers 200, Event 202, DryRun 204."""
        lowered = {name.lower(): value for name, value in request.headers.items()}
        asked = read_asked(labels["FunctionName"], request.query.get("Qualifier"), lowered, context)
        reply = await self.answer(asked, await _body(request, asked.payload_bytes_max))
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

    async def answer(self, asked: Asked, body: bytes) -> HttpReply:
        """Run what was asked for.

        Raises:
            RequestTooLarge, InvalidRequestContent: the payload is too large, or not JSON.
            ApiError: as `Dispatcher.invoke` and `accept`.
        """
        payload, options = _payload(body, asked.payload_bytes_max), asked.options
        if asked.kind == "DryRun":
            await self._dispatcher.check(asked.ref)
            return HttpReply(status=204, headers={"x-amzn-RequestId": options.request_id})
        if asked.kind == "Event":
            await self._dispatcher.accept(asked.ref, payload, options)
            return HttpReply(status=202, headers={"x-amzn-RequestId": options.request_id})
        reply = await self._dispatcher.invoke(asked.ref, payload, options)
        headers = {
            "Content-Type": "application/json",
            "x-amzn-RequestId": options.request_id,
            "X-Amz-Executed-Version": reply.executed_version,
        }
        if reply.function_error:
            headers["X-Amz-Function-Error"] = reply.function_error
        if reply.log_tail:
            headers["X-Amz-Log-Result"] = reply.log_tail
        return HttpReply(status=200, headers=headers, body=reply.payload)


def read_asked(
    name: str,
    qualifier: str | None,
    headers: Mapping[str, str],
    context: RequestContext,
    *,
    kinds: Sequence[str] = _TYPES,
) -> Asked:
    """Read a request of one of these kinds; the names of `headers` are in lower case.

    Raises:
        ValidationFailed, InvalidParameterValue: a parameter is not acceptable.
        RequestTooLarge, InvalidRequestContent: the client context is too large, or not JSON.
    """
    kind = headers.get("x-amz-invocation-type", "RequestResponse")
    if kind not in kinds:
        raise _invalid(kind, "invocationType", f"enum value set: [{', '.join(kinds)}]")
    ref = _function(name, qualifier, context)
    options = CallOptions(
        request_id=context.request_id,
        log_tail=headers.get("x-amz-log-type") == "Tail",
        client_context=_client_context(headers.get("x-amz-client-context")),
        trace_id=headers.get("x-amzn-trace-id", ""),
    )
    return Asked(kind, ref, options)


def _function(name: str, qualifier: str | None, context: RequestContext) -> FunctionRef:
    ref = FunctionRef.parse(name, account=context.account, region=context.region)
    if ref is None:
        raise _invalid(name, "functionName", f"regular expression pattern: {NAME_PATTERN}")
    if qualifier is None:
        return ref
    if not _QUALIFIER.match(qualifier):
        raise _invalid(qualifier, "qualifier", r"regular expression pattern: (|[a-zA-Z0-9$_-]+)")
    if ref.qualifier is not None and ref.qualifier != qualifier:
        raise InvalidParameterValue(
            "The derived qualifier from the function name does not match the specified qualifier.", Type="User"
        )
    return ref.at(qualifier)


def _invalid(value: str, member: str, constraint: str) -> ValidationFailed:
    return ValidationFailed(
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
        f"Member must satisfy {constraint}"
    )


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"Request must be smaller than {limit} bytes for the InvokeFunction operation", Type="User")


async def read_payload(request: web.Request, limit: int) -> bytes:
    """Read and check the payload of a request.

    Raises:
        RequestTooLarge, InvalidRequestContent: it is too large, or not JSON.
    """
    return _payload(await _body(request, limit), limit)


async def _body(request: web.Request, limit: int) -> bytes:
    declared = request.content_length
    if declared is not None and declared <= limit and request.content.is_eof():
        return request.content.read_nowait()  # it came with the head, as small ones do
    return await read_body(request, limit, _too_large(limit))


def _payload(body: bytes, limit: int) -> bytes:
    """The body, checked to be JSON; an empty one is an empty object, as on Lambda."""
    if len(body) > limit:
        raise _too_large(limit)
    if not body:
        return b"{}"
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestContent(f"Could not parse request body into json: {error}", Type="User") from None
    return body


def _client_context(header: str | None) -> str:
    if not header:
        return ""
    if len(header) > CLIENT_CONTEXT_BYTES:
        raise RequestTooLarge(f"Client context must be smaller than {CLIENT_CONTEXT_BYTES} bytes.", Type="User")
    try:
        text = base64.b64decode(header, validate=True)
        orjson.loads(text)
    except (binascii.Error, orjson.JSONDecodeError):
        raise InvalidRequestContent("Client context must be a valid Base64-encoded JSON object.", Type="User") from None
    return text.decode()
