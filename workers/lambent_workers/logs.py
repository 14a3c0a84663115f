"""Collects what environments print, and stores it in chunks, off every caller's path.

One `LogPump` serves a worker. Lines are buffered by group and flushed by one task, at most a second later or when
256 KB are there. Nothing here waits for the store: what does not fit into the buffer, or is over a function's rate,
is counted, dropped and said in the log itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

import structlog

from lambent_platform.contracts.clock import EventClock, SystemClock
from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION, LOG_TAIL_BYTES
from lambent_platform.store.logs import LogEvent

LINE_BYTES_MAX: Final = 256 * 1024
"""CloudWatch's largest event; a longer line is cut into several."""
_EVENT_OVERHEAD_BYTES: Final = 200
_CLOSE_S: Final = 5.0
_STORES_AT_ONCE: Final = 4

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """The bounds of a pump."""

    flush_interval_s: float = 1.0
    chunk_bytes: int = 256 * 1024
    buffer_bytes: int = 64 * 1024 * 1024
    """For all environments of the worker together."""
    function_bytes_per_s: int = 4 * 1024 * 1024
    function_burst_bytes: int = 16 * 1024 * 1024


class Appender(Protocol):
    """The part of `store.logs.LogStore` that a pump uses."""

    def at(self, account: str, region: str) -> Appender:
        """Return the logs of an account and region."""

    async def append(self, group: str, events: list[LogEvent]) -> None:
        """Store lines of one group."""


@dataclass(slots=True)
class _Group:
    """The buffer and the allowance of one function's environments on this worker."""

    store: Appender
    name: str
    allowance: float
    refilled_at: float
    users: int = 0
    events: list[LogEvent] = field(default_factory=list)
    held_bytes: int = 0


class LogPump:
    """Buffers and flushes the lines of all environments of one worker."""

    def __init__(
        self,
        store: Appender,
        *,
        limits: LogLimits | None = None,
        clock: EventClock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._limits = limits or LogLimits()
        self._clock = clock or SystemClock()
        self._monotonic = monotonic
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._held_bytes = 0
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.lines_dropped = 0
        """Over the life of the pump; for metrics."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="log-pump")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Store what is left, within `_CLOSE_S` seconds."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_S):
                while self._held_bytes and await self._flush():
                    pass
        except TimeoutError:
            pass
        lines = sum(len(group.events) for group in self._groups.values())
        if lines:
            _log.warning("log lines were lost at the end", lines=lines)

    def stream(
        self, group: str, stream: str, *, account: str = DEFAULT_ACCOUNT, region: str = DEFAULT_REGION
    ) -> EnvironmentLog:
        """Open one environment's stream; it takes lines until it is closed."""
        key = (account, region, group)
        state = self._groups.get(key)
        if state is None:
            state = self._groups[key] = _Group(
                self._store.at(account, region), group, self._limits.function_burst_bytes, self._monotonic()
            )
        state.users += 1
        return EnvironmentLog(self, state, stream)

    def now_ms(self) -> int:
        """The time that lines are given."""
        return self._clock.now_ms()

    def allow(self, group: _Group, size: int) -> bool:
        """Take from a function's allowance; False where it is used up or the buffer is full."""
        if self._held_bytes > self._limits.buffer_bytes:
            return False
        now = self._monotonic()
        earned = (now - group.refilled_at) * self._limits.function_bytes_per_s
        group.allowance = min(group.allowance + earned, self._limits.function_burst_bytes)
        group.refilled_at = now
        if size > group.allowance:
            return False
        group.allowance -= size
        return True

    def add(self, group: _Group, events: list[LogEvent], size: int) -> None:
        """Buffer lines of `size` bytes."""
        size += _EVENT_OVERHEAD_BYTES * len(events)
        group.events += events
        group.held_bytes += size
        self._held_bytes += size
        if group.held_bytes >= self._limits.chunk_bytes:
            self._due.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._limits.flush_interval_s):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            if not await self._flush():
                # The store is away: try again with the interval, not with every chunk that fills up meanwhile.
                await asyncio.sleep(self._limits.flush_interval_s)

    async def _flush(self) -> bool:
        """Store what is buffered; False where a part could not be, which stays in the buffer."""
        gate = asyncio.Semaphore(_STORES_AT_ONCE)
        groups = [group for group in self._groups.values() if group.events]
        results = await asyncio.gather(*(self._flush_group(group, gate) for group in groups))
        for key in [key for key, group in self._groups.items() if not group.users and not group.events]:
            del self._groups[key]
        return all(results)

    async def _flush_group(self, group: _Group, gate: asyncio.Semaphore) -> bool:
        events, held = group.events, group.held_bytes
        group.events, group.held_bytes = [], 0
        stored = 0
        try:
            async with gate:
                for part in _parts(events, self._limits.chunk_bytes):
                    await group.store.append(group.name, part)
                    stored += len(part)
        except Exception as error:  # one task serves every environment: whatever is wrong with a group, it goes on
            _log.warning("log lines could not be stored", group=group.name, error=str(error))
        finally:
            rest = events[stored:]
            rest_bytes = sum(map(_event_bytes, rest))
            self._held_bytes -= held - rest_bytes
            group.events[:0] = rest
            group.held_bytes += rest_bytes
        return stored == len(events)


def _event_bytes(event: LogEvent) -> int:
    return len(event.message) + _EVENT_OVERHEAD_BYTES


def _parts(events: list[LogEvent], size_max: int) -> list[list[LogEvent]]:
    """Cut lines into chunks of about `size_max` bytes."""
    parts: list[list[LogEvent]] = []
    size = size_max
    for event in events:
        if size >= size_max:
            parts.append([])
            size = 0
        parts[-1].append(event)
        size += _event_bytes(event)
    return parts


class EnvironmentLog:
    """The log of one environment: raw output and the platform's own lines, in the order they are given."""

    def __init__(self, pump: LogPump, group: _Group, stream: str) -> None:
        self._pump = pump
        self._group = group
        self._stream = stream
        self._partial = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._closed = False

    def write(self, data: bytes) -> None:
        """Take output as it was read from the process; a line that is not ended yet is kept for the next bytes."""
        head, newline, rest = data.rpartition(b"\n")
        if newline:
            self._lines((bytes(self._partial) + head).split(b"\n"))
            self._partial[:] = rest
        else:
            self._partial += data
        while len(self._partial) > LINE_BYTES_MAX:
            self._lines([bytes(self._partial[:LINE_BYTES_MAX])])
            del self._partial[:LINE_BYTES_MAX]

    def line(self, text: str) -> None:
        """Write a line of the platform's own: always taken until `close`, after whatever was printed before it."""
        if not self._closed:
            self._end_output()
            self._add([text.encode()])

    def begin(self) -> None:
        """Start the tail anew: a call begins."""
        self._tail.clear()

    def tail(self) -> bytes:
        """Return the last 4 KB since `begin`."""
        return bytes(self._tail[-LOG_TAIL_BYTES:])

    def close(self) -> None:
        """Write what is left of the output and take no more. Idempotent."""
        if not self._closed:
            self._end_output()
            self._closed = True
            self._group.users -= 1

    def _end_output(self) -> None:
        if self._partial:
            self._lines([bytes(self._partial)])
            self._partial.clear()
        self._say_dropped()

    def _say_dropped(self) -> None:
        if self._dropped:
            self._add([f"[lambent] dropped {self._dropped} lines: the function prints too much".encode()])
            self._dropped = 0

    def _lines(self, lines: list[bytes]) -> None:
        """Take the function's lines as far as its allowance goes."""
        if not self._closed and self._pump.allow(self._group, sum(map(len, lines)) + len(lines)):
            self._say_dropped()
            self._add(lines)
            return
        # Not all of them: as many as there is room for, unless lines before them were dropped already.
        taken = 0
        for line in lines if not (self._dropped or self._closed) else ():
            if not self._pump.allow(self._group, len(line) + 1):
                break
            taken += 1
        self._add(lines[:taken])
        self._dropped += len(lines) - taken
        self._pump.lines_dropped += len(lines) - taken

    def _add(self, lines: list[bytes]) -> None:
        now_ms, stream = self._pump.now_ms(), self._stream
        events: list[LogEvent] = []
        size = 0
        for line in lines:
            for at in range(0, len(line) or 1, LINE_BYTES_MAX):
                part = line[at : at + LINE_BYTES_MAX] + b"\n"
                self._tail += part[-LOG_TAIL_BYTES:]
                events.append(LogEvent(now_ms, stream, part.decode(errors="replace")))
                size += len(part)
        if len(self._tail) > 4 * LOG_TAIL_BYTES:
            del self._tail[:-LOG_TAIL_BYTES]
        self._pump.add(self._group, events, size)
