"""Wiring of the worker role."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import click
import structlog

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.core.images import ImagePlans
from lambent_platform.main import keeping
from lambent_platform.main.clock import event_timer
from lambent_platform.main.engine import chosen_sandbox
from lambent_platform.main.folders import WorkerFolder, make_private, worker_folder, write_atomically
from lambent_platform.main.options import LOGGING, STORES, with_settings
from lambent_platform.main.role import CannotStart, run_role
from lambent_platform.main.settings import Settings, is_loopback
from lambent_platform.main.stores import open_objects, open_store
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.habits import HabitStore
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.logs import LogStore
from lambent_platform.store.metrics import MetricsStore, published
from lambent_platform.store.redis import RedisStore
from lambent_platform.store.response_streams import ResponseStreamStore
from lambent_workers.code_cache import CodeCache
from lambent_workers.drivers.port import Driver, DriverInfo
from lambent_workers.images import runtimes_dir
from lambent_workers.logs import LogLimits, LogPump
from lambent_workers.settings import WorkerSettings
from lambent_workers.worker import Worker

LOOK_S: Final = 1.0
"""How soon a worker sees an image that a builder made for it."""
LOG_BURST_S: Final = 4
"""A function that printed nothing for a while may print this many seconds' worth at once."""
_PLACE: Final = ("pool", "worker_id", "capacity_mb", "capacity_overcommit", "public_url", "host", "port", "unsafe")
_WALLS: Final = ("sandbox", "docker_runtime", "runtime_images", "egress_allow", "hot_reload_roots")
_REST: Final = ("durability", "async_retry_delays_s", "log_retention_days", "log_rate_kb_s", "drain_s", "alive_file")


@click.command()
@with_settings(*_WALLS, *keeping.ALL, *_PLACE, *_REST, *STORES, *LOGGING)
def worker(settings: Settings) -> None:
    """Run this machine's worker alone. Host, port or --public-url say where the gateway is."""
    sys.exit(run_role("worker", settings, run))


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run the worker until `stop`, then let what runs end.

    Raises:
        CannotStart: the sandbox that was asked for cannot be had here.
    """
    with worker_folder(settings.data_dir) as folder:
        async with (
            open_store(settings) as redis,
            _open_driver(settings, folder) as (driver, info),
            _log_pump(settings, redis) as logs,
            event_timer(settings, redis, "worker") as clock,
        ):
            fleet, runtimes = FleetStore(redis), dict(info.runtimes)
            worker_id = await _succeed(folder, fleet, settings.worker_id or folder.worker_id)
            worker = Worker(
                WorkerSettings(
                    worker_id=worker_id,
                    pool=settings.pool,
                    capacity_mb=settings.of_capacity_mb(),
                    architecture="arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64",
                    environments_dir=folder.path / "env",
                    keepalive=keeping.keep_alive(settings),
                    start_parallelism=max(2, 2 * (os.cpu_count() or 1)),
                    drain_timeout_s=settings.drain_s,
                    retry_delays_s=settings.async_retry_delays_s,
                    hot_reload_roots=settings.hot_reload_roots,
                    private_folders=settings.of_private_folders(),
                ),
                invocations=InvocationStore(redis, wait_for_disk=settings.durability == "always"),
                streams=ResponseStreamStore(redis),
                fleet=fleet,
                habits=HabitStore(redis),
                driver=driver,
                driver_info=replace(info, runtimes=runtimes),
                code=CodeCache(open_objects(settings), folder.path / "cache"),
                logs=logs,
                clock=clock,
                liveness_ms=redis.now_ms,
            )
            watching = asyncio.create_task(_watch_images(driver, runtimes))
            running = asyncio.create_task(worker.run())
            stopping = asyncio.create_task(stop.wait())
            try:
                async with published(MetricsStore(redis), f"worker:{worker_id}", worker.exposition):
                    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    worker.stop()
                    await running
            finally:
                for task in (watching, running, stopping):
                    task.cancel()
                await asyncio.gather(watching, running, stopping, return_exceptions=True)


async def _succeed(folder: WorkerFolder, fleet: FleetStore, name: str) -> str:
    """Make an id for this run of the worker, and have what an earlier run held taken back at once.

    Each run has an id of its own: what its predecessor was sent is nothing that it could know of. That one has
    ended, since the folder's lock was free, so nobody needs to wait for its lease.
    """
    file = folder.path / "worker-id"
    with contextlib.suppress(FileNotFoundError):
        await fleet.presume_dead(file.read_text().strip())
    worker_id = f"{name}-{secrets.token_hex(2)}"
    write_atomically(file, worker_id)
    return worker_id


@asynccontextmanager
async def _open_driver(settings: Settings, folder: WorkerFolder) -> AsyncIterator[tuple[Driver, DriverInfo]]:
    log = structlog.get_logger("worker")
    driver = _driver(settings, folder)
    try:
        info = await driver.open()
    except SandboxError as error:
        raise CannotStart(f"no functions can run under --sandbox {driver.name}: {error}") from error
    try:
        if not info.isolated and not settings.unsafe and not is_loopback(settings.host):
            raise CannotStart("functions would not be isolated; listen on loopback alone, or say --unsafe")
        for warning in info.warnings:
            log.warning(warning)
        log.info("sandbox", driver=info.name, runtimes=dict(info.runtimes))
        # What an earlier run left of its environments: the driver has ended them by now.
        await asyncio.to_thread(shutil.rmtree, folder.path / "env", ignore_errors=True)
        make_private(folder.path / "env")
        yield driver, info
    finally:
        await driver.close()


def _driver(settings: Settings, folder: WorkerFolder) -> Driver:
    gateway = settings.of_public_url()
    # Imported where they are chosen: the other driver's library would cost a start a tenth of a second.
    if chosen_sandbox(settings) == "process":
        from lambent_workers.drivers.process.driver import ProcessDriver, ProcessSettings

        return ProcessDriver(
            ProcessSettings(platform_id=folder.label, endpoint_url=gateway, state_dir=folder.path / "process")
        )
    from lambent_workers.drivers.docker import DockerDriver, DockerSettings

    parts = urlsplit(gateway)
    return DockerDriver(
        DockerSettings(
            platform_id=folder.label,
            gateway_address=(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)),
            allowed_cidrs=settings.egress_allow,
            engine_runtime=settings.docker_runtime,
        ),
        ImagePlans(runtimes_dir(), settings.runtime_images),
    )


@asynccontextmanager
async def _log_pump(settings: Settings, redis: RedisStore) -> AsyncIterator[LogPump]:
    store = LogStore(
        redis,
        open_objects(settings),
        account=settings.account,
        region=settings.region,
        retention_days=settings.log_retention_days,
    )
    rate = settings.log_rate_kb_s * 1024
    limits = LogLimits(function_bytes_per_s=rate, function_burst_bytes=LOG_BURST_S * rate)
    async with LogPump(store, limits=limits) as pump:
        yield pump


async def _watch_images(driver: Driver, runtimes: dict[str, str]) -> None:
    """Notice images that a builder makes, so that the next heartbeat says that their runtimes are ready."""
    while "buildable" in runtimes.values():
        await asyncio.sleep(LOOK_S)
        with contextlib.suppress(SandboxError):
            runtimes.update(await driver.look())
