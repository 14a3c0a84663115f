"""What the scheduler's pollers count, for every gateway's `/metrics`. Neither functions nor mappings are labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lambent_platform.contracts.errors import ApiError, TooManyRequests
from lambent_platform.dispatch.metrics import MeasuredCall

CALL_BUCKETS_S: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class PollerMetrics:
    """Implements `CallMetrics` for the pollers' own dispatcher, and counts their batches and records."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._calls = Counter(
            "lambent_poller_invocations",
            "Functions called with batches, by what became of the call.",
            ["outcome"],
            registry=registry,
        )
        self._call_s = Histogram(
            "lambent_poller_invocation_seconds",
            "From a batch's placement to its function's answer.",
            registry=registry,
            buckets=CALL_BUCKETS_S,
        )
        self._in_flight = Gauge(
            "lambent_poller_in_flight", "Batches that wait for their function's answer.", registry=registry
        )
        self._polling = Gauge("lambent_poller_mappings", "Event source mappings that are polled.", registry=registry)
        self._batches = Counter(
            "lambent_poller_batches",
            "Batches by kind of source and outcome: ok, partial, failed, given_up, stopped (in a loop).",
            ["source", "outcome"],
            registry=registry,
        )
        self._records = Counter(
            "lambent_poller_records",
            "Records by kind of source and outcome: processed, failed, filtered.",
            ["source", "outcome"],
            registry=registry,
        )

    @contextmanager
    def measured(self, kind: Literal["sync", "event"]) -> Iterator[MeasuredCall]:
        """Count one call by what the block ends with; without an `outcome` set it is an error of the platform."""
        call = MeasuredCall()
        began_s = time.perf_counter()
        try:
            yield call
        except TooManyRequests:
            call.outcome = "throttled"
            raise
        except ApiError as error:
            call.outcome = "refused" if error.status < 500 else "platform_error"
            raise
        finally:
            self._calls.labels(call.outcome).inc()
            self._call_s.observe(time.perf_counter() - began_s)

    def watch_in_flight(self, count: Callable[[], int]) -> None:
        """Show what `count` says as the calls in flight."""
        self._in_flight.set_function(count)

    def watch_polling(self, count: Callable[[], int]) -> None:
        """Show what `count` says as the mappings that are polled."""
        self._polling.set_function(count)

    def batch(self, source: str, outcome: str, *, processed: int = 0, failed: int = 0) -> None:
        """Count one batch that has ended, and its records."""
        self._batches.labels(source, outcome).inc()
        if processed:
            self._records.labels(source, "processed").inc(processed)
        if failed:
            self._records.labels(source, "failed").inc(failed)

    def filtered(self, source: str, count: int) -> None:
        """Count records that no filter let pass."""
        self._records.labels(source, "filtered").inc(count)

    def text(self) -> str:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry).decode()
