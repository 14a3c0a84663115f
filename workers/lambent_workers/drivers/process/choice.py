"""Which walls this machine and user can have, and bubblewrap's command where it builds them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Final, Literal

from lambent_platform.contracts.errors import SandboxError
from lambent_workers.drivers.process import init, view
from lambent_workers.drivers.process.interpreters import Interpreter

Walls = Literal["root", "bwrap", "plain"]
_INIT_INSIDE: Final = "/lambent-init.py"
_PROBE_S: Final = 5.0


async def choose_walls(wanted: Walls | None, folder: Path) -> tuple[Walls, str]:
    """Return the best walls that work, or those that are wanted, with bubblewrap's path; `folder` is an empty one.

    Raises:
        SandboxError: those that are wanted cannot be had.
    """
    is_root = os.geteuid() == 0
    if wanted == "root" and not is_root:
        raise SandboxError("only root can build these walls")
    if wanted in ("root", "plain") or (wanted is None and is_root):
        return wanted or "root", ""
    bubblewrap = shutil.which("bwrap") or ""
    if bubblewrap and await _works(bubblewrap, folder):
        return "bwrap", bubblewrap
    if wanted == "bwrap":
        raise SandboxError("bubblewrap is not installed, or may not make user namespaces here")
    return "plain", ""


async def _works(bubblewrap: str, folder: Path) -> bool:
    argv = view.bubblewrap_argv(bubblewrap, [*view.base_steps(None), ["proc", "/proc"]], folder)
    process = await asyncio.create_subprocess_exec(
        *argv, "/bin/sh", "-c", ":", stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_PROBE_S):
            return await process.wait() == 0
    except TimeoutError:
        process.kill()
        await process.wait()
        return False


def bubblewrap_command(bubblewrap: str, steps: view.Steps, folder: Path, interpreter: Interpreter | None) -> list[str]:
    """Return the command that builds the walls and runs `init.py` in them, on this platform's own interpreter.

    `interpreter` is the one that the steps show already; `folder` is for files that bubblewrap must read.
    """
    prefix = Path(sys.base_prefix)
    if not prefix.is_relative_to("/usr") and (interpreter is None or interpreter.prefix != prefix):
        steps = [*steps, ["bind", str(prefix), str(prefix)]]
    steps = [*steps, ["bind", init.__file__, _INIT_INSIDE]]
    argv = view.bubblewrap_argv(bubblewrap, steps, folder)
    return [*argv, "--", os.path.realpath(sys.executable), "-I", "-S", "-E", _INIT_INSIDE]
