"""The scheduler role: its loops, run by whoever holds the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from lambent_platform.scheduler.capacity import CapacityLoop
from lambent_platform.scheduler.events import PAUSE_S as EVENTS_PAUSE_S
from lambent_platform.scheduler.events import EventLoop
from lambent_platform.scheduler.fleet import PAUSE_S as FLEET_PAUSE_S
from lambent_platform.scheduler.fleet import FleetLoop
from lambent_platform.scheduler.leadership import lead
from lambent_platform.scheduler.loops import forever
from lambent_platform.store.fleet import FleetStore


@dataclass(frozen=True, slots=True)
class Loop:
    """A further loop that the leader runs."""

    name: str
    step: Callable[[], Awaitable[None]]
    pause_s: float


async def run_scheduler(
    fleet_store: FleetStore,
    holder: str,
    *,
    capacity: CapacityLoop,
    events: EventLoop,
    fleet: FleetLoop,
    others: Sequence[Loop] = (),
) -> None:
    """Stand by for the lease and, while holding it, run every loop; ends when cancelled."""
    loops = (
        Loop("capacity", capacity.step, 0.0),
        Loop("events", events.step, EVENTS_PAUSE_S),
        Loop("fleet", fleet.step, FLEET_PAUSE_S),
        *others,
    )

    async def work() -> None:
        await fleet_store.recount()
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(forever(loop.name, loop.step, pause_s=loop.pause_s))

    await lead(fleet_store, holder, work)
