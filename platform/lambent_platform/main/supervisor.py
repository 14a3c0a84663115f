"""What `lambent up` does while it runs: children in order, the scheduler, a builder when a job waits."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.main.children import Child, ChildFailed, reap_adopted
from lambent_platform.main.folders import write_atomically
from lambent_platform.main.role import CannotStart
from lambent_platform.main.settings import Settings
from lambent_platform.main.valkey import EmbeddedValkey

READY_S: Final = 60.0
"""A platform that is not ready by then ends and says why."""
CRASHES_BEFORE_READY: Final = 3
GATEWAY_EXTRA_S: Final = 1.0
WORKER_S: Final = 3.5
VALKEY_S: Final = 1.0
END_S: Final = GATEWAY_EXTRA_S + WORKER_S + VALKEY_S
"""The longest end, after `drain_s` for running calls."""
WORKER_DRAIN_S: Final = 1.0
"""By the time the worker drains, its gateway's calls are over; events that still run are retried after a restart."""
_PROBE_S: Final = 0.02
_REAP_S: Final = 5.0
BUILDER_LOOK_S: Final = 5.0
"""An order of this process starts a builder at once; this is for what an earlier run left in the queue."""
BUILDER_BACKOFF_S: Final = 1.0


class Supervisor:
    """One platform on one machine. `settings` hold the port that `listen_fd` listens on, and the Redis to use."""

    def __init__(
        self, settings: Settings, *, listen_fd: int, valkey: EmbeddedValkey | None, started: float | None = None
    ) -> None:
        self._settings = settings
        self._started = time.monotonic() if started is None else started
        self._log = structlog.get_logger("up")
        self._queued = asyncio.Event()
        environ = settings.to_environ()
        self._valkey = (
            Child("valkey", valkey.argv(), prepare=valkey.prepare, environ={}) if valkey is not None else None
        )
        self._gateway = Child(
            "gateway",
            (*_role("gateway"), "--listen-fd", str(listen_fd)),
            environ=environ,
            pass_fds=(listen_fd,),
        )
        self._worker = Child(
            "worker",
            _role("worker"),
            environ=environ | {"LAMBENT_DRAIN_S": str(min(settings.drain_s, WORKER_DRAIN_S))},
        )
        self._builder = Child("builder", (*_role("builder"), "--burst"), environ=environ)
        self._children = [c for c in (self._valkey, self._gateway, self._worker) if c is not None]

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, say when it is ready, and end everything once `stop` is set or something gives up.

        Raises:
            CannotStart: a child cannot run here, or the platform did not become ready.
        """
        tasks = [self._start(child.name, child.keep_running()) for child in self._children]
        tasks.append(self._start("scheduler", self._schedule()))
        tasks.append(self._start("builder", self._build()))
        tasks.append(self._start("reaper", self._reap()))
        stopping = self._start("stop", stop.wait())
        gently = False
        try:
            tasks.append(self._start("announce", self._announce()))
            watched: set[asyncio.Task[Any]] = {*tasks, stopping}
            while stopping in watched:
                done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if stopping in done:
                    break
            gently = True
        except ChildFailed as error:
            raise CannotStart(f"{error}; its own message is above") from error
        finally:
            stopping.cancel()
            await self._end(tasks, gently=gently)

    def _start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.create_task(work, name=name)

    async def _schedule(self) -> None:
        """Run the scheduler in this process, again and again; Redis away is no reason to end."""
        # Imported here so that the children, which take longest, are started before this process loads more.
        from lambent_platform.main import scheduler

        never = asyncio.Event()
        while True:
            try:
                await scheduler.run(self._settings, never, on_queued=self._queued.set)
            except StoreUnavailable as error:
                self._log.warning("redis is away", role="scheduler", error=str(error))
            except CannotStart:
                raise
            except Exception:
                self._log.exception("scheduler failed")
            await asyncio.sleep(1.0)

    async def _build(self) -> None:
        """Run a builder while jobs wait: at rest it would cost memory and do nothing."""
        from lambent_platform.store.jobs import JobQueue, open_queue

        queue = JobQueue(open_queue(self._settings.of_jobs_redis()))
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BUILDER_LOOK_S):
                    await self._queued.wait()
            self._queued.clear()
            with contextlib.suppress(StoreUnavailable):
                while await queue.waiting():
                    status = await self._builder.run_once()
                    if status != 0:
                        self._log.warning("builder ended", status=status)
                        await asyncio.sleep(BUILDER_BACKOFF_S)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAP_S)
            reap_adopted({pid for child in (*self._children, self._builder) if (pid := child.pid) is not None})

    async def _announce(self) -> None:
        settings = self._settings
        deadline = self._started + READY_S
        answer = ""
        while time.monotonic() < deadline:
            status, answer = await probe(settings.host, settings.port, "/readyz")
            if status == 200:
                break
            for child in self._children:
                if child.crashes >= CRASHES_BEFORE_READY:
                    raise ChildFailed(f"{child.name} ends again and again")
            await asyncio.sleep(_PROBE_S)
        else:
            raise CannotStart(f"not ready after {READY_S:g} s: {answer.strip() or 'the gateway does not answer'}")
        write_atomically(settings.data_dir / "endpoint", settings.of_public_url() + "\n")
        sys.stdout.write(announcement(settings, seconds=time.monotonic() - self._started))
        sys.stdout.flush()

    async def _end(self, tasks: list[asyncio.Task[Any]], *, gently: bool) -> None:
        """End the roles in the order in which they need each other: who takes calls first, who stores them last."""
        with contextlib.suppress(OSError):
            (self._settings.data_dir / "endpoint").unlink(missing_ok=True)
        drain_s = self._settings.drain_s + GATEWAY_EXTRA_S if gently else GATEWAY_EXTRA_S
        deadline = time.monotonic() + drain_s + WORKER_S
        building = asyncio.create_task(self._builder.stop(within_s=drain_s + WORKER_S))
        await self._gateway.stop(within_s=drain_s)
        await self._worker.stop(within_s=deadline - time.monotonic())
        await building
        background = [task for task in tasks if task.get_name() in ("scheduler", "builder", "reaper", "announce")]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        if self._valkey is not None:
            await self._valkey.stop(within_s=VALKEY_S)
        await asyncio.gather(*tasks, return_exceptions=True)


def announcement(settings: Settings, *, seconds: float) -> str:
    """What is printed when the platform is ready: the endpoint, and lines to paste."""
    streams = settings.of_streams_redis()
    # A URL of another kind was given by the operator, perhaps with a password in it.
    producers = f"Streams that trigger functions are on {streams}\n" if streams.startswith("unix:") else ""
    return f"""Lambent is ready at {settings.of_public_url()} (in {seconds:.1f} s). Data: {settings.data_dir}
{producers}
Paste this where you use boto3, the AWS CLI or another AWS tool:

    export AWS_ENDPOINT_URL={settings.of_public_url()}
    export AWS_REGION={settings.region} AWS_DEFAULT_REGION={settings.region}
    export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test

    aws lambda list-functions

Ctrl-C ends it.
"""


async def probe(host: str, port: int, path: str, *, within_s: float = 2.0) -> tuple[int, str]:
    """GET a page of this machine; (0, "") where nothing answers. Small on purpose: a client library costs memory."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(target, port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = (await reader.read(65_536)).partition(b"\r\n\r\n")
            return int(head.split(None, 2)[1]), body.decode(errors="replace")
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, ""
    finally:
        if writer is not None:
            writer.close()


def _role(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "lambent_platform.main", name)
