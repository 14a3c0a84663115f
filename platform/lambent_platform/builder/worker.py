"""The builder role: an RQ worker that does one build at a time, each in a process of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from types import FrameType
from typing import Any, Final

import rq
import rq.job
import structlog
from rq.exceptions import StopRequested
from rq.executions import Execution

from lambent_platform.builder.jobs import BENCH, Bench, Work
from lambent_platform.builder.problems import Stopping
from lambent_platform.builder.stores import BlockingStores
from lambent_platform.contracts.build import BuildKind, InstallSandbox
from lambent_platform.store.jobs import open_queue

HORSE_END_S: Final = 7.0
"""What a build gets to clean up when the builder ends; then it is killed."""
REAP_S: Final = 30.0
BEAT_S: Final = 5
_TTL_MARGIN_S: Final = 15
"""RQ waits for jobs that much shorter than its workers' time to live, and beats between two waits."""
_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.05

log = structlog.get_logger("builder")


class BuilderWorker(rq.Worker):
    """RQ's worker, but a signal ends a running build in an orderly way, instead of waiting for it or killing it."""

    bench: Bench
    on_beat: Callable[[], None] = staticmethod(lambda: None)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say on Redis, and to whoever watches this process, that it works."""
        super().heartbeat(timeout, pipeline)
        self.on_beat()

    def perform_job(self, job: rq.job.Job, queue: rq.Queue, execution: Execution) -> bool:
        """Run one job with the bench at hand."""
        token = BENCH.set(self.bench)
        try:
            return bool(super().perform_job(job, queue, execution))
        finally:
            BENCH.reset(token)

    def setup_work_horse_signals(self) -> None:
        """In the build's own process: SIGTERM unwinds it, also when the builder dies."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _unwind)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != self.pid:
            raise Stopping

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """End the worker, whatever it is at. RQ's own way can miss a signal between two jobs, and then waits on.

        What is cut off in RQ's bookkeeping does no harm: a build's state is not kept there.
        """
        if os.getpid() != self.pid:
            os._exit(1)  # a build's process that has not come as far as to have a handler of its own
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not self.horse_pid:
            raise StopRequested
        self._stop_requested = True
        self._end_build()

    def _end_build(self) -> None:
        """Ask the running build to end, and kill it when its time is up; the loop that waits for it goes on then."""
        self.kill_horse(signal.SIGTERM)
        deadline = time.monotonic() + HORSE_END_S
        with suppress(ChildProcessError):
            while time.monotonic() < deadline:
                if os.waitid(os.P_PID, self.horse_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    return
                time.sleep(_POLL_S)
            log.warning("a build did not end in time; killing it")
            self.kill_horse(signal.SIGKILL)


def _unwind(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopping


def run_builder(
    *,
    jobs_redis: str,
    open_stores: Callable[[], AbstractContextManager[BlockingStores]],
    work: Mapping[BuildKind, Work],
    sandbox: InstallSandbox,
    burst: bool = False,
    linger_s: int = 0,
    on_beat: Callable[[], None] = lambda: None,
) -> None:
    """Take builds from the queue until SIGINT or SIGTERM; then end within 10 s.

    `on_beat` is called every `BEAT_S` or more often, waiting or building. With `burst`, ends by itself when nothing
    was queued for `linger_s` seconds. To be called in the main thread of a process that has started no other thread,
    since every build runs in a fork of it.

    Raises:
        StoreUnavailable: the queue's Redis is away.
    """
    _reap(open_stores, sandbox)
    queue = open_queue(jobs_redis)
    worker = BuilderWorker(
        [queue],
        connection=queue.connection,
        serializer=queue.serializer,
        worker_ttl=BEAT_S + _TTL_MARGIN_S,
        job_monitoring_interval=BEAT_S,
    )
    worker.on_beat = on_beat
    on_beat()
    worker.bench = Bench(work, open_stores)
    worker.log_job_description = False
    options: dict[str, Any] = {"max_idle_time": linger_s} if burst and linger_s else {"burst": burst}
    worker.work(logging_level="WARNING", **options)


def _reap(open_stores: Callable[[], AbstractContextManager[BlockingStores]], sandbox: InstallSandbox) -> None:
    """End what earlier installs left behind; in a fork, since stores and engine leave threads in a process.

    Where that fails it is only said: the builds that need what is away will say it again.
    """

    def run() -> None:
        with open_stores() as stores:
            sandbox.reap(lambda build_id: stores.call(stores.jobs.is_live(build_id)))

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    process.join(REAP_S)
    if process.exitcode != 0:
        log.warning("could not look for what earlier builds left behind", status=process.exitcode)
        process.kill()
        process.join()
