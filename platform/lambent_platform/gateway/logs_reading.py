"""Reading a log forwards and backwards over a store that reads forwards, in pages of bounded size.

A position is (time in ms, event id): events are in the order of their positions, and `(ms, "")` is before every
event of that millisecond. Tokens that clients get are positions, so they stay good for as long as the events do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lambent_platform.store.logs import LogEvent, LogGroup, LogStream

Position = tuple[int, str]

PAGE_BYTES_MAX: Final = 1_048_576
"""CloudWatch's own bound on what one reply carries."""
PAGE_EVENTS_MAX: Final = 10_000
READS_MAX: Final = 32
"""Most pages of the store that one request reads; a filter that matches little then answers with a token alone."""
_FIRST_WINDOW_MS: Final = 60_000
_WINDOW_GROWTH: Final = 8


class LogSource(Protocol):
    """What is asked of the store, by the `LogStore` of one account and region."""

    async def groups(self, prefix: str = "", limit: int = 50, after: str = "") -> list[LogGroup]:
        """List groups by name."""

    async def streams(self, group: str) -> list[LogStream]:
        """List a group's streams."""

    async def read(
        self,
        group: str,
        *,
        streams: Sequence[str] | None = None,
        start_ms: int = 0,
        end_ms: int | None = None,
        limit: int = 10_000,
        token: str | None = None,
    ) -> tuple[list[LogEvent], str | None]:
        """Read lines in the order of their times; `end_ms` is the last time wanted."""


@dataclass(frozen=True, slots=True)
class LogRange:
    """What to read: lines of some streams (None: all) with `start_ms <= time <= end_ms` (None: no end)."""

    group: str
    streams: Sequence[str] | None = None
    start_ms: int = 0
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Lines in their order, and a token where there may be more."""

    events: Sequence[LogEvent]
    token: str | None = None


def position(event: LogEvent) -> Position:
    """Return where an event stands."""
    return (event.timestamp_ms, event.id)


def write_position(at: Position) -> str:
    """Write a position into a token."""
    return f"{at[0]}/{at[1]}"


def read_position(text: str) -> Position:
    """Undo `write_position`.

    Raises:
        ValueError: it is none.
    """
    at_ms, slash, ident = text.partition("/")
    if not slash or not at_ms.isdecimal() or len(at_ms) > 15:
        raise ValueError("not a position")
    return int(at_ms), ident


async def search(
    source: LogSource, wanted: LogRange, matches: Callable[[str], bool], limit: int, token: str | None
) -> Page:
    """Return up to `limit` lines that match, from the range's start or from a token of an earlier page.

    Raises:
        ValueError: the token is none of ours.
    """
    kind, _, rest = (token or "").partition(":")
    after = read_position(rest) if kind == "at" else (wanted.start_ms, "")
    store_token = rest if kind == "in" else None
    if token and kind not in {"at", "in"}:
        raise ValueError("a token of another listing")
    found: list[LogEvent] = []
    size = 0
    for _ in range(READS_MAX):
        events, store_token = await source.read(
            wanted.group,
            streams=wanted.streams,
            start_ms=after[0],
            end_ms=wanted.end_ms,
            limit=PAGE_EVENTS_MAX,
            token=store_token,
        )
        for event in events:
            if position(event) <= after or not matches(event.message):
                continue
            size += len(event.message)
            if len(found) == limit or (found and size > PAGE_BYTES_MAX):
                return Page(found, f"at:{write_position(position(found[-1]))}")
            found.append(event)
        if store_token is None:
            return Page(found)
    return Page(found, f"in:{store_token}")


async def forwards(source: LogSource, wanted: LogRange, after: Position, limit: int) -> list[LogEvent]:
    """Return up to `limit` lines after a position."""
    start = LogRange(wanted.group, wanted.streams, max(after[0], wanted.start_ms), wanted.end_ms)
    page = await search(source, start, lambda _: True, limit, f"at:{write_position(max(after, (start.start_ms, '')))}")
    return list(page.events)


async def backwards(source: LogSource, wanted: LogRange, before: Position, first_ms: int, limit: int) -> list[LogEvent]:
    """Return the last `limit` lines before a position, in their order; nothing is older than `first_ms`.

    The store reads forwards only, so a window in front of the position grows until it holds enough.
    """
    floor_ms = max(wanted.start_ms, first_ms)
    window_ms = _FIRST_WINDOW_MS
    while True:
        start_ms = max(before[0] - window_ms, floor_ms)
        kept = await _last(source, wanted, start_ms, before, limit)
        if len(kept) == limit or start_ms == floor_ms:
            return _newest(kept)
        window_ms *= _WINDOW_GROWTH


async def _last(source: LogSource, wanted: LogRange, start_ms: int, before: Position, limit: int) -> Sequence[LogEvent]:
    kept: deque[LogEvent] = deque(maxlen=limit)
    token: str | None = None
    while True:
        events, token = await source.read(
            wanted.group,
            streams=wanted.streams,
            start_ms=start_ms,
            end_ms=before[0],
            limit=PAGE_EVENTS_MAX,
            token=token,
        )
        kept.extend(event for event in events if position(event) < before)
        if token is None:
            return kept


def _newest(events: Sequence[LogEvent]) -> list[LogEvent]:
    """Return the end of a run of lines, as much as one reply carries and at least one."""
    taken: list[LogEvent] = []
    size = 0
    for event in reversed(events):
        size += len(event.message)
        if taken and size > PAGE_BYTES_MAX:
            break
        taken.append(event)
    return taken[::-1]
