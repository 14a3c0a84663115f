"""What the loop of schedules counts, and how `/metrics` shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


@dataclass(slots=True)
class ScheduleCounts:
    """Counts of one process since its start."""

    ticked: int = 0
    """Ticks that became firings."""
    missed: int = 0
    """Times that missed ticks were taken together and the newest of them fired."""
    sent: int = 0
    """Firings that their target took."""
    dead: int = 0
    """Firings that were given up."""


class ScheduleCollector(Collector):
    """Shows the counts."""

    def __init__(self, counts: ScheduleCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """Show them as counters."""
        counts = self._counts
        yield CounterMetricFamily(
            "lambent_scheduler_ticks", "Ticks of schedules and rules that were fired.", value=counts.ticked
        )
        yield CounterMetricFamily(
            "lambent_scheduler_ticks_missed",
            "Times that ticks were missed, and only the newest of them was fired, late.",
            value=counts.missed,
        )
        firings = CounterMetricFamily(
            "lambent_scheduler_firings", "Firings that ended: sent, or dead (given up).", labels=["outcome"]
        )
        firings.add_metric(["sent"], counts.sent)
        firings.add_metric(["dead"], counts.dead)
        yield firings
