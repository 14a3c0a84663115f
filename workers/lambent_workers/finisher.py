"""Ends calls on Redis in batches: what becomes ready while a batch is on its way goes with the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.invocations import InvocationStore, Next, Outcome, Work

_log = structlog.get_logger(__name__)
BATCH_MAX: Final = 128
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
_HOUR_MS: Final = 3_600_000
LANES: Final = 2
"""Batches under way at once: a call that ends while one is on its way need not wait for its return."""

Taken = Callable[[Outcome, Next], None]


class Finisher:
    """Collects outcomes and calls to be given back; nothing of them is given up while the worker lives."""

    def __init__(
        self,
        invocations: InvocationStore,
        worker_id: str,
        *,
        liveness_ms: Callable[[], int],
        taken: Taken,
    ) -> None:
        self._invocations = invocations
        self._worker_id = worker_id
        self._clock = SystemClock()  # hours are counted as they pass, wherever event time is
        self._liveness_ms = liveness_ms
        self._taken = taken
        self._outcomes: list[Outcome] = []
        self._returned: list[Work] = []
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._hour_number, self._hour_name = -1, ""
        self._under_way: dict[int, tuple[Sequence[Outcome], Sequence[Work]]] = {}
        """What each lane is writing."""

    def finish(self, outcome: Outcome) -> None:
        """End a call; `taken` hears what its environment does next."""
        self._outcomes.append(outcome)
        self._stir()

    def give_back(self, work: Work) -> None:
        """Put a call that no runtime has taken back in front of its queue."""
        self._returned.append(work)
        self._stir()

    def _stir(self) -> None:
        self._quiet.clear()
        self._wake.set()

    async def settled(self) -> None:
        """Wait until nothing is left to be written."""
        await self._quiet.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(LANES):
                group.create_task(self._lane(number))

    def in_hand(self) -> set[str]:
        """The ids of the calls whose ends are not written yet, or are being written."""
        batches = ((self._outcomes, self._returned), *self._under_way.values())
        ended = {one.invocation.id for outcomes, _ in batches for one in outcomes}
        return ended | {work.invocation.id for _, returned in batches for work in returned}

    async def _lane(self, number: int) -> None:
        while True:
            await self._wake.wait()
            outcomes, returned = self._take(), self._returned[:BATCH_MAX]
            del self._returned[: len(returned)]
            if not self._outcomes and not self._returned:
                self._wake.clear()
            if not (outcomes or returned):
                continue
            self._under_way[number] = (outcomes, returned)
            try:
                if outcomes:
                    for outcome, following in zip(outcomes, await self._write(outcomes), strict=True):
                        self._taken(outcome, following)
                if returned:
                    await self._replace(returned)
            finally:
                del self._under_way[number]
                if not (self._under_way or self._outcomes or self._returned):
                    self._quiet.set()

    def _take(self) -> list[Outcome]:
        """Take a batch of bounded size; at least one outcome, however large."""
        size = count = 0
        for outcome in self._outcomes[:BATCH_MAX]:
            size += len(outcome.reply.payload) if outcome.reply else 0
            if count and size > BATCH_BYTES_MAX:
                break
            count += 1
        taken = self._outcomes[:count]
        del self._outcomes[:count]
        return taken

    async def _write(self, outcomes: Sequence[Outcome]) -> list[Next]:
        attempt = 0
        while True:
            try:
                return await self._invocations.finish(
                    self._worker_id, outcomes, now_ms=self._liveness_ms(), hour=self._hour()
                )
            except StoreUnavailable as error:
                await _pause(attempt, error)
                attempt += 1

    async def _replace(self, works: Sequence[Work]) -> None:
        attempt = 0
        while True:
            try:
                await self._invocations.replace(self._worker_id, works)
                return
            except StoreUnavailable as error:
                await _pause(attempt, error)
                attempt += 1

    def _hour(self) -> str:
        """The metering bucket, in real time; the same for many batches in a row."""
        now_ms = self._clock.now_ms()
        if (number := now_ms // _HOUR_MS) != self._hour_number:
            self._hour_number = number
            self._hour_name = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H")
        return self._hour_name


async def _pause(attempt: int, error: StoreUnavailable) -> None:
    delay_s = BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]
    if attempt == 0 or delay_s == BACKOFF_S[-1]:
        _log.warning("ended calls wait for the store", error=str(error))
    await asyncio.sleep(delay_s)
