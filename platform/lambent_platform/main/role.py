"""How one role runs as a process: loop, signals, logs, and an end that has a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import uvloop

from lambent_platform.main import logging
from lambent_platform.main.folders import FolderError
from lambent_platform.main.settings import Settings

Body = Callable[[Settings, asyncio.Event], Awaitable[None]]
"""A role: runs until the event is set, then drains and returns."""

CLOSE_S: Final = 3.0
"""What a role may take to close, after `drain_s` for its running calls."""
BEAT_S: Final = 2.0
EXIT_SETTINGS: Final = 2
"""Exit status of what will not go away by trying again: a setting, or what the machine lacks."""


class CannotStart(RuntimeError):
    """The role cannot run here as it is set up; the text is one line for the operator."""


def run_role(role: str, settings: Settings, body: Body, *, close_s: float = CLOSE_S) -> int:
    """Run a role to its end and return the process's exit status.

    SIGINT and SIGTERM ask it to drain; a second one, or the deadline, ends it at once. SIGUSR1 prints the stacks.
    """
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    logging.configure(settings, role=role)
    log = structlog.get_logger()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_until_stopped(settings, body, close_s))
    except (CannotStart, FolderError) as error:
        log.error("cannot start", reason=str(error))
        sys.stderr.write(f"lambent {role}: {error}\n")
        return EXIT_SETTINGS
    except Exception:
        log.exception("the role failed")
        return 1


def touch(settings: Settings) -> None:
    """Touch the file by which health checks see that this process works."""
    if settings.alive_file is not None:
        with contextlib.suppress(OSError):
            settings.alive_file.touch(mode=0o644)


async def _beat(settings: Settings) -> None:
    while settings.alive_file is not None:
        touch(settings)
        await asyncio.sleep(BEAT_S)


async def _until_stopped(settings: Settings, body: Body, close_s: float) -> int:
    log = structlog.get_logger()
    stop = asyncio.Event()
    work = asyncio.ensure_future(body(settings, stop))

    def on_signal() -> None:
        if stop.is_set():
            work.cancel()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    stopping = asyncio.create_task(stop.wait())
    beating = asyncio.create_task(_beat(settings))
    try:
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            log.info("draining", seconds=settings.drain_s)
            await asyncio.wait({work}, timeout=settings.drain_s + close_s)
        if not work.done():
            log.error("did not end in time")
            work.cancel()
            await asyncio.wait({work}, timeout=0.5)
        if not work.done():
            os._exit(1)
    finally:
        stopping.cancel()
        beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
        return 0
    return 1
