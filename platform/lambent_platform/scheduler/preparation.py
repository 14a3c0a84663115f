"""The preparation loop: functions that were created or updated become callable, or failed.

It asks `core.preparation` what a version still needs, orders builds, and writes what became of it. A build that got
lost is noticed here too, since ordering it again while it is wanted is all that this loop does.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from lambent_platform.contracts.build import BuildOrder, BuildRecord
from lambent_platform.contracts.environment import WorkerRecord
from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.contracts.runtimes import RUNTIMES, Runtime
from lambent_platform.core.functions import awaiting_preparation, preparation_failed, prepared
from lambent_platform.core.preparation import Build, Failed, Runnable, Step, Wait, image_order, next_step
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.jobs import JobQueue, JobStore
from lambent_platform.store.objects import ObjectStore

WAKE_S: Final = 1.0
POLL_S: Final = 0.2
"""While something is being prepared: workers tell of an image with a heartbeat, not with a wake."""
_ROUNDS: Final = 3
"""At most an image, dependencies, and what comes of them."""

log = structlog.get_logger("scheduler")


class PreparationLoop:
    """Reads what awaits preparation, asks `core.preparation`, orders builds, commits."""

    def __init__(
        self,
        functions: FunctionStore,
        fleet: FleetStore,
        jobs: JobStore,
        queue: JobQueue,
        objects: ObjectStore,
        *,
        image_tag: Callable[[Runtime], str],
        on_queued: Callable[[], None] = lambda: None,
    ) -> None:
        """`image_tag` names a runtime's image; `on_queued` is told of every order that was put into the queue."""
        self._functions = functions
        self._fleet = fleet
        self._jobs = jobs
        self._queue = queue
        self._objects = objects
        self._image_tag = image_tag
        self._on_queued = on_queued
        self._busy = True

    async def step(self) -> None:
        """Sleep until something is to be prepared; then bring each such function as far as it gets."""
        await self._jobs.sleep(POLL_S if self._busy else WAKE_S)
        idents = await self._functions.preparing()
        self._busy = bool(idents)
        if not idents:
            return
        workers = await self._fleet.workers()
        builds: dict[str, BuildRecord] = {}
        for ident in idents:
            await self._prepare(ident, workers, builds)
        # Told to all who waited for it. Whoever deploys the same again gets a new try, not an old failure.
        await self._jobs.forget(known.id for known in builds.values() if known.phase == "failed")

    async def _prepare(self, ident: str, workers: list[WorkerRecord], builds: dict[str, BuildRecord]) -> None:
        record = await self._functions.load(ident)
        if record is None:
            return
        ended: dict[str, FunctionVersion] = {}
        for version in awaiting_preparation(record):
            after = self._after(version, await self._advance(version, workers, builds))
            if after is not None:
                ended[after.version] = after
        if ended or not any(awaiting_preparation(record)):
            await self._commit(ident, record, ended)

    async def _commit(self, ident: str, record: FunctionRecord, ended: dict[str, FunctionVersion]) -> None:
        if not await self._functions.write(ident, record, replace(record, versions={**record.versions, **ended})):
            return  # changed meanwhile: the next step reads it again
        for version in ended.values():
            log.info(
                "prepared",
                function=ident,
                version=version.version,
                state=version.state,
                update=version.last_update_status,
                reason=version.last_update_reason or version.state_reason,
            )

    async def _advance(
        self, version: FunctionVersion, workers: list[WorkerRecord], builds: dict[str, BuildRecord]
    ) -> Step:
        """Order what a version needs until it can, or has to wait."""
        runtime = RUNTIMES.get(version.runtime)
        if runtime is None:
            return Failed(f"The runtime {version.runtime} is not one that this platform serves.", "InvalidRuntime")
        image = image_order(runtime.name, self._image_tag(runtime))
        step: Step = Wait()
        for _ in range(_ROUNDS):
            step = next_step(version, workers, image=image, builds=builds)
            if not isinstance(step, Build) or step.order.id in builds:
                break
            builds[step.order.id] = await self._order(step.order)
        return step

    async def _order(self, order: BuildOrder) -> BuildRecord:
        enqueue, known = await self._jobs.order(order)
        if known.phase == "succeeded" and order.kind == "dependencies" and not await self._objects.exists(known.result):
            log.warning("a built package is gone; building it again", build=order.id)
            await self._jobs.forget([order.id])
            enqueue, known = await self._jobs.order(order)
        if enqueue:
            await self._queue.put(order)
            log.info("queued", build=order.id, attempts=known.attempts)
            self._on_queued()
        return known

    def _after(self, version: FunctionVersion, step: Step) -> FunctionVersion | None:
        """A version's new state; None where it is not decided yet."""
        if isinstance(step, Runnable):
            return prepared(version, revision_id=str(uuid.uuid4()), runnable_key=step.runnable_key)
        if isinstance(step, Failed):
            return preparation_failed(version, reason=step.reason, code=step.code, revision_id=str(uuid.uuid4()))
        return None
