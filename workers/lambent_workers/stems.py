"""Stems: sandboxes started ahead of need, with a trusted bootstrap waiting in each and nothing of any function."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from lambent_platform.contracts.environment import EnvironmentRecord, EnvironmentState
from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.limits import MEMORY_MB_MIN
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.keepalive import KeepAlive, stems_wanted
from lambent_workers.walls import Builder, Walls

_log = structlog.get_logger(__name__)
BACKOFF_S: Final = (5.0, 15.0, 60.0)
"""Between attempts to start a stem of a runtime that cannot be started."""


@dataclass(frozen=True, slots=True)
class Stem:
    """One stem and the watch over its death."""

    walls: Walls
    started_at_ms: int
    watch: asyncio.Task[None]


class StemPool:
    """The stems of one worker."""

    def __init__(
        self, builder: Builder, policy: KeepAlive, worker_id: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._builder = builder
        self._policy = policy
        self._worker_id = worker_id
        self._monotonic = monotonic
        self._used: dict[str, float] = {}
        self._ready: dict[str, deque[Stem]] = {}
        self._starting: dict[str, set[asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._failures: dict[str, tuple[int, float]] = {}
        self._closed = False

    def use(self, runtime: str) -> None:
        """Say that a function of this runtime was started or called."""
        self._used[runtime] = self._monotonic()

    def claim(self, runtime: str) -> Walls | None:
        """Take a stem for good; None where there is none. `tend` replaces it."""
        ready = self._ready.get(runtime)
        while ready:
            stem = ready.popleft()
            alive = not stem.watch.done()
            stem.watch.cancel()
            if alive:
                return stem.walls
            self._end(stem)
        return None

    def tend(self) -> None:
        """Start what is missing and end what is too much; called about twice a second."""
        if self._closed:
            return
        now = self._monotonic()
        wanted = stems_wanted(self._policy, self._used, now)
        for runtime in [name for name in self._used if name not in wanted]:
            del self._used[runtime]
        for runtime, ready in self._ready.items():
            while len(ready) > wanted.get(runtime, 0):
                self._end(ready.popleft())
        for runtime, count in wanted.items():
            starting = self._starting.setdefault(runtime, set())
            missing = count - len(self._ready.get(runtime, ())) - len(starting)
            _, not_before = self._failures.get(runtime, (0, 0.0))
            for _ in range(missing if now >= not_before else 0):
                task = asyncio.create_task(self._start(runtime), name=f"stem of {runtime}")
                starting.add(task)
                task.add_done_callback(starting.discard)

    async def _start(self, runtime: str) -> None:
        try:
            walls = await self._builder.stem(RUNTIMES[runtime])
        except SandboxError as error:
            count = self._failures.get(runtime, (0, 0.0))[0]
            delay_s = BACKOFF_S[min(count, len(BACKOFF_S) - 1)]
            self._failures[runtime] = (count + 1, self._monotonic() + delay_s)
            _log.warning("a stem could not be started", runtime=runtime, error=str(error), again_in_s=delay_s)
            return
        self._failures.pop(runtime, None)
        stem = Stem(walls, time.time_ns() // 1_000_000, asyncio.create_task(self._watch(runtime, walls)))
        if self._closed:
            self._end(stem)
        else:
            self._ready.setdefault(runtime, deque()).append(stem)

    async def _watch(self, runtime: str, walls: Walls) -> None:
        with contextlib.suppress(SandboxError):
            await walls.sandbox.wait()
        ready = self._ready.get(runtime, deque())
        for stem in [stem for stem in ready if stem.walls is walls]:
            _log.warning("a stem died", runtime=runtime, container=walls.sandbox.label)
            ready.remove(stem)
            self._end(stem)

    def _end(self, stem: Stem) -> None:
        if stem.watch is not asyncio.current_task():
            stem.watch.cancel()
        task = asyncio.create_task(_close(stem.walls))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def records(self) -> list[EnvironmentRecord]:
        """Describe the stems for the fleet's table: environments without a target."""
        return [
            EnvironmentRecord(
                id=stem.walls.id, worker=self._worker_id, runtime=runtime, state=EnvironmentState.READY,
                memory_mb=MEMORY_MB_MIN, started_at_ms=stem.started_at_ms, container=stem.walls.sandbox.label,
            )
            for runtime, ready in self._ready.items()
            for stem in ready
        ]  # fmt: skip

    async def close(self) -> None:
        """End every stem, those that are being started too."""
        self._closed = True
        for ready in self._ready.values():
            while ready:
                self._end(ready.popleft())
        await asyncio.gather(*(task for tasks in self._starting.values() for task in tasks), return_exceptions=True)
        await asyncio.gather(*self._ending, return_exceptions=True)


async def _close(walls: Walls) -> None:
    walls.api.close()
    with contextlib.suppress(SandboxError):
        await walls.sandbox.close()
