"""Event time that can be waited for."""

from __future__ import annotations

import asyncio
from typing import Final

from lambent_platform.contracts.clock import SystemClock

SLICE_S: Final = 60.0
"""Longest single sleep: the machine's clock may be set while it lasts."""


class SystemTimer(SystemClock):
    """Event time that is the machine's own."""

    async def sleep_until(self, due_ms: int) -> None:
        """Wait until event time has reached `due_ms`."""
        while (left_ms := due_ms - self.now_ms()) > 0:  # noqa: ASYNC110 - what is waited for is a time, not an event
            await asyncio.sleep(min(left_ms / 1000, SLICE_S))
