"""What RQ calls: one build, from claiming it to saying how it ended."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

import structlog
from rq.timeouts import JobTimeoutException

from lambent_platform.builder.log import BuildLog
from lambent_platform.builder.problems import BuildFailed, InfrastructureFailed, Stopping
from lambent_platform.builder.stores import BlockingStores
from lambent_platform.contracts.build import BuildKind, BuildOrder, log_key
from lambent_platform.contracts.errors import SandboxError, StoreUnavailable
from lambent_platform.core.preparation import retry_delay_s
from lambent_platform.store.jobs import JOB_TIMEOUT_S

RENEW_S: Final = 4.0
LOG_S: Final = 1.0

Work = Callable[[BuildOrder, BlockingStores, BuildLog], str]
"""Builds what is ordered; returns the build's result: an object's key, an image's tag.

Raises `BuildFailed`, `InfrastructureFailed`, `SandboxError` or `StoreUnavailable`.
"""

log = structlog.get_logger("builder")


class Bench:
    """What a job works with: the kinds of work, and how to open the stores in the job's own process."""

    def __init__(self, work: Mapping[BuildKind, Work], open_stores: Callable[[], Any]) -> None:
        """`open_stores` returns a context manager for `BlockingStores`."""
        self.work = work
        self.open_stores = open_stores


BENCH: ContextVar[Bench] = ContextVar("lambent_bench")
"""Set by the worker around each job: RQ calls a job by name, with nothing but what went through the queue."""


def build(order: dict[str, Any]) -> None:
    """Run one build. Whatever becomes of it is said in its state; RQ is told nothing.

    Raises:
        Stopping: the builder is to end; the build was given back.
    """
    bench = BENCH.get()
    with bench.open_stores() as stores:
        Job(BuildOrder(**order), stores, bench.work).run()


class Job:
    """One build by one owner."""

    def __init__(self, order: BuildOrder, stores: BlockingStores, work: Mapping[BuildKind, Work]) -> None:
        self._order = order
        self._stores = stores
        self._work = work
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._log = BuildLog()

    def run(self) -> None:
        """Claim the build, do it, and end it."""
        stores, order = self._stores, self._order
        attempts = stores.call(stores.jobs.claim(order.id, self._owner))
        if attempts is None:
            log.info("not wanted any more, or in other hands", build=order.id)
            return
        log.info("building", build=order.id, attempts=attempts)
        with self._attended():
            ended = self._attempt(attempts)
        if not ended:
            log.warning("lost to another builder", build=order.id)

    def _attempt(self, attempts: int) -> bool:
        """Do the work once and say how it ended; False where the build is not ours any more."""
        jobs, build_id = self._stores.jobs, self._order.id
        try:
            result = self._work[self._order.kind](self._order, self._stores, self._log)
        except BuildFailed as error:
            return self._failed(error.reason, error.code)
        except JobTimeoutException:
            return self._failed(f"The build took longer than {JOB_TIMEOUT_S} seconds.", "FunctionError")
        except (InfrastructureFailed, SandboxError, StoreUnavailable) as error:
            return self._put_off(attempts, str(error))
        except Stopping:
            self._log.line("The builder is ending; the build is given back.")
            with suppress(StoreUnavailable):
                self._stores.call(jobs.put_off(build_id, self._owner, delay_s=0, failed=False), timeout_s=2)
            raise
        except Exception as error:
            log.exception("a build met an error that it does not know", build=build_id)
            return self._put_off(attempts, f"{type(error).__name__}: {error}")
        log.info("built", build=build_id, result=result)
        return self._stores.call(jobs.succeed(build_id, self._owner, result=result))

    def _failed(self, reason: str, code: str) -> bool:
        log.info("cannot be built", build=self._order.id, reason=reason)
        self._log.line(f"Failed: {reason}")
        return self._stores.call(self._stores.jobs.fail(self._order.id, self._owner, reason=reason, code=code))

    def _put_off(self, attempts: int, reason: str) -> bool:
        jobs, build_id = self._stores.jobs, self._order.id
        delay_s = retry_delay_s(attempts + 1)
        if delay_s is None:
            return self._failed(f"Given up after {attempts + 1} attempts. {reason}", "InternalError")
        log.warning("put off", build=build_id, after_s=delay_s, reason=reason)
        self._log.line(f"{reason} Trying again in {delay_s} s.")
        return self._stores.call(jobs.put_off(build_id, self._owner, delay_s=delay_s, failed=True, reason=reason))

    @contextmanager
    def _attended(self) -> Iterator[None]:
        """Keep the lease and publish the log while the block runs; the whole log is there after it."""
        attendants = [self._stores.start(self._keep_lease()), self._stores.start(self._publish())]
        try:
            yield
        finally:
            for attendant in attendants:
                attendant.cancel()
            with suppress(StoreUnavailable):
                self._stores.call(self._stores.objects.put(log_key(self._order.id), self._log.text()), timeout_s=5)

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            with suppress(StoreUnavailable):
                if not await self._stores.jobs.renew(self._order.id, self._owner):
                    log.warning("the lease was lost; stopping", build=self._order.id)
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                    return

    async def _publish(self) -> None:
        while True:
            await asyncio.sleep(LOG_S)
            with suppress(StoreUnavailable):
                text = self._log.take_changed()
                if text is not None:
                    await self._stores.objects.put(log_key(self._order.id), text)
