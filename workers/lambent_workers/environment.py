"""One execution environment: a function's runtime within its walls, one event at a time.

Its moves are those of `core.environment_states`. The warm path (`run`, then `on_answer`) is callbacks only: no task,
no await, nothing but one write, one read and one timer. Whatever ends an event also ends its claim on the
environment's future: a timeout or a death never lets it be used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from lambent_platform.contracts.environment import EnvironmentRecord, EnvironmentState
from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.limits import INIT_TIMEOUT_S, SYNC_PAYLOAD_BYTES
from lambent_platform.core import report
from lambent_platform.core.environment_states import CALLABLE, move
from lambent_platform.core.lineage import new_trace
from lambent_platform.store.invocations import Work
from lambent_workers import failures
from lambent_workers.drivers.port import Exit
from lambent_workers.endings import Ended, Ending
from lambent_workers.logs import EnvironmentLog
from lambent_workers.metrics import Origin
from lambent_workers.native_runtime import NativeRuntime
from lambent_workers.runtime_link import AnswerKind, Delivery, RuntimeLink
from lambent_workers.streams import Stream
from lambent_workers.walls import WRAPPER, Builder, Walls

_State = EnvironmentState
_OUTPUT_READ_BYTES: Final = 65536
_OUTPUT_READS_AT_END: Final = 32
"""A pipe holds 64 KB unless it was made larger: this is more than it can hold."""
LOST_GRACE_S: Final = 0.5
"""From the end of a channel until the process that held it must have said how it ended."""


class Host(Protocol):
    """What an environment tells the worker; called from the event loop."""

    @property
    def stream_bytes_max(self) -> int:
        """How much a call may stream."""

    def ready(self, environment: Environment) -> None:
        """Offer it: it can be called."""

    def loaded(self, environment: Environment, init_s: float) -> None:
        """Hear how long its handler took to load."""

    def open_stream(self, work: Work, content_type: str, room: Callable[[], None]) -> Stream:
        """Begin the streamed response of a call; `room` is called when a full stream is not full any more."""

    def ended(self, environment: Environment, ended: Ended) -> None:
        """Take the end of the event that it ran."""

    def failed_to_start(self, environment: Environment, error: bytes) -> None:
        """Take Lambda's error object of an init that failed; the environment is gone."""

    def untaken(self, environment: Environment, work: Work) -> None:
        """Take back an event that never reached the runtime; the environment is gone."""

    def died(self, environment: Environment) -> None:
        """Hear that it ended while it was idle."""


class Environment:
    """An environment from its claim to its end."""

    def __init__(
        self, environment_id: str, worker_id: str, version: FunctionVersion, *, host: Host, log: EnvironmentLog
    ) -> None:
        self.id = environment_id
        self.version = version
        self.target = version.target
        self.ident = version.ref.ident
        self.state = _State.STARTING
        self.condemned = False
        """It takes no further event after the one that runs."""
        self.fingerprint = 0
        """Of the folder that it was copied from, for a function under hot reload."""
        self.compared_at = 0.0
        """When that folder was looked at last."""
        self.held: Work | None = None
        """An event that this environment was started for: it runs it first."""
        self.origin: Origin = "fresh"
        """Whether its sandbox was a stem."""
        self.last_call_ms = 0
        """When its function was last called, if it was brought up ahead of the next call (liveness time); else 0."""
        self.retiring = False
        """It is being taken out of service."""
        self.starting: asyncio.Task[None] | None = None
        """What brings it up."""
        self.label = ""
        self._worker_id = worker_id
        self._host = host
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._started_at_ms = time.time_ns() // 1_000_000
        self._made_at = time.monotonic()
        self.idle_since = self._made_at
        self._walls: Walls | None = None
        self._link: RuntimeLink | None = None
        self._loaded = False
        self._work: Work | None = None
        self._stream: Stream | None = None
        """What the response of that event goes to, once it streams."""
        self._began = 0.0
        self._init_began = 0.0
        self._init_ms: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._chill: asyncio.Task[None] | None = None
        self._calm: asyncio.Task[None] | None = None
        self._output_open = False

    def _become(self, state: EnvironmentState) -> None:
        self.state = move(self.state, state)

    @property
    def callable(self) -> bool:
        """Whether it can be given an event now."""
        return self.state in CALLABLE

    @property
    def expecting(self) -> bool:
        """Whether it was brought up ahead of a call that has not come: its function is idle for longer than it is."""
        return self.idle_since < self._made_at

    @property
    def work(self) -> Work | None:
        """The event that it has now."""
        return self._work

    def record(self) -> EnvironmentRecord:
        """Describe it for the fleet's table."""
        return EnvironmentRecord(
            id=self.id, worker=self._worker_id, target=self.target, runtime=self.version.runtime, state=self.state,
            memory_mb=self.version.memory_mb, started_at_ms=self._started_at_ms, container=self.label,
            idle_since_ms=self._idle_since_ms(),
        )  # fmt: skip

    def _idle_since_ms(self) -> int:
        if not self.callable:
            return 0
        return int(time.time() * 1000 - (time.monotonic() - self.idle_since) * 1000)

    def hold(self, walls: Walls) -> None:
        """Own walls: `close` ends them."""
        self._walls, self.label = walls, walls.sandbox.label

    # -- init ----------------------------------------------------------------------------------------------------

    async def init(self, walls: Walls, builder: Builder, variables: Mapping[str, str], *, spawned: bool) -> None:
        """Begin to load the handler, in walls whose code is in place; `on_ready` follows, or a failure.

        Raises:
            SandboxError: the runtime's process could not be started.
        """
        self._become(_State.INIT)
        self._log.begin()
        self._log.line(report.init_start_line(walls.runtime.language, walls.runtime.version))
        self._output_open = True
        self._loop.add_reader(walls.sandbox.output_fd, self._read_output)
        self._watch = asyncio.create_task(self._wait_for_exit(walls), name=f"exit of {self.id}")
        self._init_began = time.monotonic()
        self._timer = self._loop.call_later(INIT_TIMEOUT_S, self._init_takes_long)
        if walls.native:
            self._link = native = NativeRuntime(walls.sandbox.channel, self)
            if not spawned:
                await builder.spawn(walls, self.version, variables)
            wrapped = WRAPPER in self.version.environment
            native.claim(
                env=None if wrapped else variables,
                handler=self.version.handler,
                task_root=walls.sandbox.task_root,
            )
        else:
            self._link = walls.api
            walls.api.attach(self)
            if reason := await asyncio.to_thread(builder.entrypoint_flaw, walls):
                self.on_init_failed(failures.no_entrypoint(reason))
                return
            await builder.spawn(walls, self.version, variables)

    def on_ready(self) -> None:
        """Become callable; begin an event that waited for it."""
        if self._loaded or self.gone():
            return
        self._loaded = True
        self._init_ms = (time.monotonic() - self._init_began) * 1000
        self.compared_at = time.monotonic()
        self._calm = asyncio.create_task(self._end_boost())
        self._host.loaded(self, self._init_ms / 1000)
        if self.state is not _State.INIT:
            # Init took so long that it was offered before: what it was given waits here, on its own timeout.
            if self._work is not None:
                self._deliver(self._work)
            return
        self._cancel_timer()
        self._become(_State.READY)
        self.idle_since = time.monotonic()
        self._host.ready(self)

    async def _end_boost(self) -> None:
        """Give back the whole processor that init had."""
        assert self._walls is not None
        with contextlib.suppress(SandboxError):
            await self._walls.sandbox.configure(
                memory_mb=self.version.memory_mb, ephemeral_mb=self.version.ephemeral_mb
            )

    def on_init_failed(self, error: bytes) -> None:
        """End: the handler could not be loaded."""
        if self._loaded or self.state is _State.GONE:
            return
        self._fail_init(error, failures.error_type_of(error))

    def _fail_init(self, error: bytes, error_type: str) -> None:
        work = self._work
        self._drain_output()
        init_ms = (time.monotonic() - self._init_began) * 1000 if self._init_began else 0.0
        self._log.line(report.init_report_line(init_ms=init_ms, status="error", error_type=error_type))
        if work is not None:
            self._finish(error, Ending.INIT_ERROR, keep=False, error_type=error_type)
        else:
            self.vanish()
            self._host.failed_to_start(self, error)

    def _init_takes_long(self) -> None:
        """After Lambda's init phase the rest of an init counts against the first call's own timeout."""
        if self.state is _State.INIT:
            self._log.line(report.init_report_line(init_ms=INIT_TIMEOUT_S * 1000, status="timeout"))
            self._become(_State.READY)
            self.idle_since = time.monotonic()
            self._host.ready(self)

    def fail_call(self, work: Work, error: bytes) -> Ended:
        """Write the log of a call that this failed environment only answers, and say how it ended."""
        self._log.begin()
        self._log.line(report.start_line(work.invocation.id, self.version.version))
        self._began = time.monotonic()
        self._work = work
        error = failures.addressed(error, work.invocation.id)
        return self._conclude(error, Ending.INIT_ERROR, False, failures.error_type_of(error))

    # -- one event -----------------------------------------------------------------------------------------------

    def run(self, work: Work) -> None:
        """Run one event.

        Raises:
            IllegalMove: it is not callable.
        """
        frozen = self.state is _State.FROZEN
        if frozen:
            self._become(_State.READY)
        self._become(_State.BUSY)
        self._work = work
        self._began = time.monotonic()
        self._timer = self._loop.call_later(self.version.timeout_s, self._time_out)
        self._log.begin()
        self._log.line(report.start_line(work.invocation.id, self.version.version))
        if self._link is not None:
            self._link.taken = False
        if frozen:
            self._chill = asyncio.create_task(self._thaw_for(work, self._chill))
        elif self._loaded:
            self._deliver(work)

    def _deliver(self, work: Work) -> None:
        assert self._link is not None
        invocation = work.invocation
        left_s = self._began + self.version.timeout_s - time.monotonic()
        self._link.deliver(
            Delivery(
                invocation.id,
                int((time.time() + left_s) * 1000),
                invocation.qualified_arn,
                invocation.trace_id or new_trace(invocation.id),
                invocation.client_context,
                invocation.payload,
            )
        )

    def on_answer(self, request_id: str, body: bytes, kind: AnswerKind) -> None:
        """End the event that is in flight; an answer to anything else is dropped."""
        if self._work is None or self._work.invocation.id != request_id:
            return
        if self._stream is not None and kind in (AnswerKind.RESULT, AnswerKind.TOO_LARGE):
            return  # what has begun as a stream ends as one
        if kind is AnswerKind.STREAMED:
            self._end_stream()
        elif kind is AnswerKind.TOO_LARGE or len(body) > SYNC_PAYLOAD_BYTES:
            self._finish(failures.response_too_large(), Ending.FUNCTION_ERROR, keep=True)
        elif kind is AnswerKind.RESULT:
            self._finish(body, Ending.OK, keep=True)
        else:
            self._finish(body, Ending.FUNCTION_ERROR, keep=kind is AnswerKind.ERROR)

    def on_stream(self, request_id: str, content_type: str) -> None:
        """Begin to pass on what the event that is in flight streams."""
        work = self._work
        if work is not None and work.invocation.id == request_id and self._stream is None:
            self._stream = self._host.open_stream(work, content_type, self._resume)

    def on_part(self, request_id: str, data: bytes) -> None:
        """Pass on a part; let the runtime wait where its caller is behind, and end it where there is no end of it."""
        stream, work = self._stream, self._work
        if stream is None or work is None or work.invocation.id != request_id:
            return
        if not stream.write(data):
            self._finish(failures.response_too_large(self._host.stream_bytes_max), Ending.FUNCTION_ERROR, keep=False)
        elif stream.full and self._link is not None:
            self._link.pause()

    def _end_stream(self) -> None:
        if self._stream is None:
            return
        if self._stream.too_large:
            self._finish(failures.response_too_large(), Ending.FUNCTION_ERROR, keep=True)
        else:
            self._finish(b"", Ending.OK, keep=True)

    def _resume(self) -> None:
        if self._link is not None and not self.gone():
            self._link.resume()

    def _time_out(self) -> None:
        work = self._work
        if work is None:
            return
        invocation_id, timeout_s = work.invocation.id, float(self.version.timeout_s)
        self._drain_output()
        self._log.line(report.timeout_line(invocation_id, timeout_s, time.time_ns() // 1_000_000))
        self._finish(failures.timed_out(invocation_id, timeout_s), Ending.TIMEOUT, keep=False)

    def _finish(self, payload: bytes, ending: Ending, *, keep: bool, error_type: str = "") -> None:
        self._cancel_timer()
        self._drain_output()
        keep = keep and not self.condemned
        ended = self._conclude(payload, ending, keep, error_type)
        if keep:
            self._become(_State.READY)
            self.idle_since = time.monotonic()
        else:
            self.vanish()
        self._host.ended(self, ended)

    def _conclude(self, payload: bytes, ending: Ending, keep: bool, error_type: str) -> Ended:
        work, self._work = self._work, None
        assert work is not None
        stream = None
        if self._stream is not None:
            whole, stream = self._stream.end()
            payload = payload or whole
            self._stream = None
            self._resume()
        duration_ms = (time.monotonic() - self._began) * 1000
        init_ms, self._init_ms = self._init_ms, None
        invocation_id = work.invocation.id
        self._log.line(report.end_line(invocation_id))
        self._log.line(
            report.report_line(
                invocation_id,
                duration_ms=duration_ms,
                memory_size_mb=self.version.memory_mb,
                memory_used_mb=self._walls.sandbox.memory_used_mb() if self._walls else 0,
                init_ms=init_ms,
                status=ending.status,
                error_type=error_type,
            )
        )
        return Ended(work, payload, ending, report.billed_ms(duration_ms, init_ms or 0.0), keep, stream)

    def log_tail(self) -> bytes:
        """Return the last 4 KB of log of the call that ended last."""
        return self._log.tail()

    # -- output --------------------------------------------------------------------------------------------------

    def _read_output(self) -> bool:
        """Read once; False where there was nothing."""
        if not self._output_open or self._walls is None:
            return False
        try:
            data = os.read(self._walls.sandbox.output_fd, _OUTPUT_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close_output()
            return False
        self._log.write(data)
        return True

    def _drain_output(self) -> None:
        """Read what is there, so that a call's own lines come before its END."""
        for _ in range(_OUTPUT_READS_AT_END):
            if not self._read_output():
                return

    def _close_output(self) -> None:
        if self._output_open and self._walls is not None:
            self._output_open = False
            self._loop.remove_reader(self._walls.sandbox.output_fd)

    # -- death ---------------------------------------------------------------------------------------------------

    async def _wait_for_exit(self, walls: Walls) -> None:
        try:
            end = await walls.sandbox.wait()
        except SandboxError:
            end = Exit(None)
        self._exited(end)

    def on_lost(self) -> None:
        """Give the process a moment to say how it ended; without that it ended for no reason."""
        if self.state is not _State.GONE:
            self._loop.call_later(LOST_GRACE_S, self._exited, Exit(0))

    def _exited(self, end: Exit) -> None:
        if self.state is _State.GONE:
            return
        if self._link is not None:
            self._link.drain()  # it may have answered with its last breath; that may change the state
        if self.gone():
            return
        if not self._loaded:
            request_id = self._work.invocation.id if self._work is not None else ""
            self._fail_init(failures.exited(request_id, end), failures.EXIT_ERROR)
        elif self._work is None:
            self.vanish()
            self._host.died(self)
        elif self._link is not None and self._link.taken:
            error = failures.exited(self._work.invocation.id, end)
            ending = Ending.OOM if end.out_of_memory else Ending.CRASH
            self._finish(error, ending, keep=False, error_type=failures.EXIT_ERROR)
        else:
            self.surrender()

    def gone(self) -> bool:
        """Whether it has ended."""
        return self.state is _State.GONE

    def surrender(self) -> None:
        """End at once; an event that the runtime has not taken goes back, one that it has is the worker's to answer."""
        work, self._work = self._work, None
        self.vanish()
        if work is not None:
            self._host.untaken(self, work)

    def vanish(self) -> None:
        """Become GONE: nothing of what comes in counts any more. `close` frees what it holds."""
        self._cancel_timer()
        if self.state is not _State.GONE:
            self._become(_State.GONE)
        if self._link is not None:
            self._link.close()
        if self._stream is not None:
            self._stream.end()
            self._stream = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """End its sandbox and its log. Idempotent; raises nothing that the sandbox's end may raise."""
        self.vanish()
        for task in (self._watch, self._chill, self._calm):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._drain_output()
        self._close_output()
        self._log.close()
        if self._walls is not None:
            with contextlib.suppress(SandboxError):
                await self._walls.sandbox.close()

    # -- freezing ------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop its processes, in a task of its own.

        Raises:
            IllegalMove: it is not idle.
        """
        self._become(_State.FROZEN)
        self._chill = asyncio.create_task(self._freeze())

    async def _freeze(self) -> None:
        assert self._walls is not None
        with contextlib.suppress(SandboxError):
            await self._walls.sandbox.freeze()

    async def _thaw_for(self, work: Work, freezing: asyncio.Task[None] | None) -> None:
        assert self._walls is not None
        try:
            if freezing is not None:
                await freezing
            await self._walls.sandbox.thaw()
        except SandboxError:
            self.surrender()
            return
        if self._work is work:
            self._deliver(work)
