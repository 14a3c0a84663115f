"""What the scheduler sees of the whole platform, published for every gateway's `/metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from lambent_platform.scheduler.capacity import CapacityLoop
from lambent_platform.store.demand import DemandStore
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.metrics import PUBLISH_S, MetricsStore

PAUSE_S: Final = PUBLISH_S

log = structlog.get_logger("scheduler")


class MetricsLoop:
    """Measures queues and the fleet every few seconds; only the leader runs it, so nothing is counted twice."""

    def __init__(
        self,
        instance: str,
        store: MetricsStore,
        demand: DemandStore,
        fleet: FleetStore,
        capacity: CapacityLoop,
        *,
        collectors: Sequence[Collector] = (),
    ) -> None:
        """`collectors` are of other loops that count for themselves."""
        self._instance = f"scheduler:{instance}"
        self._store = store
        self._demand = demand
        self._fleet = fleet
        self._capacity = capacity
        self._registry = registry = CollectorRegistry()
        self._waiting = Gauge(
            "lambent_scheduler_waiting",
            "Invocations that wait for an environment, by kind.",
            ["kind"],
            registry=registry,
        )
        self._delayed = Gauge("lambent_scheduler_events_delayed", "Events that wait for a retry.", registry=registry)
        self._outbox = Gauge(
            "lambent_scheduler_outbox_destinations",
            "Destinations and dead-letter queues that are still to be told something.",
            registry=registry,
        )
        self._ended = _EventCounts()
        registry.register(self._ended)
        self._workers = Gauge(
            "lambent_scheduler_workers", "Registered workers, by whether they drain.", ["draining"], registry=registry
        )
        self._missing = Gauge(
            "lambent_scheduler_environments_wanted",
            "Environments that the last look found missing, beyond those on their way.",
            registry=registry,
        )
        self._ordered = Counter(
            "lambent_scheduler_environments_ordered", "Environments that workers were told to start.", registry=registry
        )
        self._ordered_seen = 0
        for collector in collectors:
            registry.register(collector)

    async def step(self) -> None:
        """Measure and publish once.

        Raises:
            StoreUnavailable: Redis is away.
        """
        waiting = await self._demand.waiting()
        self._waiting.labels("sync").set(sum(one.calls for one in waiting))
        self._waiting.labels("event").set(sum(one.events for one in waiting))
        delayed, outbox = await self._demand.backlog()
        self._delayed.set(delayed)
        self._outbox.set(outbox)
        counts = await self._demand.event_counts()
        dropped = counts.get("dead_dropped", 0) - self._ended.counts.get("dead_dropped", 0)
        if dropped and self._ended.counts:
            log.warning("dead events were dropped for want of room: redrive or purge them in time", events=dropped)
        self._ended.counts = counts
        workers = await self._fleet.workers()
        draining = sum(worker.draining for worker in workers)
        self._workers.labels("false").set(len(workers) - draining)
        self._workers.labels("true").set(draining)
        self._missing.set(self._capacity.wanted)
        self._ordered.inc(self._capacity.ordered - self._ordered_seen)
        self._ordered_seen = self._capacity.ordered
        await self._store.publish(self._instance, generate_latest(self._registry).decode())

    async def withdraw(self) -> None:
        """Publish nothing any more.

        Raises:
            StoreUnavailable: Redis is away; what was published is dropped when it is 30 s old.
        """
        await self._store.withdraw(self._instance)


class _EventCounts(Collector):
    """What was counted on Redis, by whichever process, since the data set began."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def collect(self) -> Iterable[Metric]:
        """Show them as counters."""
        ended = CounterMetricFamily(
            "lambent_events_ended",
            "Events that ended other than by a success, or were dealt with after that: dead (kept), dead_dropped (gone "
            "for want of room), purged, redriven, recursive (stopped in a loop).",
            labels=["what"],
        )
        deliveries = CounterMetricFamily(
            "lambent_events_deliveries",
            "Deliveries to destinations and dead-letter queues, by kind and whether the target took them.",
            labels=["kind", "outcome"],
        )
        for name, count in sorted(self.counts.items()):
            outcome, _, kind = name.partition("_")
            if outcome in ("delivered", "refused"):
                deliveries.add_metric([kind, outcome], count)
            else:
                ended.add_metric([name], count)
        yield ended
        yield deliveries
