"""Responses that are cut off, as a client on a real port sees them."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from lambent_platform.gateway.app import Route, listening, make_app
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.streaming import Writer


async def cut_off(request: web.Request) -> web.StreamResponse:
    """Send a part, and never the end."""
    response = web.StreamResponse()
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    writer = Writer(request, response)
    await writer.begin()
    await writer.write(b"part")
    await asyncio.sleep(0.1)
    writer.cut()
    return response


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_what_is_cut_off_does_not_look_whole(version: str) -> None:
    """With chunks the last one is missing; without, the connection ends with an error and not as a response does."""
    app = make_app(Registry(), hosts=[Route(lambda _: True, cut_off)])
    async with listening(app, "127.0.0.1", 0, drain_s=0.5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/{version}\r\nHost: h\r\n\r\n".encode())
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"part")).startswith(f"HTTP/{version} 200".encode())
            if version == "1.0":
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            else:
                assert await reader.read() == b"\r\n"
        writer.close()
