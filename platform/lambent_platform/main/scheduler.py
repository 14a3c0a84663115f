"""Wiring of the scheduler role."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Callable

import click

from lambent_platform.contracts import limits
from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.core.images import ImagePlans
from lambent_platform.main.clock import event_timer
from lambent_platform.main.options import LOGGING, STORES, with_settings
from lambent_platform.main.pollers import make_pollers
from lambent_platform.main.role import run_role
from lambent_platform.main.settings import Settings
from lambent_platform.main.stores import open_objects, open_store
from lambent_platform.scheduler.capacity import CapacityLoop
from lambent_platform.scheduler.connections import PAUSE_S as CONNECTIONS_PAUSE_S
from lambent_platform.scheduler.connections import ConnectionLoop
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.scheduler.events import EventLoop
from lambent_platform.scheduler.expected import PAUSE_S as EXPECTED_PAUSE_S
from lambent_platform.scheduler.expected import ExpectedLoop
from lambent_platform.scheduler.fleet import FleetLoop
from lambent_platform.scheduler.janitor import Janitor
from lambent_platform.scheduler.metrics import PAUSE_S as METRICS_PAUSE_S
from lambent_platform.scheduler.metrics import MetricsLoop
from lambent_platform.scheduler.outbox import OutboxLoop
from lambent_platform.scheduler.pollers.role import AGAIN_S as POLLERS_AGAIN_S
from lambent_platform.scheduler.preparation import PreparationLoop
from lambent_platform.scheduler.queues import EXPIRY_PAUSE_S, MOVES_PAUSE_S, QueueExpiryLoop, QueueMovesLoop
from lambent_platform.scheduler.schedule_counts import ScheduleCollector
from lambent_platform.scheduler.scheduler import Loop, run_scheduler
from lambent_platform.scheduler.schedules import ScheduleLoop
from lambent_platform.store.apis import ApiStore
from lambent_platform.store.clock import ClockStore
from lambent_platform.store.connections import ConnectionStore
from lambent_platform.store.demand import DemandStore
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.jobs import JobQueue, JobStore, open_queue
from lambent_platform.store.logs import LogStore
from lambent_platform.store.metrics import MetricsStore
from lambent_platform.store.outbox import OutboxStore
from lambent_platform.store.queue_moves import MoveTaskStore
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.schedules import GroupStore, ScheduleStore
from lambent_workers.images import runtimes_dir


@click.command()
@with_settings(
    *STORES,
    "durability",
    "capacity_wait_s",
    "streams_redis",
    "async_retry_delays_s",
    "worker_lease_s",
    "runtime_images",
    "log_retention_days",
    "janitor_pause_s",
    "alive_file",
    *LOGGING,
)
def scheduler(settings: Settings) -> None:
    """Run a scheduler alone. Of several one is active; the others stand by."""
    sys.exit(run_role("scheduler", settings, run))


async def run(settings: Settings, stop: asyncio.Event, *, on_queued: Callable[[], None] = lambda: None) -> None:
    """Run the scheduler's loops, or stand by for them, until `stop`; `on_queued` is told of every build ordered."""
    async with open_store(settings) as redis, event_timer(settings, redis, "scheduler") as clock:
        fleet, demand = FleetStore(redis), DemandStore(redis)
        invocations = InvocationStore(redis, wait_for_disk=settings.durability == "always")
        functions = FunctionStore(redis)
        queues = QueueStore(redis, wait_for_disk=settings.durability == "always")
        plans = ImagePlans(runtimes_dir(), settings.runtime_images)
        jobs, objects = JobStore(redis), open_objects(settings)
        preparation = PreparationLoop(
            functions,
            fleet,
            jobs,
            JobQueue(open_queue(settings.of_jobs_redis())),
            objects,
            image_tag=lambda runtime: plans.plan(runtime).tag,
            on_queued=on_queued,
        )
        janitor = Janitor(
            redis,
            functions,
            jobs,
            objects,
            LogStore(redis, objects, retention_days=settings.log_retention_days),
            SystemClock(),
            image_tag=lambda runtime: plans.plan(runtime).tag,
        )
        deliverer = Deliverer(invocations, functions, queues, clock)
        schedules = ScheduleLoop(ScheduleStore(redis), GroupStore(redis), ClockStore(redis), deliverer, clock)
        connections = ConnectionLoop(ConnectionStore(redis), ApiStore(redis), deliverer, clock)
        holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        capacity = CapacityLoop(
            redis, demand, fleet, invocations, functions, clock, account_concurrency=limits.ACCOUNT_CONCURRENCY
        )
        pollers = make_pollers(settings, redis, clock, deliverer, holder=holder)
        metrics = MetricsLoop(
            holder, MetricsStore(redis), demand, fleet, capacity, collectors=[ScheduleCollector(schedules.counts)]
        )
        work = asyncio.ensure_future(
            run_scheduler(
                fleet,
                holder,
                capacity=capacity,
                events=EventLoop(demand, clock),
                fleet=FleetLoop(
                    redis,
                    fleet,
                    clock,
                    worker_lease_ms=int(settings.worker_lease_s * 1000),
                    retry_delays_s=settings.async_retry_delays_s,
                ),
                others=[
                    Loop("queue moves", QueueMovesLoop(MoveTaskStore(redis, queues), clock).step, MOVES_PAUSE_S),
                    Loop("queue expiry", QueueExpiryLoop(queues, clock).step, EXPIRY_PAUSE_S),
                    Loop("outbox", OutboxLoop(OutboxStore(redis), deliverer, clock).step, 0.0),
                    Loop("pollers", pollers.step, POLLERS_AGAIN_S),
                    Loop("connections", connections.step, CONNECTIONS_PAUSE_S),
                    Loop("schedules", schedules.step, 0.0),
                    Loop("expected", ExpectedLoop(redis, fleet, functions).step, EXPECTED_PAUSE_S),
                    Loop("preparation", preparation.step, 0.0),
                    Loop("janitor", janitor.step, settings.janitor_pause_s),
                    Loop("metrics", metrics.step, METRICS_PAUSE_S),
                ],
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
            with contextlib.suppress(StoreUnavailable):
                await metrics.withdraw()
