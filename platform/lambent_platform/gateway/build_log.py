"""The log of a function's build, while it runs and after it: `GET /_lambent/functions/<name>/build-log`.

Of an image, with `?kind=image`. Plain text; 404 where nothing was built.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from aiohttp import web

from lambent_platform.contracts.build import log_key
from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.contracts.runtimes import RUNTIMES, Runtime
from lambent_platform.core.preparation import dependency_order, image_order
from lambent_platform.gateway.app import Route, split_path
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.objects import ObjectStore

_PATH: Final = re.compile(r"^/_lambent/functions/(?P<name>[A-Za-z0-9_-]{1,64})/build-log$")


class BuildLogs:
    """Serves logs of builds from the object store. `image_tag` names a runtime's image."""

    def __init__(
        self,
        functions: FunctionStore,
        objects: ObjectStore,
        *,
        image_tag: Callable[[Runtime], str],
        account: str = DEFAULT_ACCOUNT,
        region: str = DEFAULT_REGION,
    ) -> None:
        self._functions = functions
        self._objects = objects
        self._image_tag = image_tag
        self._account = account
        self._region = region

    def route(self) -> Route:
        """Return the route to serve."""
        return Route(lambda request: _PATH.match(split_path(request)[0]) is not None, self.read)

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Answer with the log of what was last built for a version (`?Qualifier=`, `$LATEST` by default)."""
        match = _PATH.match(split_path(request)[0])
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))
        ref = FunctionRef(match["name"] if match else "", None, self._account, self._region)
        record = await self._functions.load(ref.ident)
        qualifier = request.query.get("Qualifier", LATEST)
        alias = record.aliases.get(qualifier) if record else None
        version = record.versions.get(alias.version if alias else qualifier) if record else None
        if version is None:
            raise web.HTTPNotFound(text="There is no such function.\n")
        text = await self._objects.get(log_key(self._build_id(version, request.query.get("kind", ""))))
        if text is None:
            raise web.HTTPNotFound(text="Nothing was built for this function.\n")
        return web.Response(
            body=text, content_type="text/plain", charset="utf-8", headers={"Cache-Control": "no-store"}
        )

    def _build_id(self, version: FunctionVersion, kind: str) -> str:
        if kind == "image" and version.runtime in RUNTIMES:
            return image_order(version.runtime, self._image_tag(RUNTIMES[version.runtime])).id
        return dependency_order(version).id
