"""A sandbox with what belongs to it: the spec that it was made for and its side of the Runtime API."""

from __future__ import annotations

import asyncio
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.limits import EPHEMERAL_MB_MIN, MEMORY_MB_MIN
from lambent_platform.contracts.runtimes import Runtime
from lambent_platform.core.keepalive import NODE_STEM_MEMORY_MB
from lambent_workers.drivers.port import Driver, Sandbox, SandboxSpec
from lambent_workers.runtime_api import RuntimeApi
from lambent_workers.variables import Place, base_variables, process_variables

BOOTSTRAP: Final = "/var/task/bootstrap"
"""What both drivers run of a package that brings its own runtime."""

WRAPPER: Final = "AWS_LAMBDA_EXEC_WRAPPER"
"""Lambda's variable for a script that starts the runtime, and may set more variables."""


@dataclass(frozen=True, slots=True)
class Walls:
    """One sandbox. `native` says whether its runtime speaks frames."""

    id: str
    runtime: Runtime
    sandbox: Sandbox
    api: RuntimeApi
    task_dir: Path
    """On the host: what the sandbox shows at `task_root`."""
    native: bool

    @property
    def place(self) -> Place:
        """What the sandbox says of itself, for environment variables."""
        return Place(self.sandbox.task_root, self.sandbox.runtime_api_address, self.sandbox.endpoint_url)


class Builder:
    """Makes sandboxes through a driver."""

    def __init__(self, driver: Driver, folder: Path) -> None:
        self._driver = driver
        self._folder = folder
        self._native: dict[str, bool] = {}

    def is_native(self, runtime: Runtime) -> bool:
        """Whether our own bootstrap runs this runtime here."""
        if runtime.name not in self._native:
            self._native[runtime.name] = self._driver.is_native(runtime)
        return self._native[runtime.name]

    async def _make(self, runtime: Runtime, memory_mb: int, ephemeral_mb: int) -> Walls:
        sandbox_id, api = uuid.uuid4().hex, RuntimeApi()
        spec = SandboxSpec(
            environment_id=sandbox_id,
            runtime=runtime,
            memory_mb=memory_mb,
            ephemeral_mb=ephemeral_mb,
            host_dir=self._folder / sandbox_id[:12],
            runtime_api=api.connect,
            cpu_boost=True,
        )
        sandbox = await self._driver.start(spec)
        return Walls(sandbox_id, runtime, sandbox, api, spec.host_dir / "task", self.is_native(runtime))

    async def fresh(self, version: FunctionVersion, runtime: Runtime) -> Walls:
        """Make a sandbox in a version's own sizes, with nothing running in it.

        Raises:
            SandboxError: it could not be made; nothing is left of it.
        """
        return await self._make(runtime, version.memory_mb, version.ephemeral_mb)

    async def stem(self, runtime: Runtime) -> Walls:
        """Make a sandbox for no function yet; a native runtime's bootstrap waits in it.

        Raises:
            SandboxError: it could not be made; nothing is left of it.
        """
        walls = await self._make(runtime, MEMORY_MB_MIN, EPHEMERAL_MB_MIN)
        if not walls.native:
            return walls
        try:
            variables = process_variables(base_variables(runtime, walls.place), runtime, NODE_STEM_MEMORY_MB)
            await walls.sandbox.spawn(self._driver.bootstrap_argv(runtime, ""), variables, cwd="/")
        except BaseException:
            await asyncio.shield(walls.sandbox.close())
            raise
        return walls

    def entrypoint_flaw(self, walls: Walls) -> str:
        """Say, in Lambda's words, why a package's own `bootstrap` cannot be run; empty where none is wanted. Blocks."""
        if self._driver.bootstrap_argv(walls.runtime, "")[0] != BOOTSTRAP:
            return ""
        try:
            mode = (walls.task_dir / "bootstrap").stat().st_mode
        except OSError:
            mode = 0
        if not stat.S_ISREG(mode):
            return f"Couldn't find valid bootstrap(s): [{BOOTSTRAP} /opt/bootstrap]"
        return "" if mode & 0o111 else f"fork/exec {BOOTSTRAP}: permission denied"

    async def spawn(self, walls: Walls, version: FunctionVersion, variables: Mapping[str, str]) -> None:
        """Start the runtime's process for a version, by the function's own wrapper script where it names one.

        Raises:
            SandboxError: it could not be started.
        """
        argv = list(self._driver.bootstrap_argv(walls.runtime, version.handler))
        if wrapper := version.environment.get(WRAPPER):
            argv.insert(0, wrapper)
        started_with = process_variables(variables, walls.runtime, version.memory_mb)
        await walls.sandbox.spawn(argv, started_with, cwd=walls.sandbox.task_root)
