"""The scheduler's part of queues: messages on their way between queues, and what is too old in those nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.queue_moves import MoveTaskStore
from lambent_platform.store.queues import QueueStore

MOVES_PAUSE_S: Final = 0.2
IDLE_S: Final = 0.8
"""How much longer it is until the next look where nothing is under way."""
EXPIRY_PAUSE_S: Final = 5.0
QUEUES_PER_STEP: Final = 200
ROUNDS_PER_QUEUE: Final = 20

log = structlog.get_logger("scheduler")


class QueueMovesLoop:
    """Goes on with move tasks, and with dead letters whose mover was killed on the way."""

    def __init__(self, moves: MoveTaskStore, clock: EventClock) -> None:
        self._moves = moves
        self._clock = clock

    async def step(self) -> None:
        """A little more of everything that is under way; of one queue that cannot go on the others know nothing."""
        busy = await self._moves.busy()
        for ref in busy:
            with _alone(ref.ident):
                await self._moves.step(ref, now_ms=self._clock.now_ms())
        if not busy:
            await asyncio.sleep(IDLE_S)


class QueueExpiryLoop:
    """Drops messages past their retention, a bounded number in each step."""

    def __init__(self, store: QueueStore, clock: EventClock) -> None:
        self._store = store
        self._clock = clock
        self._after = ""

    async def step(self) -> None:
        """Go on with the next queues, and from the first again after the last."""
        idents = await self._store.idents(after=self._after, limit=QUEUES_PER_STEP)
        self._after = idents[-1] if len(idents) == QUEUES_PER_STEP else ""
        for ident in idents:
            with _alone(ident):
                for _ in range(ROUNDS_PER_QUEUE):
                    if not await self._store.expire(ident, now_ms=self._clock.now_ms()):
                        break


@contextlib.contextmanager
def _alone(ident: str) -> Iterator[None]:
    """Let one queue's trouble be its own, but for a Redis that is away, which is everybody's."""
    try:
        yield
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("queue in a bad state", queue=ident)
