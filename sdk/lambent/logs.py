"""Reading a function's log through CloudWatch Logs' API, once or as it grows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from lambent.errors import ResourceNotFound
from lambent.records import LogEvent
from lambent.transport import Transport

POLL_S: Final = 0.5
_OVERLAP_MS: Final = 15_000
"""How far back each look at a growing log goes: environments write their lines in batches, so a line may turn up
after a later one of another environment."""
_PAGE: Final = 10_000


async def read_log(transport: Transport, group: str, *, start_ms: int) -> AsyncIterator[LogEvent]:
    """Yield the events of a log group since `start_ms` (milliseconds since the epoch), oldest first.

    A group that does not exist yet has no events.
    """
    token: str | None = None
    while True:
        query: dict[str, Any] = {"logGroupName": group, "startTime": max(start_ms, 0), "limit": _PAGE}
        if token is not None:
            query["nextToken"] = token
        try:
            answer = await transport.request(
                "POST",
                "/",
                service="logs",
                headers={
                    "Content-Type": "application/x-amz-json-1.1",
                    "X-Amz-Target": "Logs_20140328.FilterLogEvents",
                },
                body=json.dumps(query).encode(),
            )
        except ResourceNotFound:
            return
        page = answer.json()
        for event in page.get("events", ()):
            yield LogEvent(
                id=event.get("eventId", ""),
                timestamp_ms=event["timestamp"],
                message=event["message"],
                stream=event.get("logStreamName", ""),
            )
        following = page.get("nextToken")
        if not following or following == token:
            return
        token = following


async def follow_log(transport: Transport, group: str, *, start_ms: int) -> AsyncIterator[LogEvent]:
    """Yield events as they come, each once, until the caller stops asking."""
    seen: dict[str, int] = {}
    newest = start_ms
    while True:
        async for event in read_log(transport, group, start_ms=max(start_ms, newest - _OVERLAP_MS)):
            if event.id in seen:
                continue
            seen[event.id] = event.timestamp_ms
            newest = max(newest, event.timestamp_ms)
            yield event
        seen = {ident: at for ident, at in seen.items() if at >= newest - _OVERLAP_MS}
        await asyncio.sleep(POLL_S)


def ago_ms(seconds: float) -> int:
    """Return the time that many seconds ago, in milliseconds since the epoch."""
    return int((time.time() - seconds) * 1000)
