"""A container's cgroup files, where this process may write them: a freeze or a limit without asking the engine."""

from __future__ import annotations

import os
from pathlib import Path

from lambent_workers.drivers.cgroup_files import CgroupFiles, groups, hierarchies

_CONTROLLERS = ("memory", "cpu", "freezer")


class Cgroup(CgroupFiles):
    """The cgroup of one container, which the engine makes and removes."""

    @classmethod
    def of_process(cls, pid: int) -> Cgroup | None:
        """Find the cgroup of a process; None where its files cannot be seen and written from here."""
        if pid <= 0:
            return None
        try:
            mounts = hierarchies(Path("/proc/self/mountinfo").read_text(), whole=True)
            paths = groups(Path(f"/proc/{pid}/cgroup").read_text())
        except OSError:
            return None
        folders = {}
        unified = "memory" not in paths
        for controller in _CONTROLLERS:
            key = "" if unified else controller
            if key not in mounts or paths.get(key, "/") == "/":
                return None
            folders[controller] = mounts[key] / paths[key].lstrip("/")
        cgroup = cls(folders, unified=unified)
        return cgroup if cgroup._writable() else None

    def _writable(self) -> bool:
        freezer = "cgroup.freeze" if self._unified else "freezer.state"
        limit = "memory.max" if self._unified else "memory.limit_in_bytes"
        files = (self._by_controller["freezer"] / freezer, self._by_controller["memory"] / limit)
        return all(os.access(file, os.W_OK) for file in files)

    def set_limits(self, *, memory_bytes: int, cpu_quota_us: int, cpu_weight: int) -> None:
        """Set memory (without swap) and processor limits.

        Raises:
            SandboxError: the kernel refused; the container may be gone.
        """
        self.limit_memory(memory_bytes)
        self.limit_cpu(cpu_quota_us, weight=cpu_weight)
