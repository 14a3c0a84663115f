"""The movable clock: `GET /_lambent/clock`, and `POST` to move it ahead. No part of an AWS API.

Both answer `{"clock": "real"|"virtual", "now": "2027-03-28T00:59:00.000Z", "now_ms": …, "offset_ms": …}`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiohttp import web

from lambent_platform.contracts.clock import EventClock, SystemClock
from lambent_platform.contracts.durations import parse_duration_ms
from lambent_platform.contracts.errors import ApiError
from lambent_platform.gateway.app import Route, exactly
from lambent_platform.gateway.aws.body import read_body
from lambent_platform.store.clock import ClockStore, MovableTimer

PATH: Final = "/_lambent/clock"
BODY_BYTES_MAX: Final = 4096
FOLLOW_S: Final = 5.0
"""How long a move is waited for; a process that was killed is waited for until its lease is over, which is shorter."""
LOOK_S: Final = 0.003
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01: no move goes beyond it."""


class ClockPage:
    """Shows event time, and moves it where the platform's clock can be moved."""

    def __init__(self, store: ClockStore, clock: EventClock) -> None:
        self._store = store
        self._clock = clock
        self._real = SystemClock()

    def route(self) -> Route:
        """Return the route to serve."""
        return Route(exactly(PATH), self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer with the time; a POST of `{"advance": "2h"}` or `{"set": "2027-03-28T00:59:00Z"}` moves it first.

        Every live process has followed when the answer comes.
        """
        if request.method in ("GET", "HEAD"):
            return self._answer()
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD", "POST"))
        if not isinstance(self._clock, MovableTimer):
            raise ApiError(
                "This platform goes by the machine's clock, which nothing moves; `lambent up --clock virtual` has one "
                "that can be moved.",
                code="ClockIsReal",
                status=409,
            )
        name, value = _read_move(await read_body(request, BODY_BYTES_MAX, _refused("The body is too large.")))
        offset_ms = await self._advance(value) if name == "advance" else await self._set(value)
        await self._wait_for_all(offset_ms)
        return self._answer()

    async def _advance(self, value: str) -> int:
        try:
            by_ms = parse_duration_ms(value)
        except ValueError as error:
            raise _refused(str(error)) from error
        _check_latest(self._clock.now_ms() + by_ms)
        return await self._store.advance(by_ms, real_ms=self._real.now_ms())

    async def _set(self, value: str) -> int:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise _refused(f"{value[:64]!r} is not a time such as 2027-03-28T00:59:00Z") from error
        to_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        _check_latest(to_ms)
        if to_ms < self._clock.now_ms():
            raise _refused(f"{value} is past, and the clock only moves ahead: it is {_text(self._clock.now_ms())}")
        return await self._store.set(to_ms, real_ms=self._real.now_ms())

    async def _wait_for_all(self, offset_ms: int) -> None:
        try:
            async with asyncio.timeout(FOLLOW_S):
                while behind := await self._store.behind(offset_ms):  # noqa: ASYNC110 - others' events cannot be awaited
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as error:
            raise ApiError(
                f"The clock was moved, but {', '.join(behind)} did not follow within {FOLLOW_S:g} s.",
                code="ClockNotFollowed",
                status=503,
            ) from error

    def _answer(self) -> web.Response:
        now_ms, virtual = self._clock.now_ms(), isinstance(self._clock, MovableTimer)
        shown = {
            "clock": "virtual" if virtual else "real",
            "now": _text(now_ms),
            "now_ms": now_ms,
            "offset_ms": self._clock.offset_ms if isinstance(self._clock, MovableTimer) else 0,
        }
        return web.Response(
            body=orjson.dumps(shown), content_type="application/json", headers={"Cache-Control": "no-store"}
        )


def _read_move(body: bytes) -> tuple[str, str]:
    try:
        found: Any = orjson.loads(body)
    except ValueError as error:
        raise _refused("The body is not JSON.") from error
    if isinstance(found, dict) and len(found) == 1:
        name, value = next(iter(found.items()))
        if name in ("advance", "set") and isinstance(value, str):
            return name, value
    raise _refused('The body is {"advance": "2h"} or {"set": "2027-03-28T00:59:00Z"}.')


def _check_latest(to_ms: int) -> None:
    if to_ms > LATEST_MS:
        raise _refused(f"The clock does not go beyond {_text(LATEST_MS)}.")


def _refused(message: str) -> ApiError:
    return ApiError(message, code="InvalidClockMove", status=400)


def _text(moment_ms: int) -> str:
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_ms % 1000:03d}Z"
