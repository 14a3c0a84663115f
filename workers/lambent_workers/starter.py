"""Brings environments up: a stem or a fresh sandbox, the function's code in it, its runtime told to load it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.function import CodePackage, FunctionVersion
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.keepalive import stem_fits
from lambent_workers.code_cache import CodeCache, link_tree
from lambent_workers.environment import Environment
from lambent_workers.hot_folder import HotFolders
from lambent_workers.logs import EnvironmentLog, LogPump
from lambent_workers.metrics import WorkerMetrics
from lambent_workers.stems import StemPool
from lambent_workers.variables import function_variables, log_group, log_stream
from lambent_workers.walls import Builder, Walls

_log = structlog.get_logger(__name__)


class Starter:
    """Makes environments callable; bounds how many are brought up at once."""

    def __init__(
        self,
        builder: Builder,
        stems: StemPool,
        code: CodeCache,
        logs: LogPump,
        *,
        hot_folders: HotFolders,
        metrics: WorkerMetrics,
        parallel: int,
    ) -> None:
        self._builder = builder
        self._stems = stems
        self._code = code
        self._logs = logs
        self._hot_folders = hot_folders
        self._metrics = metrics
        self._gate = asyncio.Semaphore(parallel)

    def open_log(self, version: FunctionVersion, environment_id: str) -> EnvironmentLog:
        """Open the log stream of a new environment."""
        stream = log_stream(version, environment_id, datetime.now(UTC).strftime("%Y/%m/%d"))
        return self._logs.stream(log_group(version), stream, account=version.account, region=version.region)

    async def bring_up(self, environment: Environment) -> None:
        """Claim or make walls, fill them and begin init; the environment reports what follows by itself.

        Raises:
            SandboxError: it could not be brought up, through no fault of the function.
            StoreUnavailable: its code could not be fetched.
            FolderRefused: its folder, under hot reload, cannot be used.
        """
        async with self._gate:
            await self._bring_up(environment)

    async def _bring_up(self, environment: Environment) -> None:
        version = environment.version
        runtime = RUNTIMES.get(version.runtime)
        if runtime is None:
            raise SandboxError(f"this worker does not know the runtime {version.runtime}")
        began = time.monotonic()
        walls = self._stems.claim(version.runtime) if stem_fits(version) else None
        from_stem = walls is not None
        environment.origin = "stem" if from_stem else "fresh"
        if walls is not None:
            environment.hold(walls)  # its `close` ends them, whatever fails from here on
        async with self._source(version.code) as source:
            if walls is None:
                walls = await self._builder.fresh(version, runtime)
                environment.hold(walls)
            walled = time.monotonic()
            if from_stem:
                limits = walls.sandbox.configure(
                    memory_mb=version.memory_mb, ephemeral_mb=version.ephemeral_mb, cpu_boost=True
                )
                await asyncio.gather(limits, self._fill(environment, walls, source))
            else:
                await self._fill(environment, walls, source)
        stream = log_stream(version, environment.id, datetime.now(UTC).strftime("%Y/%m/%d"))
        variables = function_variables(version, runtime, walls.place, stream)
        filled = time.monotonic()
        self._metrics.cold_start(environment.origin)
        self._metrics.phase("walls", environment.origin, walled - began)
        self._metrics.phase("code", environment.origin, filled - walled)
        await environment.init(walls, self._builder, variables, spawned=from_stem and walls.native)
        _log.info(
            "environment started", function=version.name, environment=environment.id, container=walls.sandbox.label,
            stem=from_stem, walls_ms=round((walled - began) * 1000), code_ms=round((filled - walled) * 1000),
        )  # fmt: skip

    @asynccontextmanager
    async def _source(self, code: CodePackage) -> AsyncIterator[Path | None]:
        """Hold the unpacked package; None for a folder under hot reload."""
        if code.hot_reload_path:
            yield None
            return
        async with self._code.package(code.runnable_key or code.source_key) as folder:
            yield folder

    async def _fill(self, environment: Environment, walls: Walls, source: Path | None) -> None:
        try:
            if source is not None:
                await asyncio.to_thread(link_tree, source, walls.task_dir)
                return
            folder = Path(environment.version.code.hot_reload_path)
            # Summed up before it is copied: a change in between is seen at the next call.
            environment.fingerprint = await asyncio.to_thread(self._hot_folders.fingerprint, folder)
            await asyncio.to_thread(self._hot_folders.copy, folder, walls.task_dir)
        except OSError as error:
            raise SandboxError(f"the code could not be put in place: {error}") from error
