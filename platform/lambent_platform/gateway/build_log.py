"""The log of a function's dependency build, readable while the build runs: `/_lambent/functions/NAME/build-log`."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from lambent_platform.contracts.build import log_key
from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.preparation import dependency_order
from lambent_platform.gateway.app import Route, split_path
from lambent_platform.gateway.aws.detection import read_scope
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.objects import ObjectStore

_PATH: Final = re.compile(r"/_lambent/functions/([^/]+)/build-log")


class BuildLogPage:
    """Serves build logs from the object store, as plain text."""

    def __init__(self, functions: FunctionStore, objects: ObjectStore, *, account: str, region: str) -> None:
        self._functions = functions
        self._objects = objects
        self._account = account
        self._region = region

    def route(self) -> Route:
        """Return the route to serve."""
        return Route(lambda request: _PATH.fullmatch(split_path(request)[0]) is not None, self.read)

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Answer with the log of the version named (the latest without one); 404 where nothing was built for it."""
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))
        path, query = split_path(request)
        match = _PATH.fullmatch(path)
        scope = read_scope(request.headers.get("Authorization", ""), query)
        name = unquote(match[1]) if match else ""
        ref = FunctionRef.parse(name, account=self._account, region=scope.region or self._region)
        record = await self._functions.load(ref.ident) if ref is not None else None
        version = _version(record, ref.qualifier) if record is not None and ref is not None else None
        text = None
        if version is not None and version.code.needs_build:
            text = await self._objects.get(log_key(dependency_order(version).id))
        if text is None:
            raise web.HTTPNotFound(text="There is no build log of this function.\n")
        return web.Response(body=text, content_type="text/plain", charset="utf-8")


def _version(record: FunctionRecord, qualifier: str | None) -> FunctionVersion | None:
    """Return the version that a qualifier names: a version, an alias, or nothing for the latest."""
    wanted = qualifier or LATEST
    alias = record.aliases.get(wanted)
    return record.versions.get(alias.version if alias is not None else wanted)
