"""Receiving, at once or by long polling: who waits is woken by what arrives, or when something is due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.contracts.queue_errors import OverLimit
from lambent_platform.contracts.queues import IN_FLIGHT_MAX, Message, QueueRecord
from lambent_platform.store.arrivals import Arrivals, Interest
from lambent_platform.store.queues import QueueStore

POLLS_MAX: Final = 10_000
LOOK_S: Final = 1.0
"""How often a poll that waits looks whether its client is still there."""


class Polling:
    """All long polls of one gateway."""

    def __init__(self, store: QueueStore, arrivals: Arrivals, timer: EventTimer) -> None:
        self._store = store
        self._arrivals = arrivals
        self._timer = timer
        self._ended = asyncio.Event()
        self._polls = 0

    def end(self) -> None:
        """Answer all polls with what they have, and later ones at once: the gateway is about to stop."""
        self._ended.set()

    async def receive(
        self,
        queue: QueueRecord,
        *,
        count: int,
        wait_s: int,
        visibility_s: int | None,
        attempt_id: str,
        gone: Callable[[], bool],
    ) -> list[Message]:
        """Receive messages, waiting up to `wait_s` for the first; `gone` says whether there is nobody to receive them.

        Raises:
            QueueDoesNotExist: it is gone, or goes while this waits.
            OverLimit: too many messages are in flight, and the caller does not wait.
        """

        async def look() -> tuple[list[Message], int | None]:
            received = await self._store.receive(
                queue,
                count=count,
                now_ms=self._timer.now_ms(),
                visibility_timeout_s=visibility_s,
                attempt_id=attempt_id,
            )
            # Source: SQS Developer Guide, "Message quotas": long polling returns no error, a FIFO queue neither.
            if received.over_limit and not wait_s and not queue.fifo:
                raise OverLimit(f"Too many messages in flight: more than {IN_FLIGHT_MAX}.")
            return received.messages, received.next_ms

        messages, _ = await look()
        if messages or not wait_s or self._polls >= POLLS_MAX:
            return messages
        self._polls += 1
        try:
            async with self._arrivals.interested(queue.ident) as interest:
                deadline_s = asyncio.get_running_loop().time() + wait_s
                while True:
                    messages, next_ms = await look()
                    if messages or not await self._wait(interest, next_ms, deadline_s, gone):
                        return messages
        finally:
            self._polls -= 1

    async def _wait(self, interest: Interest, next_ms: int | None, deadline_s: float, gone: Callable[[], bool]) -> bool:
        """Wait until there may be something; False where it is time to answer without."""
        loop = asyncio.get_running_loop()
        waits: set[asyncio.Task[Any]] = {loop.create_task(self._ended.wait())}
        if next_ms is not None:
            waits.add(loop.create_task(self._timer.sleep_until(next_ms)))
        arrival = loop.create_task(interest.wait(max(0.0, deadline_s - loop.time())))
        try:
            while (left_s := deadline_s - loop.time()) > 0 and not self._ended.is_set() and not gone():
                done, _ = await asyncio.wait(
                    {arrival, *waits}, timeout=min(left_s, LOOK_S), return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    break
            if arrival.done():
                return arrival.result() and not gone()
            return not self._ended.is_set() and not gone() and deadline_s > loop.time()
        finally:
            for task in (arrival, *waits):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(arrival, *waits, return_exceptions=True)
