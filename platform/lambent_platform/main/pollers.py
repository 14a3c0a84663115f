"""Wiring of the scheduler's pollers."""

from __future__ import annotations

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.dispatch.dispatcher import Dispatcher
from lambent_platform.main.settings import Settings
from lambent_platform.scheduler.delivery import Deliverer
from lambent_platform.scheduler.pollers.metrics import PollerMetrics
from lambent_platform.scheduler.pollers.port import PollerKind
from lambent_platform.scheduler.pollers.queue_call import QueueCalls
from lambent_platform.scheduler.pollers.queue_poller import QueuePoller
from lambent_platform.scheduler.pollers.role import Pollers
from lambent_platform.scheduler.pollers.stream import StreamPoller
from lambent_platform.scheduler.pollers.stream_lane import LaneParts
from lambent_platform.scheduler.pollers.supervisor import MappingSupervisor
from lambent_platform.store.arrivals import Arrivals
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.invocations import InvocationStore
from lambent_platform.store.mappings import MappingStore
from lambent_platform.store.metrics import MetricsStore
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import RedisStore
from lambent_platform.store.streams import StreamNotes, StreamStore


def make_pollers(
    settings: Settings, redis: RedisStore, timer: EventTimer, deliverer: Deliverer, *, holder: str
) -> Pollers:
    """Make what polls queues and streams while this scheduler leads."""
    metrics, arrivals = PollerMetrics(), Arrivals(redis, f"pollers-{holder}")
    queues = QueueStore(redis, wait_for_disk=settings.durability == "always")
    dispatcher = Dispatcher(
        redis,
        InvocationStore(redis),
        FleetStore(redis),
        FunctionStore(redis),
        timer,
        gateway_id=f"pollers-{holder}",
        capacity_wait_s=settings.capacity_wait_s,
        metrics=metrics,
    )
    calls = QueueCalls(queues, dispatcher, timer, metrics)
    streams, mappings = StreamStore(settings.of_streams_redis()), MappingStore(redis)
    parts = LaneParts(dispatcher, deliverer, timer, metrics)
    kinds: dict[str, PollerKind] = {
        "sqs": QueuePoller(calls, arrivals, timer),
        "redis-streams": StreamPoller(streams, StreamNotes(redis), mappings, FunctionStore(redis), parts),
    }
    supervisor = MappingSupervisor(mappings, kinds)
    return Pollers(holder, supervisor, dispatcher, arrivals, metrics, MetricsStore(redis), streams)
