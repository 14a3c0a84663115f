"""Counters of the kernel's: found whatever their place in the file, read anew from a file that stays open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lambent_workers.drivers.kernel_files import KernelFiles, counter

STAT = b"anon 4096\nfile 0\nanon_thp 7\nshmem 12\n"


@pytest.mark.parametrize(
    ("name", "value"), [(b"anon", 4096), (b"file", 0), (b"anon_thp", 7), (b"shmem", 12), (b"hmem", 0), (b"oom", 0)]
)
def test_counter(name: bytes, value: int) -> None:
    """A whole name at the beginning of a line, first and last ones too; 0 for what is not there."""
    assert counter(STAT, name) == value
    assert counter(STAT.rstrip(), name) == value


def test_a_counter_that_is_no_number() -> None:
    """A line of another kind is none."""
    assert counter(b"under_oom max\n", b"under_oom") == 0


def test_files_are_read_anew_and_closed(tmp_path: Path) -> None:
    """Each reading sees what the file says now; one descriptor is held until the end, and none is left."""
    path = tmp_path / "counter"
    path.write_bytes(b"1")
    files = KernelFiles()
    before = len(os.listdir("/proc/self/fd"))
    assert files.read(path) == b"1"
    path.write_bytes(b"22")
    assert files.read(path) == b"22"
    assert len(os.listdir("/proc/self/fd")) == before + 1
    files.close()
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """What is not there is an error of the kernel's, as for any file."""
    with pytest.raises(FileNotFoundError):
        KernelFiles().read(tmp_path / "none")
