"""Control groups of our own: made, limited and ended for one environment each, where the kernel lets us.

They lie in a folder that carries the platform's id, so that what an earlier run left is found again and nobody else's
is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lambent_platform.contracts.errors import SandboxError
from lambent_workers.drivers.cgroup_files import CgroupFiles, groups, hierarchies, read_control, write_control

_REMOVE_S: Final = 5.0
_V1: Final = ("memory", "cpu", "pids", "freezer")
_V2: Final = ("memory", "cpu", "pids")


class Cgroup(CgroupFiles):
    """The group of one environment."""

    @property
    def folders(self) -> list[str]:
        """The folders whose `cgroup.procs` a process joins by."""
        return sorted({str(folder) for folder in self._by_controller.values()})

    def create(self, *, processes_max: int) -> None:
        """Make the group.

        Raises:
            SandboxError: it could not be made.
        """
        try:
            for folder in self.folders:
                os.mkdir(folder)
            self._write("pids", "pids.max", str(processes_max))
            if self._unified:
                self._write("memory", "memory.oom.group", "1")
        except OSError as error:
            raise SandboxError(f"a control group could not be made: {error}") from error

    def kill(self) -> None:
        """End every process that is in the group now."""
        for folder in self.folders:
            try:
                pids = [int(line) for line in read_control(f"{folder}/cgroup.procs").split()]
            except OSError:
                continue
            for pid in filter(None, pids):  # 0 stands for processes that are not to be seen from here; to kill, for us
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue

    async def remove(self) -> None:
        """End what is in the group and remove it.

        Raises:
            SandboxError: a process does not go away.
        """
        deadline = time.monotonic() + _REMOVE_S
        try:
            while not self._remove_now():
                if time.monotonic() > deadline:
                    raise SandboxError(f"the control group {self.folders[0]} does not empty")
                with contextlib.suppress(SandboxError):
                    self.thaw()
                self.kill()
                await asyncio.sleep(0.002)
        finally:
            self.close()  # only now: until then somebody may still look

    def _remove_now(self) -> bool:
        for folder in self.folders:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


class CgroupTree:
    """Where one platform's groups lie."""

    def __init__(self, bases: Mapping[str, Path], *, unified: bool) -> None:
        self._bases = bases
        self._unified = unified

    @classmethod
    def find(cls, platform_id: str) -> CgroupTree | None:
        """Make the platform's folder where every controller that is needed can be had; None where one cannot."""
        mounts = hierarchies(read_control("/proc/self/mountinfo"))
        name = f"lambent-{platform_id}"
        if all(controller in mounts for controller in _V1):
            tree = cls({controller: mounts[controller] / name for controller in _V1}, unified=False)
            return tree if tree._make() else None
        own = groups(read_control("/proc/self/cgroup")).get("", "")
        for base in (mounts[""], mounts[""] / own.lstrip("/")) if "" in mounts else ():
            if not _delegate(base):
                continue
            tree = cls(dict.fromkeys((*_V2, "freezer"), base / name), unified=True)
            if tree._make() and _delegate(base / name):
                return tree
        return None

    def _make(self) -> bool:
        try:
            for base in self._bases.values():
                base.mkdir(exist_ok=True)
        except OSError:
            return False
        return all(os.access(base, os.W_OK) for base in self._bases.values())

    def group(self, name: str) -> Cgroup:
        """Name the group of one environment; `Cgroup.create` makes it."""
        return Cgroup({controller: base / name for controller, base in self._bases.items()}, unified=self._unified)

    def names(self) -> set[str]:
        """The groups that are there."""
        bases = [base for base in set(self._bases.values()) if base.is_dir()]
        return {entry.name for base in bases for entry in base.iterdir() if entry.is_dir()}

    async def clear(self) -> None:
        """End and remove every group that is there, as after a run that was killed."""
        for name in self.names():
            await self.group(name).remove()

    async def close(self) -> None:
        """Remove everything, the platform's own folder too."""
        await self.clear()
        self.leave()

    def leave(self) -> None:
        """Remove the platform's own folder unless a group is in it."""
        for base in set(self._bases.values()):
            with contextlib.suppress(OSError):
                base.rmdir()


def _delegate(folder: Path) -> bool:
    """Hand the controllers that are needed to the groups below a folder of version 2."""
    try:
        control = folder / "cgroup.subtree_control"
        missing = set(_V2) - set(read_control(control).split())
        if missing:
            write_control(control, " ".join(f"+{controller}" for controller in sorted(missing)))
    except OSError:
        return False
    return True
