"""Wiring of the gateway role."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from typing import Any, Final

import click
import structlog

from lambent_platform.core.images import ImagePlans
from lambent_platform.dispatch.dispatcher import Dispatcher
from lambent_platform.gateway.app import Route, exactly, listening, make_app
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.build_log import BuildLogs
from lambent_platform.gateway.clock_page import ClockPage
from lambent_platform.gateway.dead_events import DeadEvents
from lambent_platform.gateway.front.invoke import HotInvoke
from lambent_platform.gateway.front.queues import HotQueues
from lambent_platform.gateway.function_urls import FunctionUrls
from lambent_platform.gateway.keepalive_page import KeepAlivePage
from lambent_platform.gateway.lambda_api import LAMBDA_OPERATIONS, LambdaServices, serve_lambda
from lambent_platform.gateway.lambda_api.code_download import CodeDownload
from lambent_platform.gateway.lambda_api.invoke import InvokeOperation
from lambent_platform.gateway.lambda_api.invoke_stream import InvokeStreamOperation
from lambent_platform.gateway.lambda_api.mapping_sources import QueueCheck, StreamCheck
from lambent_platform.gateway.logs_api import LogOperations
from lambent_platform.gateway.metrics import GatewayMetrics
from lambent_platform.gateway.next_ticks import NextTicks
from lambent_platform.gateway.pages import Pages
from lambent_platform.gateway.queue_api import QUEUE_OPERATIONS
from lambent_platform.gateway.queue_api.service import QueueService
from lambent_platform.gateway.rules_api import RULE_OPERATIONS, RuleAccess, serve_rules
from lambent_platform.gateway.scheduler_api import SCHEDULER_OPERATIONS, ScheduleServices, serve_scheduler
from lambent_platform.gateway.stacks import StackPages
from lambent_platform.gateway.sts import TokenOperations
from lambent_platform.main import apis, keeping
from lambent_platform.main.clock import event_timer
from lambent_platform.main.options import LOGGING, STORES, with_settings
from lambent_platform.main.role import CannotStart, run_role
from lambent_platform.main.settings import Settings
from lambent_platform.main.stores import open_objects, open_store
from lambent_platform.store.clock import ClockStore
from lambent_platform.store.dead_events import DeadEventStore
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.logs import LogStore
from lambent_platform.store.mappings import MappingStore
from lambent_platform.store.metrics import MetricsStore
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.schedules import GroupStore, ScheduleStore
from lambent_platform.store.stacks import StackStore
from lambent_workers.images import runtimes_dir

_SETTINGS: Final = (
    "host",
    "port",
    "unsafe",
    "account",
    "region",
    "durability",
    "capacity_wait_s",
    "log_retention_days",
    "drain_s",
    "runtime_images",
    "alive_file",
    *keeping.FUNCTIONS,
    *apis.SETTINGS,
)
SERVED: Final[Mapping[str, tuple[type, ...]]] = {
    "lambda": (InvokeOperation, InvokeStreamOperation, *LAMBDA_OPERATIONS),
    "logs": (LogOperations,),
    "sts": (TokenOperations,),
    "sqs": QUEUE_OPERATIONS,
    **apis.SERVED,
    "scheduler": SCHEDULER_OPERATIONS,
    "events": RULE_OPERATIONS,
}
"""What serves the operations of each AWS service."""


@click.command()
@with_settings(*_SETTINGS, *STORES, *LOGGING)
@click.option("--listen-fd", type=int, hidden=True, help="A socket that listens already.")
def gateway(settings: Settings, listen_fd: int | None) -> None:
    """Run a gateway alone: all HTTP. Any number of them may share one Redis."""
    sys.exit(run_role("gateway", settings, functools.partial(run, listen_fd=listen_fd)))


async def run(settings: Settings, stop: asyncio.Event, *, listen_fd: int | None = None) -> None:
    """Serve until `stop`, then let running calls end."""
    async with open_store(settings) as redis, event_timer(settings, redis, "gateway") as clock:
        fleet, functions = FleetStore(redis), FunctionStore(redis)
        metrics = GatewayMetrics()
        gateway_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        dispatcher = Dispatcher(
            redis,
            InvocationStore(redis, wait_for_disk=settings.durability == "always"),
            fleet,
            functions,
            clock,
            gateway_id=gateway_id,
            capacity_wait_s=settings.capacity_wait_s,
            metrics=metrics,
        )
        clock_page = ClockPage(ClockStore(redis), clock)
        pages = Pages(redis, fleet, MetricsStore(redis), metrics)
        objects = open_objects(settings)
        registry = Registry()
        queues = QueueStore(redis, wait_for_disk=settings.durability == "always")
        services = LambdaServices(
            functions=functions,
            objects=objects,
            mappings=MappingStore(redis),
            queues=queues,
            clock=clock,
            mapping_checks={"sqs": QueueCheck(queues), "redis-streams": StreamCheck(queues, functions)},
        )
        invoke, catalog = InvokeOperation(dispatcher), ServiceCatalog()
        registry.serve("lambda", invoke)
        registry.serve("lambda", InvokeStreamOperation(dispatcher))
        serve_lambda(registry, services)
        logs = LogStore(
            redis,
            objects,
            account=settings.account,
            region=settings.region,
            retention_days=settings.log_retention_days,
        )
        registry.serve("logs", LogOperations(logs))
        registry.serve("sts", TokenOperations())
        schedules = ScheduleServices(schedules=ScheduleStore(redis), groups=GroupStore(redis), clock=clock)
        serve_scheduler(registry, schedules)
        serve_rules(registry, RuleAccess(schedules=schedules.schedules, clock=clock))
        queue_service = QueueService(redis, queues, clock, process=gateway_id, metrics=metrics.registry)
        queue_service.serve(registry)
        sites = apis.api_gateway(settings, redis, dispatcher, clock, registry, catalog)
        metrics.watch_connections(sites.hub.__len__)
        plans = ImagePlans(runtimes_dir(), settings.runtime_images)
        urls = FunctionUrls(functions, dispatcher, clock, account=settings.account, region=settings.region)
        builds = BuildLogs(
            functions,
            objects,
            image_tag=lambda runtime: plans.plan(runtime).tag,
            account=settings.account,
            region=settings.region,
        )
        dead = DeadEvents(
            DeadEventStore(redis, wait_for_disk=settings.durability == "always"),
            functions,
            clock,
            account=settings.account,
            region=settings.region,
        )
        app = make_app(
            registry,
            catalog=catalog,
            hosts=[urls.host_route(), sites.entrance.host_route()],
            routes=[
                *_routes(pages),
                clock_page.route(),
                CodeDownload(objects).route(),
                builds.route(),
                dead.route(),
                KeepAlivePage(
                    redis, functions, keeping.keep_alive(settings), account=settings.account, region=settings.region
                ).route(),
                NextTicks(schedules.schedules, account=settings.account, region=settings.region).route(),
                StackPages(StackStore(redis), account=settings.account, region=settings.region).route(),
                urls.path_route(),
                sites.entrance.path_route(),
            ],
            account=settings.account,
            region=settings.region,
        )
        sock = socket.socket(fileno=listen_fd) if listen_fd is not None else None
        hot = [
            HotInvoke(invoke, catalog, account=settings.account, region=settings.region).route(),
            *HotQueues(registry, catalog, account=settings.account, region=settings.region).routes(),
        ]
        async with dispatcher.running(), queue_service.running(), sites.hub.running():
            try:
                async with listening(
                    app, settings.host, settings.port, sock=sock, drain_s=settings.drain_s, hot=hot
                ) as port:
                    structlog.get_logger("gateway").info("listening", host=settings.host, port=port)
                    await stop.wait()
                    queue_service.polling.end()
                    await sites.hub.leave()
            except OSError as error:
                raise CannotStart(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error


def _routes(pages: Pages) -> list[Route]:
    own: Mapping[str, Any] = {
        "/healthz": pages.health,
        "/readyz": pages.ready,
        "/metrics": pages.metrics,
        "/_lambent/environments": pages.environments,
        "/_lambent/runtimes": pages.runtimes,
    }
    return [Route(exactly(path), handler) for path, handler in own.items()]
