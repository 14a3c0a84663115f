"""Functions that run from a developer's folder: a changed folder is a new environment, in the place of the old one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lambent_platform.store.invocations import Work
from lambent_workers.environment import Environment
from lambent_workers.hot_folder import HotFolders

if TYPE_CHECKING:
    from lambent_workers.worker import Worker

CHECK_INTERVAL_S: Final = 0.2
"""Within a burst of calls the folder is not looked through for each of them."""


class HotReload:
    """Looks for changes before calls."""

    def __init__(self, worker: Worker, folders: HotFolders) -> None:
        self._worker = worker
        self._folders = folders

    def fresh(self, environment: Environment) -> bool:
        """Whether the folder was compared a moment ago."""
        return time.monotonic() - environment.compared_at < CHECK_INTERVAL_S

    async def run(self, environment: Environment, work: Work) -> None:
        """Run a call in an environment of the folder as it is now."""
        folder = Path(environment.version.code.hot_reload_path)
        now = await asyncio.to_thread(self._folders.fingerprint, folder)
        environment.compared_at = time.monotonic()
        if now == environment.fingerprint or not environment.callable:
            self._worker.dispatch(environment, work)
            return
        # The old one's id, and with it its slot, goes to a new one that begins with this call.
        environment.vanish()
        successor = self._worker.start(environment.id, environment.version)
        successor.held = work
        await self._worker.close(environment)
