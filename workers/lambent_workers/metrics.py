"""What a worker counts, in Prometheus's text format.

Functions are no labels: there may be tens of thousands. What is counted for each call costs about a microsecond.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lambent_platform.contracts.environment import EnvironmentRecord, EnvironmentState
from lambent_platform.store.invocations import Work
from lambent_workers.endings import Ending

Origin = Literal["stem", "fresh"]
Phase = Literal["walls", "code", "init"]
START_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WAIT_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LIVE: Final = tuple(state for state in EnvironmentState if state is not EnvironmentState.GONE)


class WorkerMetrics:
    """The counts of one worker."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._environments = Gauge(
            "lambent_worker_environments", "Environments of functions, by state.", ["state"], registry=registry
        )
        self._stems = Gauge("lambent_worker_stems", "Stems, which are no function's.", ["runtime"], registry=registry)
        self._cold_starts = Counter(
            "lambent_worker_cold_starts",
            "Environments begun, by whether their sandbox was a stem or made for them.",
            ["origin"],
            registry=registry,
        )
        self._phases = Histogram(
            "lambent_worker_cold_start_seconds",
            "How long the phases of a cold start took: the sandbox, the code put in it, the handler loaded.",
            ["phase", "origin"],
            buckets=START_BUCKETS_S,
            registry=registry,
        )
        invocations = Counter(
            "lambent_worker_invocations", "Invocations that ended here, by how.", ["outcome"], registry=registry
        )
        waits = Histogram(
            "lambent_worker_queue_wait_seconds",
            "From a gateway's placing of an invocation until it began, retries left out.",
            ["kind"],
            buckets=WAIT_BUCKETS_S,
            registry=registry,
        )
        dropped = Counter(
            "lambent_worker_log_lines_dropped", "Lines that functions printed over their rate.", registry=registry
        )
        # Looked up once: finding a labelled metric costs more than counting.
        self._endings = {ending: invocations.labels(ending.value) for ending in Ending}
        self._waits = {kind: waits.labels(kind) for kind in ("sync", "event")}
        self._origins = {origin: self._cold_starts.labels(origin) for origin in ("stem", "fresh")}
        self._dropped, self._dropped_seen = dropped, 0

    def began(self, work: Work) -> None:
        """Measure how long a call waited for its beginning, by the clocks of its gateway and this machine."""
        placed_at_ms = work.invocation.placed_at_ms
        if placed_at_ms and work.invocation.attempt == 1:
            self._waits[work.invocation.kind].observe(max(0.0, time.time() - placed_at_ms / 1000))

    def ended(self, ending: Ending) -> None:
        """Count the end of a call."""
        self._endings[ending].inc()

    def cold_start(self, origin: Origin) -> None:
        """Count a cold start whose sandbox and code are in place."""
        self._origins[origin].inc()

    def phase(self, phase: Phase, origin: Origin, seconds: float) -> None:
        """Measure one phase of a cold start."""
        self._phases.labels(phase, origin).observe(seconds)

    def exposition(
        self, environments: Iterable[EnvironmentRecord], stems: Iterable[EnvironmentRecord], *, log_lines_dropped: int
    ) -> str:
        """Write all of it, with what there is of environments and stems now."""
        states = Tally(record.state for record in environments)
        for state in _LIVE:
            self._environments.labels(state.value).set(states[state])
        self._stems.clear()
        for runtime, count in Tally(record.runtime for record in stems).items():
            self._stems.labels(runtime).set(count)
        self._dropped.inc(log_lines_dropped - self._dropped_seen)
        self._dropped_seen = log_lines_dropped
        return generate_latest(self._registry).decode()
