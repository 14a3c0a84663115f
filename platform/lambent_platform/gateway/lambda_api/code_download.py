"""Packages for download: where `GetFunction` says that a function's code is.

The URL is made of the package's hash, which only those learn who may read the function, as Lambda's signed URLs are
only given to them.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from lambent_platform.contracts.function import CodePackage
from lambent_platform.gateway.app import Route, below, split_path
from lambent_platform.store.objects import ObjectStore

PATH: Final = "/_lambent/code/"
_NAME: Final = re.compile(r"[0-9a-f]{64}\.zip")


def location(code: CodePackage, base_url: str) -> str:
    """Return the URL of a package as it was uploaded; of a folder of the machine, its own."""
    if code.hot_reload_path:
        return f"file://{code.hot_reload_path}"
    return f"{base_url}{PATH}{code.source_key.rpartition('/')[2]}"


class CodeDownload:
    """Serves packages from the object store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def route(self) -> Route:
        """Return the route to serve."""
        return Route(below(PATH), self.download)

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Stream one package."""
        name = split_path(request)[0].removeprefix(PATH)
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))
        key = f"code/{name}"
        size = await self._objects.size(key) if _NAME.fullmatch(name) else None
        if size is None:
            raise web.HTTPNotFound(text="There is no such package.\n")
        response = web.StreamResponse(
            headers={"Content-Type": "application/zip", "Content-Disposition": f'attachment; filename="{name}"'}
        )
        response.content_length = size
        await response.prepare(request)
        if request.method != "HEAD":
            async for chunk in self._objects.stream(key):
                await response.write(chunk)
        await response.write_eof()
        return response
