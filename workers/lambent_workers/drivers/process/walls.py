"""Builds a sandbox's walls around the calling process, as root: namespaces, a root of its own, a user of its own.

Standard library only. The process must be alone in a new process-id namespace (its number there is 1), and must be
single-threaded. What is seen inside is a list of steps (`view.py` writes it), each made below the new root:

    ["dir", path, mode]   ["link", target, path]   ["file", path, text]   ["bind", source, path]   (read-only)
    ["tmpfs", path, options, executable]   ["device", source, path]   ["proc", path]
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_CAPBSET_DROP = 24
HOSTNAME = "sandbox"

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: Any) -> None:
    """Call a function of the C library that answers 0 when it worked.

    Raises:
        OSError: it did not; the text names the function and its arguments.
    """
    values = [arg.encode() if isinstance(arg, str) else arg for arg in args]
    if getattr(_libc, name)(*values):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{args}: {os.strerror(number)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    call("mount", source, target, kind, ctypes.c_ulong(flags), options)


def _point(path: str, *, folder: bool) -> None:
    """Make the place that something is mounted on."""
    os.makedirs(path if folder else os.path.dirname(path), mode=0o755, exist_ok=True)
    if not folder:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def _step(root: str, step: Sequence[Any]) -> None:
    kind, *args = step
    if kind == "link":
        target, path = args
        os.makedirs(os.path.dirname(root + path), mode=0o755, exist_ok=True)
        os.symlink(target, root + path)
    elif kind == "file":
        path, text = args
        _point(root + path, folder=False)
        with open(root + path, "w") as file:
            file.write(text)
    elif kind == "dir":
        path, mode = args
        os.makedirs(root + path, mode=0o755, exist_ok=True)
        os.chmod(root + path, mode)
    elif kind == "tmpfs":
        path, options, executable = args
        _point(root + path, folder=True)
        _mount("tmpfs", root + path, "tmpfs", MS_NOSUID | MS_NODEV | (0 if executable else MS_NOEXEC), options)
    elif kind == "proc":
        _point(root + args[0], folder=True)
        _mount("proc", root + args[0], "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    else:
        source, path = args
        _point(root + path, folder=os.path.isdir(source))
        _mount(source, root + path, None, MS_BIND)
        keep = MS_NOSUID | MS_NOEXEC if kind == "device" else MS_NOSUID | MS_NODEV | MS_RDONLY
        _mount(None, root + path, None, MS_BIND | MS_REMOUNT | keep)


def enter(root: str, steps: Sequence[Sequence[Any]]) -> None:
    """Leave the machine's file system for a new one that is made of `steps`; `root` is an empty folder.

    Raises:
        OSError: a part of it could not be made; the process must end.
    """
    call("unshare", CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)
    call("sethostname", HOSTNAME, ctypes.c_size_t(len(HOSTNAME)))
    os.umask(0o022)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,mode=755")
    for step in steps:
        _step(root, step)
    os.chdir(root)
    # Both names are the new root: the old one comes to lie on top of it, and is taken off.
    call("pivot_root", ".", ".")
    call("umount2", ".", MNT_DETACH)
    os.chdir("/")
    _mount(None, "/", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def become(uid: int) -> None:
    """Give up root for good: no capability can be had again, by this process or any below it.

    Raises:
        OSError: the kernel refused; the process must end.
    """
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
