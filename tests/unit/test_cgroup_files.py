"""What is written to a control group's files, in both layouts, on files that only look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.contracts.errors import SandboxError
from lambent_workers.drivers.cgroup_files import CPU_PERIOD_US, CgroupFiles, cpu_quota_us, cpu_weight, read_control

V2 = {
    "memory.max": "max", "memory.swap.max": "1", "memory.current": "4096\n", "memory.stat": "anon 10\nshmem 4\n",
    "memory.events": "oom 9\noom_kill 2\n", "cpu.max": "max", "cpu.weight": "100", "cgroup.freeze": "0",
    "cgroup.events": "populated 1\nfrozen 1\n",
}  # fmt: skip
V1 = {
    "memory.limit_in_bytes": "100", "memory.memsw.limit_in_bytes": "100", "memory.usage_in_bytes": "4096\n",
    "memory.stat": "rss 1\ntotal_rss 10\ntotal_shmem 4\n", "memory.oom_control": "under_oom 0\noom_kill 2\n",
    "cpu.cfs_period_us": "1", "cpu.cfs_quota_us": "-1", "cpu.shares": "2", "freezer.state": "FROZEN",
}  # fmt: skip


def group_of(folder: Path, files: dict[str, str]) -> CgroupFiles:
    """Make a group of ordinary files."""
    for name, text in files.items():
        (folder / name).write_text(text)
    return CgroupFiles(dict.fromkeys(("memory", "cpu", "freezer"), folder), unified=files is V2)


def said(folder: Path, name: str) -> str:
    """Read what was written. Unlike the kernel's, these files keep the end of a longer text that was there."""
    return (folder / name).read_text()


def test_limits_of_version_2(tmp_path: Path) -> None:
    """Memory without swap, time in a period, and a weight of 100 a vCPU within what the kernel takes."""
    group = group_of(tmp_path, V2)
    group.limit_memory(512)
    group.limit_cpu(5000, weight=cpu_weight(1769 * 2))
    assert [said(tmp_path, name) for name in ("memory.max", "memory.swap.max", "cpu.max", "cpu.weight")] == [
        "512", "0", f"5000 {CPU_PERIOD_US}", "200",
    ]  # fmt: skip


def test_limits_of_version_1(tmp_path: Path) -> None:
    """The limit with swap follows the one without; both of the time's files are written."""
    group = group_of(tmp_path, V1)
    group.limit_memory(512)
    group.limit_cpu(5000, weight=512)
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    assert [said(tmp_path, name) for name in names] == ["512", "512", "5000", str(CPU_PERIOD_US)]
    assert said(tmp_path, "cpu.shares") == "512"


@pytest.mark.parametrize(("files", "missing"), [(V1, "memory.memsw.limit_in_bytes"), (V2, "memory.swap.max")])
def test_kernels_without_swap_accounting(files: dict[str, str], missing: str, tmp_path: Path) -> None:
    """A file that such a kernel does not have is neither needed nor made."""
    group = group_of(tmp_path, files)
    (tmp_path / missing).unlink()
    group.limit_memory(512)
    assert not (tmp_path / missing).exists()


@pytest.mark.parametrize("files", [V1, V2])
def test_what_is_held(files: dict[str, str], tmp_path: Path) -> None:
    """Both layouts are read alike, and a group that is gone holds nothing."""
    group = group_of(tmp_path, files)
    usage = group.usage()
    assert usage is not None
    assert (usage.anonymous, usage.shared, usage.kills, group.held_bytes()) == (10, 4, 2, 4096)
    group.close()
    for name in files:
        (tmp_path / name).unlink()
    assert (group.usage(), group.held_bytes()) == (None, 0)


async def test_processes_that_do_not_freeze_go_on(tmp_path: Path) -> None:
    """A freeze has a deadline; what it began is undone."""
    group = group_of(tmp_path, V2)
    (tmp_path / "cgroup.events").write_text("frozen 0\n")
    with pytest.raises(SandboxError, match="frozen"):
        await group.freeze()
    assert said(tmp_path, "cgroup.freeze") == "0"


@pytest.mark.parametrize("files", [V1, V2])
async def test_freeze_and_thaw(files: dict[str, str], tmp_path: Path) -> None:
    """The words of each layout; a group that is gone need not be thawed, but cannot be frozen or limited."""
    (tmp_path / "g").mkdir()
    group = group_of(tmp_path / "g", files)
    await group.freeze()
    group.thaw()
    path, word = group.thaw_order
    assert read_control(path).startswith(word)
    for name in files:
        (tmp_path / "g" / name).unlink()
    with pytest.raises(SandboxError, match="thawed"):
        group.thaw()
    (tmp_path / "g").rmdir()
    group.thaw()
    with pytest.raises(SandboxError, match="frozen"):
        await group.freeze()
    with pytest.raises(SandboxError, match="memory limit"):
        group.limit_memory(1)
    with pytest.raises(SandboxError, match="processor limit"):
        group.limit_cpu(1)


@given(memory_mb=st.integers(128, 10240))
def test_time_in_proportion(memory_mb: int) -> None:
    """A vCPU for 1,769 MB, quota and weight alike; a boost lifts small ones to one vCPU and changes no other."""
    quota = cpu_quota_us(memory_mb)
    assert abs(quota - CPU_PERIOD_US * memory_mb / 1769) <= 1
    assert abs(cpu_weight(memory_mb) - 1024 * memory_mb / 1769) <= 1
    assert cpu_quota_us(memory_mb, boosted=True) == max(quota, CPU_PERIOD_US)


def test_a_long_table_is_read_whole() -> None:
    """The kernel hands a table out a page at a time; all of them are read."""
    assert read_control("/proc/self/smaps").count("VmFlags") > 20
