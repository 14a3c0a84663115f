"""What a kind of poller is, and what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from lambent_platform.contracts.mappings import MappingRecord


class Assignment:
    """One mapping, as its poller sees it: always its newest settings, and whether it is still wanted.

    Settings may change at any time; a poller reads `record` anew for each batch. When `enabled` becomes False it
    takes nothing more, finishes what it has in hand, and returns; when it becomes True before that, it goes on.
    """

    def __init__(self, record: MappingRecord, *, report: Callable[[str, str], None] | None = None) -> None:
        self._record = record
        self._report = report
        self._enabled = record.enabled
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()

    @property
    def record(self) -> MappingRecord:
        """The mapping's newest settings."""
        return self._record

    @property
    def enabled(self) -> bool:
        """Whether something may be taken from the source."""
        return self._enabled

    @property
    def changed(self) -> asyncio.Event:
        """Set by each change; who waits for it clears it first and then looks at `record` and `enabled`."""
        return self._changed

    @property
    def ready(self) -> asyncio.Event:
        """Set by the poller once nothing can be missed that is added from then on; a new mapping is Enabled by that."""
        return self._ready

    def apply(self, record: MappingRecord) -> None:
        """Take over what was written."""
        self._record = record
        self._enabled = record.enabled and record.state != "Deleting"
        self._changed.set()

    def report(self, result: str) -> None:
        """Say what the last batch ended with, for `LastProcessingResult`; it is written only when it changes."""
        if self._report is not None:
            self._report(self._record.uuid, result)


class PollerKind(Protocol):
    """Polls one kind of source."""

    async def poll(self, assignment: Assignment) -> None:
        """Feed one mapping's function until `assignment.enabled` is False and nothing is in hand any more.

        It may be cancelled at any moment, with batches in hand: what was taken must come back by itself. Exceptions
        are logged and reported by the supervisor, which calls this again after a while.
        """

    async def forget(self, record: MappingRecord) -> None:
        """Take back what a mapping that is deleted has left at its source. `poll` has returned, or never ran."""
