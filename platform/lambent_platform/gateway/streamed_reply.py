"""A streamed reply as a response over HTTP: function URLs in mode RESPONSE_STREAM.

The stream's own type and bytes are the response, with status 200; one of type `PRELUDE_TYPE` begins with status,
headers and cookies. A function that does not stream has its result sent as it is, JSON: as on Lambda, nothing is read
into it in this mode. Before the first byte an error is a 502; after it, the connection is cut.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from aiohttp import web

from lambent_platform.core.http_event import (
    PRELUDE_BYTES_MAX,
    PRELUDE_END,
    PRELUDE_TYPE,
    Headers,
    HttpReply,
    InvalidReply,
    read_prelude,
    stream_type,
)
from lambent_platform.dispatch.streams import ReplyStream
from lambent_platform.gateway.streaming import ClientGone, Writer

log = structlog.get_logger("gateway")


class FunctionFailed(Exception):
    """The function failed, or answered what is no response, before the first byte of one."""


async def send_streamed(
    request: web.Request, stream: ReplyStream, decorated: Callable[[Headers], Headers]
) -> web.StreamResponse:
    """Send a streamed reply to a client; `decorated` adds headers that are not the function's.

    Raises:
        FunctionFailed: nothing was sent yet, and there is nothing to send.
        ApiError, StoreUnavailable: the platform failed before anything was sent.
    """
    head = await read_head(stream)
    response = web.StreamResponse(status=head.status)
    for name, value in decorated(head.headers):
        response.headers.add(name, value)
    bodyless = request.method == "HEAD" or head.status in (204, 304)
    if request.version >= (1, 1) and not bodyless:
        response.enable_chunked_encoding()
    writer = Writer(request, response)
    try:
        await writer.begin()
        if head.body and not bodyless:
            await writer.write(head.body)
        async for part in stream:
            if not bodyless:
                await writer.write(part)
        if stream.end is None or stream.end.function_error:
            log.info("stream cut off", request_id=stream.call_id)
            writer.cut()
        else:
            await writer.end()
    except ClientGone:
        pass  # leaving the stream tells its worker
    except Exception as error:
        log.warning("stream cut off", request_id=stream.call_id, reason=str(error))
        writer.cut()
    return response


async def read_head(stream: ReplyStream) -> HttpReply:
    """Read a stream until its first byte is known to exist, or its metadata is whole; the body is what came along.

    Raises:
        FunctionFailed: there is no response.
    """
    first = await anext(stream, b"")
    if stream.end is not None and stream.end.function_error and not first:
        raise FunctionFailed
    if stream.content_type != PRELUDE_TYPE:
        return HttpReply(status=200, headers=(("Content-Type", stream_type(stream.content_type)),), body=first)
    data = bytearray(first)
    while (at := data.find(PRELUDE_END)) < 0:
        part = await anext(stream, None)
        if part is None or len(data) > PRELUDE_BYTES_MAX:
            raise FunctionFailed
        data += part
    try:
        head = read_prelude(bytes(data[:at]))
    except InvalidReply as error:
        log.info("invalid reply", request_id=stream.call_id, reason=str(error))
        raise FunctionFailed from error
    return HttpReply(status=head.status, headers=head.headers, body=bytes(data[at + len(PRELUDE_END) :]))
