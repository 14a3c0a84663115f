"""The yardstick: a bare aiohttp server on uvloop, one process, that parses a JSON body and sends it back."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    """Answer with the request's own JSON."""
    return web.json_response(await request.json())


def main() -> None:
    """Serve on the port given, on loopback, until the process is ended."""
    uvloop.install()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/", echo)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
