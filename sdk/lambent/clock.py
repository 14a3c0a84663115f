"""The platform's event time: shown, and moved ahead where it was started with `--clock virtual`."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lambent.transport import Transport

_PATH: Final = "/_lambent/clock"


@dataclass(frozen=True, slots=True)
class ClockTime:
    """What the platform's clock says."""

    now: datetime
    offset: timedelta
    """How far it is ahead of the machine's."""
    virtual: bool
    """Whether it can be moved."""

    @classmethod
    def from_api(cls, data: dict[str, Any]) -> ClockTime:
        """Read the page's JSON."""
        return cls(
            now=datetime.fromtimestamp(data["now_ms"] / 1000, UTC),
            offset=timedelta(milliseconds=data["offset_ms"]),
            virtual=data["clock"] == "virtual",
        )


class AsyncClock:
    """Event time, on which delays, retries, ages, schedules and visibility timeouts go.

        await client.invoke_async("flaky")
        await client.clock.advance("1m")     # the first retry is due
        await client.clock.advance(timedelta(hours=6))

    A move is done when every process of the platform has followed; what became due by it begins at once. Each method
    raises `ApiError` with the code `ClockIsReal` where the platform goes by the machine's clock.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def now(self) -> ClockTime:
        """Read the clock, also one that cannot be moved."""
        return ClockTime.from_api((await self._transport.request("GET", _PATH)).json())

    async def advance(self, by: str | timedelta) -> ClockTime:
        """Move it ahead by a span (`"1h30m"`; units are ms, s, m, h, d); returns what it says then."""
        text = by if isinstance(by, str) else f"{by // timedelta(milliseconds=1)}ms"
        return await self._move("advance", text)

    async def set(self, to: str | datetime) -> ClockTime:
        """Move it ahead to a moment (`"2027-03-28T00:59:00Z"`; without a zone it is UTC).

        Raises:
            ApiError: the moment is past (`InvalidClockMove`).
        """
        return await self._move("set", to if isinstance(to, str) else to.isoformat())

    async def _move(self, how: str, value: str) -> ClockTime:
        answer = await self._transport.request(
            "POST", _PATH, headers={"Content-Type": "application/json"}, body=json.dumps({how: value}).encode()
        )
        return ClockTime.from_api(answer.json())


class Clock:
    """`AsyncClock` for code that is not asynchronous; methods and errors are the same."""

    def __init__(self, clock: AsyncClock, run: Callable[[Coroutine[Any, Any, ClockTime]], ClockTime]) -> None:
        self._clock = clock
        self._run = run

    def now(self) -> ClockTime:
        """See `AsyncClock.now`."""
        return self._run(self._clock.now())

    def advance(self, by: str | timedelta) -> ClockTime:
        """See `AsyncClock.advance`."""
        return self._run(self._clock.advance(by))

    def set(self, to: str | datetime) -> ClockTime:
        """See `AsyncClock.set`."""
        return self._run(self._clock.set(to))
