"""The supervisor's child processes: started, watched, started again, ended.

Every child dies with its parent, even with one that was killed: the kernel is asked to send it SIGTERM then. The
supervisor also adopts what its children leave behind, so that at its own end it can end all that is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from lambent_platform.main.role import EXIT_SETTINGS

BACKOFF_S_MIN: Final = 0.2
BACKOFF_S_MAX: Final = 10.0
STABLE_S: Final = 30.0
"""A child that ran this long starts again at once when it ends."""

_PR_SET_CHILD_SUBREAPER: Final = 36
_GUARD: Final = (
    "import ctypes,os,signal,sys\n"
    "ctypes.CDLL(None).prctl(1,signal.SIGTERM)\n"
    "if os.getppid()!=int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2],sys.argv[2:])"
)
"""Asks for SIGTERM at the parent's death (prctl 1), makes sure that it still lives, and becomes the child proper."""


class ChildFailed(RuntimeError):
    """A child ended in a way that starting it again would not change."""


@dataclass
class Child:
    """One process that is kept running until `stop`.

    `prepare` is called before every start. Signals from a terminal do not reach it: it has a session of its own, and
    the supervisor says when it is its turn to end.
    """

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    pass_fds: Sequence[int] = ()
    prepare: Callable[[], None] | None = None
    crashes: int = 0
    _process: asyncio.subprocess.Process | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_running(self) -> None:
        """Run it, again and again, until `stop`.

        Raises:
            ChildFailed: it ended with `EXIT_SETTINGS`.
        """
        log = structlog.get_logger()
        backoff_s = BACKOFF_S_MIN
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self.run_once()
            if self._stopping.is_set():
                return
            if status == EXIT_SETTINGS:
                raise ChildFailed(f"{self.name} cannot run here")
            self.crashes += 1
            if time.monotonic() - started > STABLE_S:
                backoff_s = BACKOFF_S_MIN
            log.warning("a process ended; starting it again", child=self.name, status=status, after_s=backoff_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._stopping.wait()
            backoff_s = min(BACKOFF_S_MAX, backoff_s * 2)

    async def run_once(self) -> int:
        """Start it, wait for its end and return its exit status; negative is a signal."""
        if self.prepare is not None:
            self.prepare()
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *self.argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr,
            env={**os.environ, **self.environ},
            pass_fds=tuple(self.pass_fds),
            start_new_session=True,
        )
        if self._stopping.is_set():
            self._signal(signal.SIGTERM)
        return await process.wait()

    async def stop(self, *, within_s: float) -> bool:
        """Ask it to end, and kill it when the time is up; True where it ended by itself. Idempotent."""
        self._stopping.set()
        if self._process is None:
            return True
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
            return False
        return True

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind, so that `end_descendants` finds it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_adopted(own: Container[int]) -> None:
    """Collect adopted processes that have ended; `own` are the children that somebody else waits for."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in own:
            os.waitpid(ended.si_pid, os.WNOHANG)


def end_descendants() -> int:
    """Kill every process below this one, and return how many there were. Meant for the very end."""
    ended = 0
    for _ in range(8):
        found = _descendants(os.getpid())
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                ended += 1
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not found:
            break
        time.sleep(0.02)
    return ended


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found, front = [], [root]
    while front:
        front = [pid for parent in front for pid in children.get(parent, ())]
        found += front
    return found
