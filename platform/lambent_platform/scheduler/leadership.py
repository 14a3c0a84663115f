"""One scheduler is active; the others stand by for its lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.store.fleet import FleetStore

LEASE_MS: Final = 5_000
RENEW_S: Final = 1.0

log = structlog.get_logger("scheduler")


async def lead(fleet: FleetStore, holder: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` whenever this process holds the scheduler's lease, until cancelled.

    Work is cancelled as soon as the lease could not be renewed within its length: by then another may have it.
    """
    try:
        while True:
            if await _renew(fleet, holder):
                log.info("leading", holder=holder)
                await _work_while_leading(fleet, holder, work)
                log.warning("not leading any more", holder=holder)
            await asyncio.sleep(RENEW_S)
    finally:
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(2):
                await fleet.resign("scheduler", holder)


async def _work_while_leading(fleet: FleetStore, holder: str, work: Callable[[], Awaitable[None]]) -> None:
    running = asyncio.ensure_future(work())
    loop = asyncio.get_running_loop()
    held_until = loop.time() + LEASE_MS / 1000
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=RENEW_S)
            asked_at = loop.time()
            renewed = await _renew(fleet, holder)
            if renewed:
                held_until = asked_at + LEASE_MS / 1000
            elif renewed is False or loop.time() > held_until:
                return
        running.result()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _renew(fleet: FleetStore, holder: str) -> bool | None:
    """True where the lease is ours, False where it is another's, None where Redis could not say."""
    try:
        return await fleet.lead("scheduler", holder, lease_ms=LEASE_MS)
    except StoreUnavailable as error:
        log.warning("redis is away", error=str(error))
        return None
