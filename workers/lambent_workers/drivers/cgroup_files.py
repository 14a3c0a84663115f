"""Control groups as the kernel shows them, whoever made them: where they lie, limits, freezing, and what is held.

Version 1 has a hierarchy for each controller, version 2 one for all. The rules for processor time are here too, since
every driver means the same by a memory size.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.limits import MB_PER_VCPU
from lambent_workers.drivers.kernel_files import KernelFiles, counter

CPU_PERIOD_US: Final = 20_000
"""Short, so that a small function that used up its share waits for milliseconds, not for a tenth of a second."""
_CPU_QUOTA_MIN_US: Final = 1_000
_CPU_WEIGHT_PER_VCPU: Final = 1024
_CPU_WEIGHT_V2_PER_VCPU: Final = 100
_CPU_WEIGHT_V2_MAX: Final = 10_000
_FREEZE_S: Final = 1.0


def cpu_quota_us(memory_mb: int, *, boosted: bool = False) -> int:
    """Return the processor time per `CPU_PERIOD_US` that goes with a memory size; boosted: one vCPU at least."""
    vcpus = max(memory_mb, MB_PER_VCPU if boosted else 0) / MB_PER_VCPU
    return max(_CPU_QUOTA_MIN_US, round(CPU_PERIOD_US * vcpus))


def cpu_weight(memory_mb: int) -> int:
    """Return the share (1,024 a vCPU) by which environments divide a machine that is short of time."""
    return max(2, round(_CPU_WEIGHT_PER_VCPU * memory_mb / MB_PER_VCPU))


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a group hold, in bytes, and how many the kernel ended for want of memory."""

    anonymous: int
    shared: int
    """Shared memory and files on tmpfs."""
    kills: int


class CgroupFiles:
    """The files of one group: controller (memory, cpu, freezer and more) → its folder.

    Counters stay open once they were read, until `close`.
    """

    def __init__(self, folders: Mapping[str, Path], *, unified: bool) -> None:
        self._by_controller = folders
        self._unified = unified
        self._counters = KernelFiles()
        memory = folders["memory"]
        self._sum = memory / ("memory.current" if unified else "memory.usage_in_bytes")
        self._stat = memory / "memory.stat"
        self._events = memory / ("memory.events" if unified else "memory.oom_control")

    @property
    def thaw_order(self) -> tuple[str, str]:
        """The file and the word that thaw it."""
        name, word = ("cgroup.freeze", "0") if self._unified else ("freezer.state", "THAWED")
        return str(self._by_controller["freezer"] / name), word

    def limit_memory(self, limit_bytes: int) -> None:
        """Set the hard limit, which counts `/tmp` and cached files too; swap is not used.

        Raises:
            SandboxError: the kernel refused, or the group is gone.
        """
        try:
            if self._unified:
                self._write("memory", "memory.max", str(limit_bytes))
                self._write_where_there("memory", "memory.swap.max", "0")
            else:
                self._limit_memory_v1(limit_bytes)
        except OSError as error:
            raise SandboxError(f"a memory limit could not be set: {error}") from error

    def _limit_memory_v1(self, limit_bytes: int) -> None:
        # The limit with swap may never be below the one without, so the order depends on the direction.
        alone, with_swap = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
        growing = limit_bytes > int(self._read("memory", alone))
        for name in (with_swap, alone) if growing else (alone, with_swap):
            self._write_where_there("memory", name, str(limit_bytes))

    def limit_cpu(self, quota_us: int, *, weight: int | None = None) -> None:
        """Set the processor time per `CPU_PERIOD_US`, and the weight (see `cpu_weight`) where one is given.

        Raises:
            SandboxError: the kernel refused, or the group is gone.
        """
        try:
            if self._unified:
                self._write("cpu", "cpu.max", f"{quota_us} {CPU_PERIOD_US}")
            else:
                self._write("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US))
                self._write("cpu", "cpu.cfs_quota_us", str(quota_us))
            if weight is not None and self._unified:
                scaled = weight * _CPU_WEIGHT_V2_PER_VCPU // _CPU_WEIGHT_PER_VCPU
                self._write("cpu", "cpu.weight", str(max(1, min(_CPU_WEIGHT_V2_MAX, scaled))))
            elif weight is not None:
                self._write("cpu", "cpu.shares", str(weight))
        except OSError as error:
            raise SandboxError(f"a processor limit could not be set: {error}") from error

    async def freeze(self) -> None:
        """Stop every process of the group; returns when all have stopped.

        Raises:
            SandboxError: they did not stop in time and go on, or the group is gone.
        """
        try:
            self._write("freezer", *(("cgroup.freeze", "1") if self._unified else ("freezer.state", "FROZEN")))
            async with asyncio.timeout(_FREEZE_S):
                while not self._is_frozen():  # noqa: ASYNC110 - a file of the kernel's sends no event on version 1
                    await asyncio.sleep(0.001)
        except (OSError, TimeoutError) as error:
            with contextlib.suppress(SandboxError):
                self.thaw()
            raise SandboxError(f"it could not be frozen: {str(error) or 'not in time'}") from error

    def _is_frozen(self) -> bool:
        if self._unified:
            return "frozen 1" in self._read("freezer", "cgroup.events")
        return self._read("freezer", "freezer.state").strip() == "FROZEN"

    def thaw(self) -> None:
        """Undo `freeze`; a group that is gone needs none.

        Raises:
            SandboxError: the kernel refused.
        """
        path, word = self.thaw_order
        try:
            write_control(path, word)
        except OSError as error:
            # One that goes away between the opening and the writing answers by another error than "not there".
            if self._by_controller["freezer"].exists():
                raise SandboxError(f"it could not be thawed: {error}") from error

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

    def close(self) -> None:
        """Keep nothing of it open. Idempotent."""
        self._counters.close()

    def _read(self, controller: str, name: str) -> str:
        return read_control(self._by_controller[controller] / name)

    def _write(self, controller: str, name: str, value: str) -> None:
        write_control(self._by_controller[controller] / name, value)

    def _write_where_there(self, controller: str, name: str, value: str) -> None:
        """Write a file that kernels without swap accounting do not have."""
        if (self._by_controller[controller] / name).exists():
            self._write(controller, name, value)


def hierarchies(mountinfo: str, *, whole: bool = False) -> dict[str, Path]:
    """Controller → where its hierarchy is mounted, from /proc/self/mountinfo; version 2's under the empty name.

    `whole`: only those that are seen from their root, in which every process's group can be found by its path.
    """
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        _, _, _, root, target, *_ = fields.split(" ")
        kind, _, options = tail.split(" ", 2)
        if whole and root != "/":
            continue
        if kind == "cgroup2":
            found.setdefault("", Path(target))
        elif kind == "cgroup":
            for controller in options.split(","):
                found.setdefault(controller, Path(target))
    return found


def groups(text: str) -> dict[str, str]:
    """Controller → path in its hierarchy, from /proc/PID/cgroup; version 2's under the empty name."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def read_control(path: str | Path) -> str:
    """Return what a control file says now.

    Raises:
        OSError: it is not there, or its group is gone.
    """
    # To its end: of a long table of the kernel's one reading gives a page only.
    with open(path, "rb", buffering=0) as file:
        return file.read().decode()


def write_control(path: str | Path, value: str) -> None:
    """Write a control file, which never is made by that.

    Raises:
        OSError: it is not there, its group is gone, or the kernel refused the value.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
