"""One task a mapping, derived from what is stored and supervised alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.contracts.mappings import INTERNAL, MappingRecord
from lambent_platform.core.mapping_sources import source_rules
from lambent_platform.core.mappings import settled
from lambent_platform.scheduler.loops import BACKOFF_S, forever
from lambent_platform.scheduler.pollers.port import Assignment, PollerKind
from lambent_platform.store.mappings import MappingStore

RECONCILE_S: Final = 5.0
"""A change wakes the supervisor at once; this is for a wake that was lost with the scheduler before."""
RESULTS_S: Final = 0.5
READY_S: Final = 5.0
"""How long a mapping is changing at most, where its source cannot be polled."""
STEADY_S: Final = 30.0
"""A poller that ran for so long did not fail at its start: its next failure waits as the first does."""

log = structlog.get_logger("scheduler")


@dataclass(slots=True)
class _Polled:
    """One mapping that this scheduler looks after."""

    assignment: Assignment
    task: asyncio.Task[None] | None = None


class MappingSupervisor:
    """Keeps a poller running for every enabled mapping; `kinds` go by `SourceRules.kind`."""

    def __init__(self, store: MappingStore, kinds: Mapping[str, PollerKind]) -> None:
        self._store = store
        self._kinds = kinds
        self._polled: dict[str, _Polled] = {}
        self._draining: set[asyncio.Task[None]] = set()
        """What settles mappings, and lets those that are gone finish what they have in hand."""
        self._results: dict[str, str] = {}
        """What is to be written."""
        self._reported: dict[str, str] = {}
        """What is written or will be."""
        self._seen = 0

    @property
    def polling(self) -> int:
        """How many pollers run; for metrics."""
        return sum(1 for one in self._polled.values() if one.task is not None and not one.task.done())

    async def run(self) -> None:
        """Look after all mappings until cancelled; batches that are in hand then come back to their sources."""
        self._seen = 0
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(forever("mappings", self._look))
                group.create_task(forever("mapping results", self._write_results, pause_s=RESULTS_S))
        finally:
            await self._end()

    async def _end(self) -> None:
        tasks = [one.task for one in self._polled.values() if one.task is not None] + list(self._draining)
        self._polled.clear()
        self._results.clear()
        self._reported.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        """Take over what was written since the last look, then sleep until something is."""
        while changed := await self._store.changed(self._seen):
            for record in changed:
                await self._take_over(record)
                self._seen = max(self._seen, record.generation)
        await self._store.sleep(RECONCILE_S)

    async def _take_over(self, record: MappingRecord) -> None:
        if record.state == "Deleting":
            self._let_go(record)
            await self._store.delete(record)
            return
        polled = self._polled.get(record.uuid)
        if polled is None:
            polled = self._polled[record.uuid] = _Polled(Assignment(record, report=self._report))
            self._reported[record.uuid] = record.last_result
        polled.assignment.apply(record)
        if polled.assignment.enabled and (polled.task is None or polled.task.done()):
            polled.task = asyncio.create_task(self._keep(polled.assignment), name=f"mapping {record.uuid}")
        if record.changing:
            self._beside(self._settle(polled.assignment, record))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _settle(self, assignment: Assignment, record: MappingRecord) -> None:
        """Write that a mapping is what it is wanted to be, once its poller has begun or could not for a while."""
        if assignment.enabled:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READY_S):
                    await assignment.ready.wait()
        for pause_s in itertools.chain(BACKOFF_S, itertools.repeat(BACKOFF_S[-1])):
            try:
                # Where it was written again in the meantime this writes nothing, and the next look sees it.
                await self._store.write(replace(record, state=settled(record)))
            except StoreUnavailable as error:
                log.warning("redis is away", mapping=record.uuid, error=str(error))
                await asyncio.sleep(pause_s)
            else:
                return

    def _let_go(self, record: MappingRecord) -> None:
        polled = self._polled.pop(record.uuid, None)
        self._results.pop(record.uuid, None)
        self._reported.pop(record.uuid, None)
        if polled is not None:
            polled.assignment.apply(record)
        self._beside(self._forget(record, polled.task if polled else None))

    async def _forget(self, record: MappingRecord, task: asyncio.Task[None] | None) -> None:
        """Let a mapping that is gone finish what it has in hand, and clean up behind it."""
        try:
            if task is not None:
                await asyncio.wait({task})
            await self._kinds[source_rules(record.source_arn).kind].forget(record)
        except Exception:
            log.exception("a deleted mapping left something", mapping=record.uuid, source=record.source_arn)
        finally:
            if task is not None:
                task.cancel()

    async def _keep(self, assignment: Assignment) -> None:
        """Run one mapping's poller again and again while it is wanted."""
        loop = asyncio.get_running_loop()
        failures = 0
        while assignment.enabled:
            record, began_s = assignment.record, loop.time()
            try:
                await self._kinds[source_rules(record.source_arn).kind].poll(assignment)
                failures = 0
                if not assignment.enabled:
                    return
            except StoreUnavailable as error:
                log.warning("redis is away", mapping=record.uuid, error=str(error))
            except Exception:
                log.exception("poller failed", mapping=record.uuid, source=record.source_arn)
                assignment.report(INTERNAL)
            assignment.ready.set()  # what cannot be polled is Enabled, and its last result says why nothing comes
            failures = 1 if loop.time() - began_s > STEADY_S else failures + 1
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S)) - 1])

    def _report(self, uuid: str, result: str) -> None:
        if self._reported.get(uuid) != result and uuid in self._polled:
            self._reported[uuid] = self._results[uuid] = result

    async def _write_results(self) -> None:
        if not self._results:
            return
        results, self._results = self._results, {}
        try:
            await self._store.note_results(results)
        except StoreUnavailable:
            self._results = {**results, **self._results}
            raise
