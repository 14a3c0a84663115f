"""Wiring of the scheduler role."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys

import click

from lambent_platform.contracts import limits
from lambent_platform.contracts.clock import SystemClock
from lambent_platform.main.options import LOGGING, STORES, with_settings
from lambent_platform.main.role import run_role
from lambent_platform.main.settings import Settings
from lambent_platform.main.stores import open_store
from lambent_platform.scheduler.capacity import CapacityLoop
from lambent_platform.scheduler.events import EventLoop
from lambent_platform.scheduler.fleet import FleetLoop
from lambent_platform.scheduler.scheduler import run_scheduler
from lambent_platform.store.demand import DemandStore
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import InvocationStore


@click.command()
@with_settings(*STORES, "durability", "async_retry_delays_s", "worker_lease_s", *LOGGING)
def scheduler(settings: Settings) -> None:
    """Run a scheduler alone. Of several one is active; the others stand by."""
    sys.exit(run_role("scheduler", settings, run))


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run the scheduler's loops, or stand by for them, until `stop`."""
    async with open_store(settings) as redis:
        clock = SystemClock()
        fleet, demand = FleetStore(redis), DemandStore(redis)
        invocations = InvocationStore(redis, wait_for_disk=settings.durability == "always")
        functions = FunctionStore(redis)
        work = asyncio.ensure_future(
            run_scheduler(
                fleet,
                f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
                capacity=CapacityLoop(
                    redis, demand, fleet, invocations, functions, account_concurrency=limits.ACCOUNT_CONCURRENCY
                ),
                events=EventLoop(demand, invocations, functions, clock),
                fleet=FleetLoop(
                    redis,
                    fleet,
                    clock,
                    worker_lease_ms=int(settings.worker_lease_s * 1000),
                    retry_delays_s=settings.async_retry_delays_s,
                ),
            )
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (work, stopping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
