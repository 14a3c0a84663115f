"""Control groups of our own: limits, freezing and ending for one environment each, where the kernel lets us.

Version 1 has a hierarchy for each controller, version 2 one for all. Groups lie in a folder that carries the platform's
id, so that what an earlier run left is found again and nobody else's is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.limits import MB_PER_VCPU
from lambent_workers.drivers.kernel_files import KernelFiles, counter

CPU_PERIOD_US: Final = 20_000
"""Short, so that a small function that used up its share waits for milliseconds only."""
_CPU_QUOTA_MIN_US: Final = 1_000
_FREEZE_S: Final = 1.0
_REMOVE_S: Final = 5.0
_V1: Final = ("memory", "cpu", "pids", "freezer")
_V2: Final = ("memory", "cpu", "pids")


def cpu_quota_us(memory_mb: int, *, boosted: bool = False) -> int:
    """Return the processor time per `CPU_PERIOD_US` that goes with a memory size; boosted: one vCPU at least."""
    vcpus = max(memory_mb / MB_PER_VCPU, 1.0 if boosted else 0.0)
    return max(_CPU_QUOTA_MIN_US, round(CPU_PERIOD_US * vcpus))


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a group hold, in bytes, and how many the kernel ended for want of memory."""

    anonymous: int
    shared: int
    """Shared memory and files on tmpfs."""
    kills: int


class Cgroup:
    """The group of one environment."""

    def __init__(self, folders: Mapping[str, Path], *, unified: bool) -> None:
        self._by_controller = folders
        self._unified = unified
        self._counters = KernelFiles()
        memory = folders["memory"]
        self._sum = memory / ("memory.current" if unified else "memory.usage_in_bytes")
        self._stat = memory / "memory.stat"
        self._events = memory / ("memory.events" if unified else "memory.oom_control")

    @property
    def folders(self) -> list[str]:
        """The folders whose `cgroup.procs` a process joins by."""
        return sorted({str(folder) for folder in self._by_controller.values()})

    @property
    def thaw_order(self) -> tuple[str, str]:
        """The file and the word that thaw it."""
        name, word = ("cgroup.freeze", "0") if self._unified else ("freezer.state", "THAWED")
        return str(self._by_controller["freezer"] / name), word

    def create(self, *, processes_max: int) -> None:
        """Make the group.

        Raises:
            SandboxError: it could not be made.
        """
        try:
            for folder in self.folders:
                os.mkdir(folder)
            self._write("pids", "pids.max", str(processes_max))
        except OSError as error:
            raise SandboxError(f"a control group could not be made: {error}") from error

    def limit_memory(self, limit_bytes: int) -> None:
        """Set the hard limit, which counts `/tmp` and cached files too; swap is not used.

        Raises:
            SandboxError: the kernel refused.
        """
        value = str(limit_bytes)
        try:
            if self._unified:
                self._write("memory", "memory.max", value)
                self._write_where_there("memory", "memory.swap.max", "0")
                self._write("memory", "memory.oom.group", "1")
                return
            # Never may the limit with swap be below the other one, whichever of the two is written first.
            growing = limit_bytes > int(self._read("memory", "memory.limit_in_bytes"))
            if growing:
                self._write_where_there("memory", "memory.memsw.limit_in_bytes", value)
            self._write("memory", "memory.limit_in_bytes", value)
            self._write_where_there("memory", "memory.memsw.limit_in_bytes", value)
        except OSError as error:
            raise SandboxError(f"a memory limit could not be set: {error}") from error

    def limit_cpu(self, quota_us: int) -> None:
        """Set the processor time per `CPU_PERIOD_US`.

        Raises:
            SandboxError: the kernel refused.
        """
        try:
            if self._unified:
                self._write("cpu", "cpu.max", f"{quota_us} {CPU_PERIOD_US}")
            else:
                self._write("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US))
                self._write("cpu", "cpu.cfs_quota_us", str(quota_us))
        except OSError as error:
            raise SandboxError(f"a processor limit could not be set: {error}") from error

    async def freeze(self) -> None:
        """Stop every process of the group; returns when all have stopped.

        Raises:
            SandboxError: they did not stop in time, and go on.
        """
        try:
            self._write("freezer", *(("cgroup.freeze", "1") if self._unified else ("freezer.state", "FROZEN")))
            async with asyncio.timeout(_FREEZE_S):
                while not self._is_frozen():  # noqa: ASYNC110 - the kernel has no event for it on version 1
                    await asyncio.sleep(0.001)
        except (OSError, TimeoutError) as error:
            self.thaw()
            raise SandboxError(f"it could not be frozen: {error or 'not in time'}") from error

    def _is_frozen(self) -> bool:
        if self._unified:
            return "frozen 1" in self._read("freezer", "cgroup.events")
        return self._read("freezer", "freezer.state").strip() == "FROZEN"

    def thaw(self) -> None:
        """Undo `freeze`; a group that is gone needs none."""
        path, word = self.thaw_order
        try:
            _write(path, word)
        except OSError:
            return

    def held_bytes(self) -> int:
        """Return everything that is charged to the group, cached files too; 0 where it is gone. The cheapest look."""
        try:
            return int(self._counters.read(self._sum))
        except OSError:
            return 0

    def usage(self) -> Usage | None:
        """Return what the processes hold; None where the group is gone."""
        anonymous, shared = (b"anon", b"shmem") if self._unified else (b"total_rss", b"total_shmem")
        try:
            stat, events = self._counters.read(self._stat), self._counters.read(self._events)
        except OSError:
            return None
        return Usage(counter(stat, anonymous), counter(stat, shared), counter(events, b"oom_kill"))

    def kill(self) -> None:
        """End every process that is in the group now."""
        for folder in self.folders:
            try:
                pids = [int(line) for line in _read(f"{folder}/cgroup.procs").split()]
            except OSError:
                continue
            for pid in pids:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue

    async def remove(self) -> None:
        """End what is in the group and remove it.

        Raises:
            SandboxError: a process does not go away.
        """
        self._counters.close()
        deadline = time.monotonic() + _REMOVE_S
        while not self._remove_now():
            if time.monotonic() > deadline:
                raise SandboxError(f"the control group {self.folders[0]} does not empty")
            self.thaw()
            self.kill()
            await asyncio.sleep(0.002)

    def _remove_now(self) -> bool:
        for folder in self.folders:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True

    def _read(self, controller: str, name: str) -> str:
        return _read(f"{self._by_controller[controller]}/{name}")

    def _write(self, controller: str, name: str, value: str) -> None:
        _write(f"{self._by_controller[controller]}/{name}", value)

    def _write_where_there(self, controller: str, name: str, value: str) -> None:
        """Write a file that kernels without swap accounting do not have."""
        if (self._by_controller[controller] / name).exists():
            self._write(controller, name, value)


class CgroupTree:
    """Where one platform's groups lie."""

    def __init__(self, bases: Mapping[str, Path], *, unified: bool) -> None:
        self._bases = bases
        self._unified = unified

    @classmethod
    def find(cls, platform_id: str) -> CgroupTree | None:
        """Make the platform's folder where every controller that is needed can be had; None where one cannot."""
        mounts = _mounts(_read("/proc/self/mountinfo"))
        name = f"lambent-{platform_id}"
        if all(controller in mounts for controller in _V1):
            tree = cls({controller: mounts[controller] / name for controller in _V1}, unified=False)
            return tree if tree._make() else None
        own = next((line[3:].strip() for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "")
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
        missing = set(_V2) - set(_read(str(folder / "cgroup.subtree_control")).split())
        if missing:
            _write(str(folder / "cgroup.subtree_control"), " ".join(f"+{controller}" for controller in sorted(missing)))
    except OSError:
        return False
    return True


def _mounts(mountinfo: str) -> dict[str, Path]:
    """Controller → where its hierarchy is mounted; the one of version 2 under the empty name."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        target = fields.split(" ")[4]
        kind, _, options = tail.split(" ", 2)
        if kind == "cgroup2":
            found.setdefault("", Path(target))
        elif kind == "cgroup":
            for controller in options.split(","):
                found.setdefault(controller, Path(target))
    return found


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 20).decode()
    finally:
        os.close(fd)


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
