"""A container's cgroup files, where this process may write them: a freeze or a limit without asking the engine.

Both layouts are served: version 1 with a hierarchy for each controller, and version 2 with one for all.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from lambent_platform.contracts.errors import SandboxError
from lambent_workers.drivers.docker.container import CPU_PERIOD_US
from lambent_workers.drivers.kernel_files import KernelFiles, counter

_FREEZE_TIMEOUT_S = 1.0
_CONTROLLERS = ("memory", "cpu", "freezer")


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes hold, and which of the limits was met, in bytes and counts."""

    anonymous: int
    shared: int
    kills: int


class Cgroup:
    """The cgroup of one container."""

    def __init__(self, folders: dict[str, Path], *, unified: bool) -> None:
        self._folders = folders
        self._unified = unified
        self._counters = KernelFiles()
        self._stat = folders["memory"] / "memory.stat"
        self._events = folders["memory"] / ("memory.events" if unified else "memory.oom_control")

    @classmethod
    def of_process(cls, pid: int) -> Cgroup | None:
        """Find the cgroup of a process; None where its files cannot be seen and written from here."""
        if pid <= 0:
            return None
        try:
            mounts = _mounts(Path("/proc/self/mountinfo").read_text())
            groups = _groups(Path(f"/proc/{pid}/cgroup").read_text())
        except OSError:
            return None
        folders = {}
        unified = "memory" not in groups
        for controller in _CONTROLLERS:
            key = "" if unified else controller
            if key not in mounts or groups.get(key, "/") == "/":
                return None
            folders[controller] = mounts[key] / groups[key].lstrip("/")
        cgroup = cls(folders, unified=unified)
        return cgroup if cgroup._writable() else None

    def _writable(self) -> bool:
        freezer = "cgroup.freeze" if self._unified else "freezer.state"
        limit = "memory.max" if self._unified else "memory.limit_in_bytes"
        files = (self._folders["freezer"] / freezer, self._folders["memory"] / limit)
        return all(os.access(file, os.W_OK) for file in files)

    def set_limits(self, *, memory_bytes: int, cpu_quota_us: int, cpu_weight: int) -> None:
        """Set memory (without swap) and processor limits.

        Raises:
            SandboxError: the kernel refused; the container may be gone.
        """
        try:
            if self._unified:
                self._write("memory", "memory.max", str(memory_bytes))
                self._write("cpu", "cpu.max", f"{cpu_quota_us} {CPU_PERIOD_US}")
                self._write("cpu", "cpu.weight", str(max(1, min(10_000, cpu_weight * 100 // 1024))))
            else:
                self._set_memory_v1(memory_bytes)
                self._write("cpu", "cpu.cfs_quota_us", str(cpu_quota_us))
                self._write("cpu", "cpu.shares", str(cpu_weight))
        except OSError as error:
            raise SandboxError(f"the limits could not be set: {error}") from error

    def _set_memory_v1(self, memory_bytes: int) -> None:
        # The limit with swap may never be below the one without, so the order depends on the direction.
        with_swap = "memory.memsw.limit_in_bytes"
        names = ["memory.limit_in_bytes"]
        if (self._folders["memory"] / with_swap).exists():
            growing = memory_bytes > int(self._read("memory", "memory.limit_in_bytes"))
            names.insert(0 if growing else 1, with_swap)
        for name in names:
            self._write("memory", name, str(memory_bytes))

    async def freeze(self) -> None:
        """Stop every process of the container; returns when all have stopped.

        Raises:
            SandboxError: they did not stop in time, or the container is gone; it is not frozen then.
        """
        try:
            self._write("freezer", *(("cgroup.freeze", "1") if self._unified else ("freezer.state", "FROZEN")))
            async with asyncio.timeout(_FREEZE_TIMEOUT_S):
                while not self._is_frozen():  # noqa: ASYNC110 - a file of the kernel's sends no event
                    await asyncio.sleep(0.001)
        except TimeoutError as error:
            self.thaw()
            raise SandboxError("the processes could not be frozen in time") from error
        except OSError as error:
            raise SandboxError(f"the container could not be frozen: {error}") from error

    def _is_frozen(self) -> bool:
        if self._unified:
            return "frozen 1" in self._read("freezer", "cgroup.events")
        return self._read("freezer", "freezer.state").strip() == "FROZEN"

    def thaw(self) -> None:
        """Undo `freeze`; a container that is gone needs none.

        Raises:
            SandboxError: the kernel refused.
        """
        try:
            self._write("freezer", *(("cgroup.freeze", "0") if self._unified else ("freezer.state", "THAWED")))
        except (FileNotFoundError, ProcessLookupError):
            return
        except OSError as error:
            if self._folders["freezer"].exists():
                raise SandboxError(f"the container could not be thawed: {error}") from error

    def usage(self) -> Usage | None:
        """Read what the processes hold; None where the container is gone."""
        anonymous, shared = (b"anon", b"shmem") if self._unified else (b"total_rss", b"total_shmem")
        try:
            stat, events = self._counters.read(self._stat), self._counters.read(self._events)
        except OSError:
            return None
        return Usage(counter(stat, anonymous), counter(stat, shared), counter(events, b"oom_kill"))

    def close(self) -> None:
        """Keep nothing of it open. Idempotent."""
        self._counters.close()

    def _read(self, controller: str, name: str) -> str:
        return (self._folders[controller] / name).read_text()

    def _write(self, controller: str, name: str, value: str) -> None:
        fd = os.open(self._folders[controller] / name, os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)


def _mounts(mountinfo: str) -> dict[str, Path]:
    """Controller → where its hierarchy is mounted whole; the unified one under the empty name."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        _, _, _, root, target, *_ = fields.split(" ")
        kind, _, options = tail.split(" ", 2)
        if root != "/":
            continue
        if kind == "cgroup2":
            found.setdefault("", Path(target))
        elif kind == "cgroup":
            for controller in options.split(","):
                found.setdefault(controller, Path(target))
    return found


def _groups(text: str) -> dict[str, str]:
    """Controller → path, from /proc/PID/cgroup; the unified one under the empty name."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found
