"""What a dispatcher tells of its calls to whoever counts them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(slots=True)
class MeasuredCall:
    """What an invocation that is being measured ends with."""

    outcome: str = "platform_error"


class CallMetrics(Protocol):
    """Counts calls; the gateway's and the scheduler's differ in the names under which they show them."""

    def measured(self, kind: Literal["sync", "event"]) -> AbstractContextManager[MeasuredCall]:
        """Count one invocation by what the block ends with."""

    def watch_in_flight(self, count: Callable[[], int]) -> None:
        """Ask `count` for the calls that wait for their reply whenever that is shown."""
