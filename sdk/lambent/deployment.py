"""Deploying: pack, create or update, wait until it can run, and tell how far it is."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

from lambent.errors import ApiError, DeployFailed, ResourceConflict, ResourceNotFound
from lambent.package import Package, pack
from lambent.records import Function
from lambent.spec import FunctionSpec
from lambent.transport import Transport
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT

FUNCTIONS: Final = "/2015-03-31/functions"
DEPLOY_TIMEOUT_S: Final = 900.0
"""A first deployment may build a runtime's image and install dependencies."""
UPLOAD_TIMEOUT_S: Final = 600.0
_POLL_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Pauses between questions for the state; the last one is repeated."""
_ROLE: Final = f"arn:aws:iam::{DEFAULT_ACCOUNT}:role/lambent"
"""Lambda's API insists on a role; the platform has nothing that it could allow."""

Phase = Literal["packed", "uploading", "preparing", "log", "unchanged", "active"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a deployment. Which fields count depends on `phase`:

    `packed`: `files`, `total` (bytes of the zip). `uploading`: `done` and `total`, in bytes. `preparing`: `text` says
    what the platform is at. `log`: `text` is one line of the build log. `unchanged`: nothing had to be done.
    `active`: it can be called.
    """

    phase: Phase
    text: str = ""
    done: int = 0
    total: int = 0
    files: int = 0


OnProgress = Callable[[Progress], None]


def function_path(name: str, *, prefix: str = FUNCTIONS) -> str:
    """Return the API's path of a function, which may be named by its ARN."""
    return f"{prefix}/{quote(name, safe='')}"


async def build_log(transport: Transport, name: str) -> str:
    """Return the log of the last dependency build; empty where there was none."""
    try:
        answer = await transport.request("GET", f"/_lambent/functions/{quote(name, safe='')}/build-log")
    except ApiError:
        return ""
    return answer.body.decode(errors="replace")


class FunctionWatch:
    """Waits for what the platform does with one function, and tells of it."""

    def __init__(self, transport: Transport, name: str, on_progress: OnProgress, *, timeout_s: float) -> None:
        self._transport = transport
        self._name = name
        self._tell = on_progress
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._log_lines = 0

    async def get(self) -> Function:
        """Return the function as it is now.

        Raises:
            ResourceNotFound: there is none.
        """
        answer = await self._transport.request("GET", function_path(self._name) + "/configuration")
        return Function.from_api(answer.json())

    async def settle(self, function: Function) -> Function:
        """Wait until the platform has done what was asked before.

        Raises:
            DeployFailed: the deadline passed.
        """
        polls = 0
        while function.busy:
            reason = function.state_reason if function.state == "Pending" else function.update_reason
            self._tell(Progress("preparing", text=reason))
            pause = _POLL_S[min(polls, len(_POLL_S) - 1)]
            polls += 1
            if time.monotonic() + pause > self._deadline:
                raise DeployFailed(
                    f"{self._name} was not ready within {self._timeout_s:g} s: {reason or function.state}",
                    build_log=await build_log(self._transport, self._name),
                )
            await asyncio.sleep(pause)
            if polls > len(_POLL_S):
                await self._tell_log()
            function = await self.get()
        return function

    async def finish(self) -> Function:
        """Wait as `settle` does.

        Raises:
            DeployFailed: the deadline passed, or the platform cannot run the function.
        """
        function = await self.settle(await self.get())
        if function.failure is not None:
            reason, code = function.failure
            raise DeployFailed(
                reason or "the platform gave no reason",
                code=code,
                build_log=await build_log(self._transport, self._name),
            )
        return function

    async def _tell_log(self) -> None:
        """Pass on what the build log has got since the last time."""
        lines = (await build_log(self._transport, self._name)).splitlines()
        for line in lines[self._log_lines :]:
            self._tell(Progress("log", text=line))
        self._log_lines = len(lines)


class Deployment:
    """One deployment of one function. Make a new one for the next."""

    def __init__(
        self, transport: Transport, spec: FunctionSpec, on_progress: OnProgress, *, timeout_s: float = DEPLOY_TIMEOUT_S
    ) -> None:
        self._transport = transport
        self._spec = spec
        self._tell = on_progress
        self._watch = FunctionWatch(transport, spec.name, on_progress, timeout_s=timeout_s)

    async def run(self) -> Function:
        """Create the function, or change what differs, and wait until it is Active.

        Raises:
            ApiError: the platform refused it.
            DeployFailed: it accepted it and cannot run it, or was not done in time.
            PackageError: the folder cannot be packed.
            EndpointUnreachable: nothing answers there.
        """
        package = await asyncio.to_thread(pack, self._spec.folder)
        self._tell(Progress("packed", files=package.files, total=len(package.content)))
        try:
            current = await self._watch.get()
        except ResourceNotFound:
            try:
                await self._create(package)
            except ResourceConflict:
                current = await self._watch.settle(await self._watch.get())
                return await self._update(current, package)
            return await self._finish()
        return await self._update(await self._watch.settle(current), package)

    async def _update(self, current: Function, package: Package) -> Function:
        new_code = current.code_sha256 != package.sha256 or current.failure is not None
        new_configuration = self._differs(current)
        if not new_code and not new_configuration:
            self._tell(Progress("unchanged"))
            return current
        if new_configuration:
            await self._send("PUT", "/configuration", self._spec.configuration())
            if new_code:
                # The old code may not suit the new configuration; only what both give together is judged.
                await self._watch.settle(await self._watch.get())
        if new_code:
            await self._send("PUT", "/code", {"ZipFile": _base64(package)}, upload=True)
        return await self._finish()

    def _differs(self, current: Function) -> bool:
        spec = self._spec
        wanted = (
            spec.runtime, spec.handler, spec.description, spec.memory_mb, spec.timeout_s, spec.ephemeral_mb,
            dict(spec.environment),
        )  # fmt: skip
        return wanted != (
            current.runtime, current.handler, current.description, current.memory_mb, current.timeout_s,
            current.ephemeral_mb, dict(current.environment),
        )  # fmt: skip

    async def _create(self, package: Package) -> None:
        body = {
            "FunctionName": self._spec.name,
            "Role": _ROLE,
            "Code": {"ZipFile": _base64(package)},
            **self._spec.configuration(),
        }
        await self._upload("POST", FUNCTIONS, body)

    async def _send(self, method: str, suffix: str, body: dict[str, Any], *, upload: bool = False) -> None:
        path = function_path(self._spec.name) + suffix
        if upload:
            await self._upload(method, path, body)
        else:
            await self._transport.request(
                method, path, headers={"Content-Type": "application/json"}, body=json.dumps(body).encode()
            )

    async def _upload(self, method: str, path: str, body: dict[str, Any]) -> None:
        def report(done: int, total: int) -> None:
            self._tell(Progress("uploading", done=done, total=total))

        await self._transport.request(
            method,
            path,
            headers={"Content-Type": "application/json"},
            body=json.dumps(body).encode(),
            timeout_s=UPLOAD_TIMEOUT_S,
            on_progress=report,
        )

    async def _finish(self) -> Function:
        function = await self._watch.finish()
        self._tell(Progress("active"))
        return function


def _base64(package: Package) -> str:
    return base64.b64encode(package.content).decode()
