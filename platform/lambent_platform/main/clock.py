"""The one event timer of a process, as the settings say."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.main.settings import Settings
from lambent_platform.store.clock import ClockStore, SystemTimer, VirtualTimer
from lambent_platform.store.redis import RedisStore


@asynccontextmanager
async def event_timer(settings: Settings, redis: RedisStore, role: str) -> AsyncIterator[EventTimer]:
    """Open what tells a role the event time; everything of that role that asks for it gets this one.

    Raises:
        StoreUnavailable: a movable clock cannot be read.
    """
    if settings.clock == "real":
        ahead_ms = await ClockStore(redis).offset_ms()
        if ahead_ms:
            structlog.get_logger(role).warning(
                "this data was used with a clock that was moved ahead: what was set for later comes that much later; "
                "--clock virtual goes on with it",
                ahead_s=ahead_ms / 1000,
            )
        yield SystemTimer()
        return
    timer = VirtualTimer(redis, f"{role}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}")
    async with timer.running():
        yield timer
