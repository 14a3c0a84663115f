"""`/metrics`: what this gateway counts, and the newest snapshots of the roles that serve no HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from lambent_platform.contracts.errors import ApiError, TooManyRequests
from lambent_platform.dispatch.metrics import MeasuredCall

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class GatewayMetrics:
    """What one gateway counts. Functions are no labels here: there may be tens of thousands."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._outcomes: dict[tuple[str, str], Counter] = {}
        self.invocations = Counter(
            "lambent_gateway_invocations",
            "Invocations that a gateway took, by kind and by what became of them.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.throttles = Counter(
            "lambent_gateway_throttles", "Invocations refused with 429, by reason.", ["reason"], registry=self.registry
        )
        self.latency = Histogram(
            "lambent_gateway_invocation_seconds",
            "From the request's last byte to the reply, for synchronous invocations.",
            registry=self.registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.in_flight = Gauge(
            "lambent_gateway_in_flight", "Invocations that wait for their reply.", registry=self.registry
        )
        self.connections = Gauge(
            "lambent_gateway_websocket_connections", "Clients of WebSocket APIs.", registry=self.registry
        )

    @contextmanager
    def measured(self, kind: Literal["sync", "event"]) -> Iterator[MeasuredCall]:
        """Count one invocation by what the block ends with; without an `outcome` set it is an error of the platform."""
        call = MeasuredCall()
        began_s = time.perf_counter()
        try:
            yield call
        except TooManyRequests as error:
            call.outcome = "throttled"
            self.throttles.labels(error.extra.get("Reason", "")).inc()
            raise
        except ApiError as error:
            call.outcome = "refused" if error.status < 500 else "platform_error"
            raise
        finally:
            self._outcome(kind, call.outcome).inc()
            if kind == "sync":
                self.latency.observe(time.perf_counter() - began_s)

    def watch_in_flight(self, count: Callable[[], int]) -> None:
        """Show what `count` says as the calls in flight."""
        self.in_flight.set_function(count)

    def watch_connections(self, count: Callable[[], int]) -> None:
        """Show what `count` says as the connections held."""
        self.connections.set_function(count)

    def _outcome(self, kind: str, outcome: str) -> Counter:
        # Looking a labelled counter up costs more than counting, and this is on the path of every call.
        found = self._outcomes.get((kind, outcome))
        if found is None:
            found = self._outcomes[kind, outcome] = self.invocations.labels(kind, outcome)
        return found

    def exposition(self, snapshots: Mapping[str, str]) -> bytes:
        """Everything in Prometheus's text format; other roles' samples carry the label `instance_id`."""
        both = CollectorRegistry()
        both.register(_Families(list(self.registry.collect())))
        both.register(_Families(_merged(snapshots)))
        return generate_latest(both)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _merged(snapshots: Mapping[str, str]) -> list[Metric]:
    """One family for each name, with the samples of every instance."""
    families: dict[str, Metric] = {}
    for instance, text in sorted(snapshots.items()):
        for family in _parsed(text):
            into = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                into.add_sample(sample.name, {**sample.labels, "instance_id": instance}, sample.value)
    return list(families.values())


def _parsed(text: str) -> Iterator[Metric]:
    yield from text_string_to_metric_families(text)
