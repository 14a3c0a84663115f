"""Reading a request's body: never more than its limit, never for ever."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from lambent_platform.contracts.errors import ApiError
from lambent_platform.gateway.aws.problems import request_timeout

BODY_TIMEOUT_S: Final = 60.0
"""Longest pause within a body."""


async def read_body(
    request: web.Request, limit: int, too_large: ApiError, *, timeout_s: float = BODY_TIMEOUT_S
) -> bytes:
    """Return the body, reading no further than `limit` bytes.

    Raises:
        ApiError: `too_large`, before anything is read where the length is declared; RequestTimeoutException.
        ConnectionError, aiohttp.ClientPayloadError: the client went away within it.
    """
    declared = request.content_length
    if declared is not None and declared > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                part = await request.content.readany()
        except TimeoutError:
            raise request_timeout() from None
        if not part:
            return b"".join(parts)
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
