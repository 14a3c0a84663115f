"""How the scheduler's loops go on when Redis does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from lambent_platform.contracts.errors import StoreUnavailable

BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)

log = structlog.get_logger("scheduler")


async def forever(name: str, step: Callable[[], Awaitable[None]], *, pause_s: float = 0.0) -> None:
    """Repeat `step` until cancelled; while Redis is away back off, and come back by itself.

    A step that fails otherwise is logged and repeated too: one function's bad state must not stop all others.
    """
    failures = 0
    while True:
        try:
            await step()
            failures = 0
        except StoreUnavailable as error:
            log.warning("redis is away", loop=name, error=str(error))
            failures += 1
        except Exception:
            log.exception("step failed", loop=name)
            failures += 1
        await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S)) - 1] if failures else pause_s)
