"""The asynchronous client."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode

from lambent.clock import AsyncClock
from lambent.connection import Connection
from lambent.dead import AsyncDead
from lambent.deployment import DEPLOY_TIMEOUT_S, FUNCTIONS, Deployment, OnProgress, build_log, function_path
from lambent.errors import ResourceConflict, ResourceNotFound
from lambent.logs import ago_ms, follow_log, read_log
from lambent.records import Environment, Function, InvocationResult, KeepAlive, LogEvent
from lambent.spec import FunctionSpec
from lambent.streaming import AsyncInvocationStream
from lambent.transport import Response, Transport
from lambent_platform.contracts.limits import TIMEOUT_S_MAX

if TYPE_CHECKING:
    from lambent.stacks import AsyncStacks

_URLS: Final = "/2021-10-31/functions"
INVOKE_TIMEOUT_S: Final = TIMEOUT_S_MAX + 60.0
"""The longest that a function may run, and its way there and back."""


class AsyncClient:
    """Deploys, calls and watches functions.

        async with AsyncClient() as client:
            await client.deploy("hello")
            print(await client.invoke("hello", {"name": "Ada"}))

    Endpoint, region and credentials are those of AWS's variables (`Connection.find`) unless they are given. Every
    method raises `EndpointUnreachable` where nothing answers, and `ApiError` where the platform refuses.
    """

    def __init__(self, endpoint: str | None = None, *, region: str | None = None) -> None:
        self.connection = Connection.find(endpoint=endpoint, region=region)
        self._transport = Transport(self.connection)
        self.dead = AsyncDead(self._transport)
        """Dead events of functions, and dead-letter queues."""
        self.clock = AsyncClock(self._transport)
        """The platform's event time, which `lambent up --clock virtual` lets you move."""

    @functools.cached_property
    def stacks(self) -> AsyncStacks:
        """Applications that SAM templates describe."""
        # Imported here: most of those who call functions read no templates.
        from lambent.stacks import AsyncStacks

        return AsyncStacks(self._transport)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def deploy(
        self,
        folder: str | Path | FunctionSpec,
        *,
        on_progress: OnProgress | None = None,
        timeout_s: float = DEPLOY_TIMEOUT_S,
        **overrides: Any,
    ) -> Function:
        """Create or update a function from a folder and wait until it is Active.

        `overrides` are keys of `lambent.toml` (`name`, `runtime`, `memory_mb`, `environment` …). Where its
        description says `url = true` it also gets a function URL.

        Raises:
            SpecError: the description is wrong. PackageError: the folder cannot be packed.
            DeployFailed: the platform cannot run it; carries the reason and the build log.
        """
        spec = folder if isinstance(folder, FunctionSpec) else FunctionSpec.read(Path(folder), overrides)
        deployment = Deployment(self._transport, spec, on_progress or (lambda _: None), timeout_s=timeout_s)
        function = await deployment.run()
        if spec.url:
            await self.url(spec.name, create=True, stream=spec.stream)
        return function

    async def invoke(self, name: str, payload: object = None, *, qualifier: str | None = None) -> Any:
        """Call a function and return what it returns, both as Python values that JSON can hold.

        Without a payload the function gets an empty object.

        Raises:
            FunctionError: it failed. TypeError: the payload is nothing that JSON can hold.
        """
        body = b"" if payload is None else json.dumps(payload).encode()
        return (await self.call(name, body, qualifier=qualifier)).value()

    async def call(
        self, name: str, payload: bytes = b"", *, qualifier: str | None = None, log_tail: bool = False
    ) -> InvocationResult:
        """Call a function with bytes and return the whole answer, also where the function failed."""
        headers = {"X-Amz-Invocation-Type": "RequestResponse"}
        if log_tail:
            headers["X-Amz-Log-Type"] = "Tail"
        answer = await self._transport.request(
            "POST", _invoke_path(name, qualifier), headers=headers, body=payload, timeout_s=INVOKE_TIMEOUT_S
        )
        found = {key.lower(): value for key, value in answer.headers.items()}
        return InvocationResult(
            request_id=found.get("x-amzn-requestid", ""),
            payload=answer.body,
            function_error=found.get("x-amz-function-error", ""),
            executed_version=found.get("x-amz-executed-version", ""),
            log=base64.b64decode(found.get("x-amz-log-result", "")).decode(errors="replace"),
        )

    def invoke_stream(
        self,
        name: str,
        payload: object = None,
        *,
        qualifier: str | None = None,
        raw: bytes | None = None,
        log_tail: bool = False,
    ) -> AsyncInvocationStream:
        """Call a function and read what it answers while it comes: `async for part in client.invoke_stream(name)`.

        `raw` is the payload's own bytes, instead of a Python value. Raises while it is read, see the class.
        """
        body = raw if raw is not None else (b"" if payload is None else json.dumps(payload).encode())
        return AsyncInvocationStream(self._transport, name, body, qualifier=qualifier, log_tail=log_tail)

    async def invoke_async(
        self, name: str, payload: object = None, *, qualifier: str | None = None, raw: bytes | None = None
    ) -> str:
        """Hand a function an event and return the request id as soon as the platform has it safe.

        `raw` is the payload's own bytes, instead of a Python value.
        """
        body = raw if raw is not None else (b"" if payload is None else json.dumps(payload).encode())
        answer = await self._transport.request(
            "POST", _invoke_path(name, qualifier), headers={"X-Amz-Invocation-Type": "Event"}, body=body
        )
        return next((value for key, value in answer.headers.items() if key.lower() == "x-amzn-requestid"), "")

    async def logs(
        self, name: str, *, since_s: float = 600.0, start_ms: int | None = None, follow: bool = False
    ) -> AsyncIterator[LogEvent]:
        """Yield a function's log lines of the last `since_s` seconds, or since `start_ms`, and then, if asked to, as
        they come.
        """
        start = ago_ms(since_s) if start_ms is None else start_ms
        group = f"/aws/lambda/{name}"
        read = follow_log if follow else read_log
        async for event in read(self._transport, group, start_ms=start):
            yield event

    async def build_log(self, name: str) -> str:
        """Return the log of a function's last dependency build; empty where there was none."""
        return await build_log(self._transport, name)

    async def functions(self) -> list[Function]:
        """Return every function of the region, in the platform's order."""
        found: list[Function] = []
        marker: str | None = None
        while True:
            query = "" if marker is None else "?" + urlencode({"Marker": marker})
            page = (await self._transport.request("GET", FUNCTIONS + query)).json()
            found += [Function.from_api(item) for item in page.get("Functions", ())]
            following = page.get("NextMarker")
            if not following or following == marker:
                return found
            marker = following

    async def function(self, name: str, *, qualifier: str | None = None) -> Function:
        """Return one function.

        Raises:
            ResourceNotFound: there is none of this name.
        """
        query = "" if qualifier is None else "?" + urlencode({"Qualifier": qualifier})
        answer = await self._transport.request("GET", function_path(name) + "/configuration" + query)
        return Function.from_api(answer.json())

    async def delete(self, name: str) -> None:
        """Delete a function with all its versions.

        Raises:
            ResourceNotFound: there is none of this name.
        """
        await self._transport.request("DELETE", function_path(name))

    async def url(self, name: str, *, create: bool = False, stream: bool | None = None) -> str:
        """Return a function's URL; with `create` give it one, open to all, if it has none.

        With `stream` given, the URL passes on what the function streams (True) or waits for all of it (False).

        Raises:
            ResourceNotFound: no such function, or it has no URL and `create` is not set.
        """
        path = function_path(name, prefix=_URLS) + "/url"
        mode = {} if stream is None else {"InvokeMode": "RESPONSE_STREAM" if stream else "BUFFERED"}
        try:
            answer = await self._transport.request("GET", path)
        except ResourceNotFound:
            if not create:
                raise
            try:
                answer = await self._send_json("POST", path, {"AuthType": "NONE", **mode})
            except ResourceConflict:
                answer = await self._transport.request("GET", path)
        config = answer.json()
        if mode and config.get("InvokeMode") != mode["InvokeMode"]:
            await self._send_json("PUT", path, mode)
        return str(config["FunctionUrl"])

    async def _send_json(self, method: str, path: str, body: object) -> Response:
        headers = {"Content-Type": "application/json"}
        return await self._transport.request(method, path, headers=headers, body=json.dumps(body).encode())

    def path_url(self, name: str) -> str:
        """Return the URL of a function below the endpoint, for clients that cannot resolve `*.localhost`."""
        return f"{self.connection.endpoint}/fn/{quote(name, safe='')}/"

    async def delete_url(self, name: str) -> None:
        """Take a function's URL away.

        Raises:
            ResourceNotFound: it has none.
        """
        await self._transport.request("DELETE", function_path(name, prefix=_URLS) + "/url")

    async def environments(self) -> list[Environment]:
        """Return every execution environment that there is now, stems included."""
        answer = await self._transport.request("GET", "/_lambent/environments")
        return [Environment.from_api(item) for item in answer.json()]

    async def keep_alive(self, name: str) -> KeepAlive:
        """Return how long a function is kept while it is idle.

        Raises:
            ResourceNotFound: there is no such function.
        """
        answer = await self._transport.request("GET", f"/_lambent/keepalive/{quote(name, safe='')}")
        return KeepAlive.from_api(answer.json())

    async def runtimes(self) -> dict[str, str]:
        """Return what the platform can run: runtime name → "ready", "buildable", or what is missing."""
        answer = await self._transport.request("GET", "/_lambent/runtimes")
        return {str(name): str(state) for name, state in answer.json().items()}


def _invoke_path(name: str, qualifier: str | None) -> str:
    query = "" if qualifier is None else "?" + urlencode({"Qualifier": qualifier})
    return function_path(name) + "/invocations" + query
