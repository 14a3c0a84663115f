"""The worker: takes calls from its inbox, runs them in its environments, and gives their ends back in batches.

Loops: one inbox for each partition, the finisher, the heartbeat, and the housekeeping of what is idle. A call that
finds its environment ready is handed over in the tick that read it; tasks are made for what is slow only: starts,
freezing, retiring. Whatever the worker cannot run goes back in front of its queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, Final

import orjson
import structlog

from lambent_platform.contracts.clock import EventClock
from lambent_platform.contracts.environment import EnvironmentState, WorkerRecord
from lambent_platform.contracts.errors import SandboxError, StoreUnavailable
from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.response_streams import Credit
from lambent_platform.core import retries
from lambent_platform.core.keepalive import Idle, idle_action
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.habits import HabitStore
from lambent_platform.store.invocations import (
    Call,
    InboxItem,
    InvocationStore,
    Next,
    Outcome,
    Retire,
    SlotAnswer,
    Start,
    Work,
)
from lambent_platform.store.response_streams import ResponseStreamStore
from lambent_workers import failures
from lambent_workers.code_cache import CodeCache
from lambent_workers.drivers.port import Driver, DriverInfo
from lambent_workers.endings import Ended
from lambent_workers.environment import Environment
from lambent_workers.finisher import BACKOFF_S, Finisher
from lambent_workers.heartbeat import Heartbeat
from lambent_workers.hot_folder import FolderRefused, HotFolders
from lambent_workers.hot_reload import HotReload
from lambent_workers.keeping import Keeping
from lambent_workers.logs import LogPump
from lambent_workers.metrics import WorkerMetrics
from lambent_workers.outcomes import outcome_of, outcome_of_expired, outcome_of_failure
from lambent_workers.reconcile import Reconciler
from lambent_workers.settings import WorkerSettings
from lambent_workers.starter import Starter
from lambent_workers.stems import StemPool
from lambent_workers.streams import Stream, StreamPump
from lambent_workers.walls import Builder

_log = structlog.get_logger(__name__)
INBOX_WAIT_S: Final = 1.0
"""Also how long the end waits for a read that nothing comes to: a cancelled read could lose what it had popped."""
TICK_S: Final = 0.5
START_FAILED_PAUSE_S: Final = 1.0
"""Before a call is given back whose environment the platform could not start, so that attempts do not spin."""
STRANDED_S: Final = 10.0
"""An idle environment whose slot is nowhere, though no call has come for it either, is ended after this time."""


class Worker:
    """One machine's environments. `run` until `stop`."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        invocations: InvocationStore,
        streams: ResponseStreamStore,
        fleet: FleetStore,
        habits: HabitStore,
        driver: Driver,
        driver_info: DriverInfo,
        code: CodeCache,
        logs: LogPump,
        clock: EventClock,
        liveness_ms: Callable[[], Awaitable[int]],
    ) -> None:
        """Wire a worker; `liveness_ms` asks the store for its clock, and the driver is open already."""
        self.settings = settings
        self.environments: dict[str, Environment] = {}
        self._invocations = invocations
        self._clock = clock
        self._info = driver_info
        builder = Builder(driver, settings.environments_dir)
        self.stems = StemPool(builder, settings.keepalive, settings.worker_id)
        self._code = code
        self._logs = logs
        self._metrics = WorkerMetrics()
        private = (*settings.private_folders, settings.environments_dir.parent)
        folders = HotFolders(roots=settings.hot_reload_roots, private=private)
        self._starter = Starter(
            builder, self.stems, code, logs, hot_folders=folders, metrics=self._metrics,
            parallel=settings.start_parallelism,
        )  # fmt: skip
        self._hot_reload = HotReload(self, folders)
        self._heartbeat = Heartbeat(fleet, liveness_ms, record=self._record, environments=self._records)
        self._keeping = Keeping(
            habits, settings.keepalive, now_ms=self._heartbeat.now_ms, environments=self.environments.values
        )
        self._finisher = Finisher(
            invocations, settings.worker_id, liveness_ms=self._heartbeat.now_ms, taken=self._after
        )
        self._streams = StreamPump(streams, settings.worker_id, bytes_max=settings.stream_bytes_max)
        self._reconciler = Reconciler(invocations, settings.worker_id, in_hand=self._in_hand, freed=self._reoffer)
        self._aside: set[str] = set()
        """Calls that no environment has while something slow is done for them."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._draining = False

    # -- life ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin to end: `run` returns when what runs has ended, or its time is over."""
        self._stopping.set()

    async def run(self, *, started: asyncio.Event | None = None) -> None:
        """Serve until `stop`; sets `started` once the worker is registered."""
        await self._code.open()
        await self._heartbeat.register()
        if started is not None:
            started.set()
        background = [
            asyncio.create_task(self._finisher.run(), name="finisher"),
            asyncio.create_task(self._streams.run(), name="streams"),
            asyncio.create_task(self._heartbeat.run(self._give_up), name="heartbeat"),
            asyncio.create_task(self._housekeeping(), name="housekeeping"),
            asyncio.create_task(self._keeping.run(), name="keeping"),
            asyncio.create_task(self._reconciler.run(self.settings.reconcile_interval_s), name="reconciler"),
        ]
        inboxes = [
            asyncio.create_task(self._inbox(prefix), name=f"inbox {prefix}") for prefix in self._invocations.partitions
        ]
        stopping: asyncio.Task[Any] = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({stopping, *background, *inboxes}, return_when=asyncio.FIRST_COMPLETED)
            for task in (*background, *inboxes):
                if task.done():
                    task.result()  # a loop only ends by a defect: say which, and end
            await self._drain()
            await asyncio.gather(*inboxes)
            async with asyncio.timeout(INBOX_WAIT_S):
                await self._streams.settled()
                await self._finisher.settled()
        except TimeoutError:
            _log.warning("some ended calls could not be written: the store is away")
        finally:
            for task in (stopping, *background, *inboxes):
                task.cancel()
            await asyncio.gather(stopping, *background, *inboxes, return_exceptions=True)
            await self._close_everything()

    async def _drain(self) -> None:
        """Take nothing more, finish what runs, give back the rest."""
        self._draining = True
        await self._heartbeat.beat_quietly()
        closing = asyncio.create_task(self.stems.close())
        try:
            async with asyncio.timeout(self.settings.drain_timeout_s):
                while self.environments:
                    for environment in list(self.environments.values()):
                        self._let_go(environment)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            for environment in list(self.environments.values()):
                self._interrupt(environment)
        self._drained.set()
        await self._heartbeat.wake_inbox()
        await closing

    def _let_go(self, environment: Environment) -> None:
        environment.condemned = True
        if environment.callable:
            self.retire(environment)
        elif environment.state in (EnvironmentState.STARTING, EnvironmentState.INIT):
            self._discard(environment)

    def _interrupt(self, environment: Environment) -> None:
        """End an environment in mid-call: an event goes back, a caller is told."""
        work = environment.work
        if work is not None and work.event is None:
            self._finisher.finish(outcome_of_failure(environment, work, "The worker was shut down"))
        elif work is not None:
            self._finisher.give_back(work)
        self._discard(environment)

    async def _close_everything(self) -> None:
        for environment in list(self.environments.values()):
            self._end(environment)
        await self.stems.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _give_up(self) -> None:
        """End everything: the platform took this worker for dead and has taken back its calls."""
        _log.warning("this worker was given up by the platform; it begins anew", environments=len(self.environments))
        for environment in list(self.environments.values()):
            self._end(environment)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something slow beside the loops; a defect in it is logged."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task of the worker failed", task=task.get_name(), exc_info=error)

    # -- inbox ---------------------------------------------------------------------------------------------------

    async def _inbox(self, prefix: str) -> None:
        attempt = 0
        while not self._drained.is_set():
            try:
                items = await self._invocations.inbox(self.settings.worker_id, wait_s=INBOX_WAIT_S, prefix=prefix)
                attempt = 0
            except StoreUnavailable as error:
                if attempt == 0:
                    _log.warning("the inbox cannot be read", error=str(error))
                await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                attempt += 1
                continue
            for item in items:
                self._take(item)

    def _take(self, item: InboxItem) -> None:
        if isinstance(item, Call):
            environment = self.environments.get(item.environment_id)
            if environment is None:
                self._finisher.give_back(item.work)
            else:
                self.dispatch(environment, item.work)
        elif isinstance(item, Start):
            self._begin(item)
        elif isinstance(item, Retire):
            environment = self.environments.get(item.environment_id)
            if environment is not None and environment.callable:
                self.retire(environment)
        elif isinstance(item, Credit):
            self._streams.hear(item)

    def dispatch(self, environment: Environment, work: Work) -> None:
        """Run a call in an environment, or give it back where that cannot take it."""
        if not environment.callable:
            self._finisher.give_back(work)
        elif work.event is not None and retries.expired(work.event, now_ms=self._clock.now_ms()):
            self._finisher.finish(outcome_of_expired(environment, work, now_ms=self._clock.now_ms()))
        elif environment.version.code.hot_reload_path and not self._hot_reload.fresh(environment):
            self.spawn(self._reload(environment, work), f"hot reload of {environment.id}")
        else:
            self._run(environment, work)

    def _run(self, environment: Environment, work: Work) -> None:
        self._metrics.began(work)
        self._keeping.began(environment.ident)
        environment.run(work)

    async def _reload(self, environment: Environment, work: Work) -> None:
        self._aside.add(work.invocation.id)
        try:
            await self._hot_reload.run(environment, work)
        finally:
            self._aside.discard(work.invocation.id)

    def _in_hand(self) -> set[str]:
        """The ids of all calls that this worker knows of."""
        theirs = (work for one in self.environments.values() for work in (one.work, one.held) if work is not None)
        return {work.invocation.id for work in theirs} | self._finisher.in_hand() | self._aside

    def _reoffer(self, environment_ids: Collection[str]) -> None:
        """Offer environments whose slots were taken for calls that never came."""
        for environment_id in environment_ids:
            environment = self.environments.get(environment_id)
            if environment is not None and environment.callable and not environment.retiring:
                self.spawn(self._offer(environment), f"offer of {environment.id}")

    # -- starting ------------------------------------------------------------------------------------------------

    def _begin(self, order: Start) -> None:
        version = FunctionVersion.from_dict(order.version)
        if self._draining:
            self.spawn(self._withdraw(order.environment_id, version.target), "withdraw")
            return
        if order.environment_id not in self.environments:
            environment = self.start(order.environment_id, version)
            environment.last_call_ms = order.last_call_ms
            self._keeping.ordered(environment.ident, last_call_ms=order.last_call_ms)

    def start(self, environment_id: str, version: FunctionVersion) -> Environment:
        """Bring up an environment under this id."""
        self.stems.use(version.runtime)
        log = self._starter.open_log(version, environment_id)
        environment = Environment(environment_id, self.settings.worker_id, version, host=self, log=log)
        self.environments[environment_id] = environment
        environment.starting = self.spawn(self._bring_up(environment), f"start of {environment_id}")
        return environment

    async def _bring_up(self, environment: Environment) -> None:
        try:
            await self._starter.bring_up(environment)
        except FolderRefused as error:
            if environment.gone():
                return
            _log.warning("a folder was refused", function=environment.version.name, error=str(error))
            waiting = environment.work
            environment.vanish()
            await self._answer_one(environment, waiting, error=failures.code_refused(str(error)))
        except (SandboxError, StoreUnavailable) as error:
            if environment.gone():
                return
            _log.error(
                "an environment could not be started", function=environment.version.name,
                environment=environment.id, error=str(error),
            )  # fmt: skip
            waiting = environment.work
            environment.vanish()
            await asyncio.sleep(START_FAILED_PAUSE_S)
            await self._answer_one(environment, waiting, failure=f"The function could not be started: {error}")

    def ready(self, environment: Environment) -> None:
        """Offer an environment whose handler is loaded (or whose init takes long)."""
        held, environment.held = environment.held, None
        if environment.last_call_ms:  # it was brought up ahead of a call: the function's idle time began before
            environment.idle_since -= max(0, self._heartbeat.now_ms() - environment.last_call_ms) / 1000
        if held is not None:
            self._run(environment, held)
        else:
            self.spawn(self._offer(environment), f"offer of {environment.id}")

    async def _offer(self, environment: Environment) -> None:
        record = orjson.dumps(environment.record().to_dict())
        answer = await self._ask_offer(environment, record)
        if answer is SlotAnswer.GONE:
            await self._heartbeat.register()
            answer = await self._ask_offer(environment, record)
        self._follow(environment, answer)

    async def _ask_offer(self, environment: Environment, record: bytes) -> Next:
        attempt = 0
        while True:
            try:
                return await self._invocations.offer(
                    self.settings.worker_id, environment.id, environment.target,
                    now_ms=self._heartbeat.now_ms(), record=record,
                )  # fmt: skip
            except StoreUnavailable:
                await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
                attempt += 1

    def loaded(self, environment: Environment, init_s: float) -> None:
        """Measure an init that has succeeded."""
        self._metrics.phase("init", environment.origin, init_s)
        self._keeping.loaded(environment.ident, init_s)

    def failed_to_start(self, environment: Environment, error: bytes) -> None:
        """Answer one call that waits for this target with what its init failed of."""
        held, environment.held = environment.held, None
        self.spawn(self._answer_one(environment, held, error=error), f"failure of {environment.id}")

    async def _answer_one(
        self, environment: Environment, work: Work | None, *, error: bytes = b"", failure: str = ""
    ) -> None:
        """End one waiting call (or the one held) by an environment that never became ready."""
        work = work or environment.held
        environment.held = None
        if work is None:
            answer = await self._ask_offer(environment, b"")
            work = answer if isinstance(answer, Work) else None
        if work is not None:
            if not failure:
                self._finisher.finish(self._outcome(environment, environment.fail_call(work, error)))
            elif work.event is not None:
                self._finisher.give_back(work)
            else:
                self._finisher.finish(outcome_of_failure(environment, work, failure))
        self._end(environment)

    # -- what environments say -----------------------------------------------------------------------------------

    @property
    def stream_bytes_max(self) -> int:
        """How much a call may stream."""
        return self._streams.bytes_max

    def open_stream(self, work: Work, content_type: str, room: Callable[[], None]) -> Stream:
        """Begin the streamed response of a call."""
        return self._streams.open(work.invocation, content_type, room)

    def ended(self, environment: Environment, ended: Ended) -> None:
        """Give the end of a call back."""
        self.stems.use(environment.version.runtime)
        self._keeping.ended(environment.ident)
        self._finisher.finish(self._outcome(environment, ended))
        if not ended.keep:
            self._end(environment)

    def untaken(self, environment: Environment, work: Work) -> None:
        """Give back a call whose environment died before it took it."""
        self._finisher.give_back(work)
        self._discard(environment)

    def died(self, environment: Environment) -> None:
        """Take the slot of a dead environment out of service before a call is placed on it."""
        _log.info("an idle environment died", function=environment.version.name, environment=environment.id)
        self._discard(environment)

    def _outcome(self, environment: Environment, ended: Ended) -> Outcome:
        self._metrics.ended(ended.ending)
        now_ms, delays_s = self._clock.now_ms(), self.settings.retry_delays_s
        return outcome_of(environment, ended, now_ms=now_ms, delays_s=delays_s)

    # -- what comes next -----------------------------------------------------------------------------------------

    def _after(self, outcome: Outcome, following: Next) -> None:
        """Follow the store's word after a call; the environment may be gone, or another under the same id."""
        environment = self.environments.get(outcome.environment_id)
        if outcome.keep and environment is not None:
            self._follow(environment, following)
        elif isinstance(following, Work):
            self._finisher.give_back(following)
        elif outcome.keep and following is SlotAnswer.IDLE:
            self.spawn(self._withdraw(outcome.environment_id, outcome.invocation.target), "withdraw")

    def _follow(self, environment: Environment, following: Next) -> None:
        if isinstance(following, Work):
            self.dispatch(environment, following)
        elif following is SlotAnswer.IDLE:
            if environment.gone():
                self._discard(environment)
            elif self._draining or environment.condemned:
                self.retire(environment)
        elif environment.callable:
            # Not deployed any more (retire), or the slot is not registered (lost, gone): nothing can come for it.
            if following is SlotAnswer.RETIRE:
                self._end(environment)
            else:
                self.spawn(self._offer(environment), f"offer of {environment.id}")

    # -- ending --------------------------------------------------------------------------------------------------

    def retire(self, environment: Environment) -> None:
        """Take an idle environment out of service, then end it; a call that is on its way to it keeps it."""
        if not environment.retiring:
            environment.retiring = True
            self.spawn(self._retire(environment), f"retirement of {environment.id}")

    async def _retire(self, environment: Environment) -> None:
        try:
            idle_s = time.monotonic() - environment.idle_since
            stranded = idle_s > self._keeping.until_s(environment, idle_s, further=False) + STRANDED_S
            out = await self._invocations.retire(
                self.settings.worker_id, environment.id, environment.target, dead=stranded
            )
        except StoreUnavailable:
            return  # the next tick tries again
        finally:
            environment.retiring = False
        if out and environment.callable:
            self._end(environment)
            if not any(one.target == environment.target for one in self.environments.values()):
                with contextlib.suppress(StoreUnavailable):
                    await self._keeping.expect(environment, idle_s)

    def _discard(self, environment: Environment) -> None:
        """End an environment whose slot may still be in service."""
        self._end(environment)
        self.spawn(self._withdraw(environment.id, environment.target), f"withdrawal of {environment.id}")

    async def _withdraw(self, environment_id: str, target: str) -> None:
        for delay_s in (*BACKOFF_S, 0.0):
            try:
                await self._invocations.retire(self.settings.worker_id, environment_id, target, dead=True)
                return
            except StoreUnavailable:
                await asyncio.sleep(delay_s)

    def _end(self, environment: Environment) -> None:
        if self.environments.get(environment.id) is environment:
            del self.environments[environment.id]
        if environment.held is not None:
            self._finisher.give_back(environment.held)
            environment.held = None
        self.spawn(self.close(environment), f"end of {environment.id}")

    async def close(self, environment: Environment) -> None:
        """End an environment's sandbox; one that is still being started is waited for, so that nothing is left."""
        starting = environment.starting
        environment.vanish()
        if starting is not None and not starting.done() and starting is not asyncio.current_task():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        await environment.close()

    # -- housekeeping --------------------------------------------------------------------------------------------

    async def _housekeeping(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(TICK_S)
            tick += 1
            now = time.monotonic()
            if self._draining:
                continue
            for environment, further in self._idle():
                idle_s = now - environment.idle_since
                until_s = self._keeping.until_s(environment, idle_s, further=further)
                action = idle_action(self.settings.keepalive, environment.state, idle_s, until_s=until_s)
                if action is Idle.RETIRE:
                    self.retire(environment)
                elif action is Idle.FREEZE and not environment.retiring:
                    environment.freeze()
            starting = any(e.state is EnvironmentState.STARTING for e in self.environments.values())
            if not starting or tick % 4 == 0:  # a start that a caller waits for goes first
                self.stems.tend()
            if tick % 2 == 0:
                await self._retire_what_is_not_deployed()

    def _idle(self) -> list[tuple[Environment, bool]]:
        """What is idle, and whether another environment of the same target is busy, or was called later."""
        newest: dict[str, float] = {}
        idle = [one for one in self.environments.values() if one.callable]
        for one in self.environments.values():
            since = one.idle_since if one.callable else math.inf if one.state is EnvironmentState.BUSY else -math.inf
            newest[one.target] = max(since, newest.get(one.target, -math.inf))
        return [(one, one.idle_since < newest[one.target]) for one in idle]

    async def _retire_what_is_not_deployed(self) -> None:
        idle = [environment for environment in self.environments.values() if environment.callable]
        targets = sorted({environment.target for environment in idle})
        if not targets:
            return
        try:
            live = dict(zip(targets, await self._invocations.live(targets), strict=True))
        except StoreUnavailable:
            return
        for environment in idle:
            if not live[environment.target] and environment.callable:
                self.retire(environment)

    def exposition(self) -> str:
        """What this worker counts, in Prometheus's text format."""
        environments = [environment.record() for environment in self.environments.values()]
        return self._metrics.exposition(environments, self.stems.records(), log_lines_dropped=self._logs.lines_dropped)

    def _record(self) -> WorkerRecord:
        settings = self.settings
        return WorkerRecord(
            id=settings.worker_id, pool=settings.pool, driver=self._info.name, capacity_mb=settings.capacity_mb,
            architecture=settings.architecture, runtimes=self._info.runtimes, draining=self._draining,
            starts_max=2 * settings.start_parallelism,
        )  # fmt: skip

    def _records(self) -> list[Any]:
        live = (environment.record() for environment in self.environments.values() if not environment.gone())
        return [*live, *self.stems.records()]
