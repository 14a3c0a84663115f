"""What an earlier run of this platform left on the engine; nothing of any other platform is ever looked at."""

from __future__ import annotations

import asyncio
import contextlib

from lambent_platform.contracts.errors import SandboxError
from lambent_workers.drivers.docker.cgroup import Cgroup
from lambent_workers.drivers.docker.engine import Engine
from lambent_workers.drivers.docker.settings import PLATFORM_LABEL

_AT_ONCE = 8


async def remove_containers(engine: Engine, platform_id: str) -> int:
    """Remove every container with this platform's label, frozen ones too; returns how many there were.

    Raises:
        SandboxError: the engine could not be asked, or one of them could not be removed.
    """
    found = await engine.containers(f"{PLATFORM_LABEL}={platform_id}")
    places = asyncio.Semaphore(_AT_ONCE)

    async def remove(container_id: str) -> None:
        async with places:
            await _thaw(engine, container_id)
            await engine.remove(container_id)

    await asyncio.gather(*(remove(container_id) for container_id in found))
    return len(found)


async def _thaw(engine: Engine, container_id: str) -> None:
    """A container that was frozen by its cgroup's file looks alive to the engine, and would not die when killed."""
    found = await engine.inspect(container_id)
    if found is None or not found["State"]["Running"]:
        return
    cgroup = Cgroup.of_process(found["State"]["Pid"])
    with contextlib.suppress(SandboxError):
        if cgroup is not None:
            cgroup.thaw()
        if found["State"]["Paused"]:
            await engine.unpause(container_id)
