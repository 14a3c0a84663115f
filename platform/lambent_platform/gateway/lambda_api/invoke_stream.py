"""InvokeWithResponseStream: the reply of a function as it comes, in events.

Source: Lambda API reference, "InvokeWithResponseStream". An error before the first event is an ordinary one; one of
the function is in `InvokeComplete`, with what Invoke would call it and its error object; one of the platform in
mid-stream is an error message of the event stream, after which the connection ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_platform.dispatch.dispatcher import Dispatcher
from lambent_platform.dispatch.streams import ReplyStream
from lambent_platform.gateway.aws import eventstream
from lambent_platform.gateway.aws.errors import to_api_error
from lambent_platform.gateway.aws.registry import RequestContext, raw_operation
from lambent_platform.gateway.lambda_api.invoke import Asked, read_asked, read_payload
from lambent_platform.gateway.streaming import ClientGone, Writer

_TYPES: Final = ("RequestResponse", "DryRun")


class InvokeStreamOperation:
    """Serves InvokeWithResponseStream from a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    @raw_operation("InvokeWithResponseStream")
    async def invoke_with_response_stream(
        self, context: RequestContext, request: web.Request, labels: Mapping[str, str]
    ) -> web.StreamResponse:
        """Run a function: RequestResponse answers 200, DryRun 204."""
        lowered = {name.lower(): value for name, value in request.headers.items()}
        qualifier = request.query.get("Qualifier")
        asked = read_asked(labels["FunctionName"], qualifier, lowered, context, kinds=_TYPES)
        payload = await read_payload(request, SYNC_PAYLOAD_BYTES)
        request_id = {"x-amzn-RequestId": asked.options.request_id}
        if asked.kind == "DryRun":
            await self._dispatcher.check(asked.ref)
            return web.Response(status=204, headers=request_id)
        return await self._run(request, asked, payload, request_id)

    async def _run(
        self, request: web.Request, asked: Asked, payload: bytes, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        async with self._dispatcher.stream(asked.ref, payload, asked.options) as stream:
            response = web.StreamResponse(
                headers={
                    **headers,
                    "Content-Type": eventstream.CONTENT_TYPE,
                    "X-Amz-Executed-Version": stream.executed_version,
                }
            )
            if request.version >= (1, 1):
                response.enable_chunked_encoding()
            writer = Writer(request, response)
            try:
                await writer.begin()
                await _pass_on(stream, writer)
            except ClientGone:
                pass  # leaving the block tells the worker
            return response


async def _pass_on(stream: ReplyStream, writer: Writer) -> None:
    try:
        async for part in stream:
            await writer.write(eventstream.event("PayloadChunk", part, content_type="application/octet-stream"))
    except ClientGone:
        raise
    except Exception as error:
        found = to_api_error(error)
        await writer.write(eventstream.error(found.code, found.message))
        writer.cut()
        return
    assert stream.end is not None
    complete = orjson.dumps(_complete(stream.end))
    await writer.write(eventstream.event("InvokeComplete", complete, content_type="application/json"))
    await writer.end()


def _complete(reply: Reply) -> dict[str, str]:
    """Return the members of InvokeComplete, those that are empty left out."""
    members = {
        "ErrorCode": reply.function_error,
        "ErrorDetails": reply.payload.decode(errors="replace") if reply.function_error else "",
        "LogResult": reply.log_tail,
    }
    return {name: value for name, value in members.items() if value}
