"""The two clocks of the platform, kept apart.

Event time decides about delays, ages and schedules, and may be moved by tests and users. Liveness time decides about
leases, heartbeats and deadlines, and is never moved.
"""

from __future__ import annotations

import time
from typing import Protocol


class EventClock(Protocol):
    """Event time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, in event time."""


class EventTimer(EventClock, Protocol):
    """Event time that can be waited for."""

    async def sleep_until(self, due_ms: int) -> None:
        """Wait until event time has reached `due_ms`, however it gets there; callers put their own deadline on it."""


class SystemClock:
    """Event time that is the machine's own."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000
