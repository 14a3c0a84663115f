"""Builds from order to end, through a real queue, by builders in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from lambent_platform.contracts.build import BuildOrder, BuildRecord, log_key
from lambent_platform.core.preparation import ATTEMPTS_MAX
from lambent_platform.store import jobs as jobs_module
from lambent_platform.store.jobs import JobQueue, JobStore, open_queue
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import RedisStore, open_redis

ORDER = BuildOrder(id="dependencies-aa-python3-13", kind="dependencies", runtime="python3.13", source_key="code/aa.zip")

BUILDER = """
import functools, os, sys, time
from pathlib import Path
from lambent_platform.builder.problems import BuildFailed, InfrastructureFailed
from lambent_platform.builder.stores import open_stores
from lambent_platform.builder.worker import run_builder
from lambent_platform.store.objects import ObjectStore

url, folder, behaviour, burst = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "burst"


class NoSandbox:
    def install(self, *args, **kwargs):
        raise AssertionError

    def reap(self, is_live):
        (folder / "reaped").write_text(str(is_live("dependencies-aa-python3-13")))


def work(order, stores, log):
    with (folder / "runs").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    log.line("a line of the build")
    if behaviour == "permanent":
        raise BuildFailed("ERROR: No matching distribution found for x", "DependencyError")
    if behaviour == "away":
        raise InfrastructureFailed("Docker: away")
    if behaviour == "bug":
        raise KeyError("oops")
    if behaviour == "slow":
        try:
            time.sleep(60)
        finally:
            (folder / "cleaned").touch()
    return "code/bb.zip"


run_builder(
    jobs_redis=url,
    open_stores=functools.partial(open_stores, url, lambda: ObjectStore.local(folder / "objects"), partitions=1),
    work={"dependencies": work},
    sandbox=NoSandbox(),
    burst=burst,
)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty store."""
    async with open_redis(redis_url) as store:
        await store.client.flushall()
        yield store


@pytest.fixture
def builder(redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """Start builders whose work behaves as told; they are gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(behaviour: str, *, burst: bool = True) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", BUILDER, redis_url, str(tmp_path), behaviour, "burst" if burst else ""]
        started.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)


async def put(redis: RedisStore, redis_url: str, order: BuildOrder = ORDER) -> BuildRecord:
    """Want a build, as the scheduler does at each of its steps."""
    enqueue, known = await JobStore(redis).order(order)
    if enqueue:
        await JobQueue(open_queue(redis_url)).put(order)
    return known


async def until(ready: Callable[[], object], timeout_s: float = 20) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def ended(process: subprocess.Popen[bytes], timeout_s: float = 30) -> int:
    """Wait for a process without stopping the loop."""
    return await asyncio.to_thread(process.wait, timeout_s)


async def test_a_build_is_done_once_and_its_result_and_log_are_kept(
    redis: RedisStore, redis_url: str, builder: Start, tmp_path: Path
) -> None:
    """Three who want the same get one job; its state is ours, its log an object."""
    for _ in range(3):
        assert (await put(redis, redis_url)).phase == "queued"
    assert await JobQueue(open_queue(redis_url)).waiting() == 1
    await ended(builder("well"))
    known = await put(redis, redis_url)
    assert (known.phase, known.result) == ("succeeded", "code/bb.zip")
    assert len((tmp_path / "runs").read_text().split()) == 1
    text = await ObjectStore.local(tmp_path / "objects").get(log_key(ORDER.id))
    assert text is not None
    assert b"a line of the build" in text
    assert (tmp_path / "reaped").read_text() == "False"


async def test_what_cannot_be_built_is_not_tried_again(
    redis: RedisStore, redis_url: str, builder: Start, tmp_path: Path
) -> None:
    """The reason is the tool's own; only forgetting the failure gives a new try."""
    await put(redis, redis_url)
    await ended(builder("permanent"))
    known = await put(redis, redis_url)
    assert (known.phase, known.reason, known.reason_code) == (
        "failed",
        "ERROR: No matching distribution found for x",
        "DependencyError",
    )
    assert await JobQueue(open_queue(redis_url)).waiting() == 0
    await JobStore(redis).forget([ORDER.id])
    assert (await put(redis, redis_url)).phase == "queued"


@pytest.mark.parametrize("behaviour", ["away", "bug"])
async def test_infrastructure_gets_more_tries_but_not_for_ever(
    redis: RedisStore, redis_url: str, builder: Start, behaviour: str
) -> None:
    """A failed attempt is put off; after the last one the build has failed, with what went wrong."""
    await put(redis, redis_url)
    await ended(builder(behaviour))
    waiting = await JobStore(redis).read(ORDER.id)
    assert waiting is not None
    assert (waiting.phase, waiting.attempts) == ("waiting", 1)
    key = f"{redis.keys.home}job:{ORDER.id}"
    await redis.client.hset(key, mapping={"due_ms": 0, "attempts": ATTEMPTS_MAX - 1})
    assert (await put(redis, redis_url)).phase == "queued"
    await ended(builder(behaviour))
    known = await put(redis, redis_url)
    assert (known.phase, known.reason_code) == ("failed", "InternalError")
    assert ("away" if behaviour == "away" else "oops") in known.reason


async def test_a_signal_gives_the_build_back_and_cleans_up(
    redis: RedisStore, redis_url: str, builder: Start, tmp_path: Path
) -> None:
    """A builder that is told to end does so within 10 s; its build is due again at once, and not counted."""
    await put(redis, redis_url)
    process = builder("slow", burst=False)
    await until((tmp_path / "runs").exists)
    process.send_signal(signal.SIGTERM)
    await ended(process, 10)
    assert (tmp_path / "cleaned").exists()
    known = await put(redis, redis_url)
    assert (known.phase, known.attempts) == ("queued", 0)
    assert await JobQueue(open_queue(redis_url)).waiting() == 1


async def test_a_killed_build_is_queued_again_when_its_lease_has_run_out(
    redis: RedisStore, redis_url: str, builder: Start, tmp_path: Path
) -> None:
    """kill -9 of the build's process says nothing to anybody: the lease does."""
    await put(redis, redis_url)
    process = builder("slow", burst=False)
    runs = tmp_path / "runs"
    await until(lambda: runs.exists() and runs.read_text().endswith("\n"))
    pid = int(runs.read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert (await put(redis, redis_url)).phase == "running"
    process.send_signal(signal.SIGTERM)
    await ended(process, 10)
    await redis.client.hset(f"{redis.keys.home}job:{ORDER.id}", "due_ms", 0)
    known = await put(redis, redis_url)
    assert (known.phase, known.attempts) == ("queued", 1)
    await ended(builder("well"))
    assert (await put(redis, redis_url)).phase == "succeeded"


async def test_a_build_ends_with_its_builder(redis: RedisStore, redis_url: str, builder: Start, tmp_path: Path) -> None:
    """kill -9 of the builder itself: the build's process is told by the kernel, and cleans up."""
    await put(redis, redis_url)
    process = builder("slow", burst=False)
    await until((tmp_path / "runs").exists)
    process.kill()
    await until((tmp_path / "cleaned").exists, 10)


async def test_a_job_that_the_queue_lost_is_queued_again(redis: RedisStore, redis_url: str, builder: Start) -> None:
    """Redis of the jobs may be flushed: what is still wanted comes back when it is overdue."""
    await put(redis, redis_url)
    queue = open_queue(redis_url)
    queue.delete(delete_jobs=True)
    assert await JobQueue(queue).waiting() == 0
    await redis.client.hset(f"{redis.keys.home}job:{ORDER.id}", "due_ms", 0)
    await put(redis, redis_url)
    assert await JobQueue(queue).waiting() == 1


async def test_a_second_owner_waits_for_the_first_ones_lease(redis: RedisStore) -> None:
    """A build has one owner; who lost it changes nothing any more."""
    store = JobStore(redis)
    await store.order(ORDER)
    assert await store.claim(ORDER.id, "one") == 0
    assert await store.claim(ORDER.id, "two") is None
    assert await store.renew(ORDER.id, "one")
    assert await store.is_live(ORDER.id)
    await redis.client.hset(f"{redis.keys.home}job:{ORDER.id}", "due_ms", 0)
    assert not await store.is_live(ORDER.id)
    assert await store.claim(ORDER.id, "two") == 0
    assert not await store.renew(ORDER.id, "one")
    assert not await store.succeed(ORDER.id, "one", result="code/xx.zip")
    assert await store.succeed(ORDER.id, "two", result="code/bb.zip")
    known = await store.read(ORDER.id)
    assert known is not None
    assert known.result == "code/bb.zip"


async def test_a_build_that_loses_every_builder_fails(redis: RedisStore) -> None:
    """A package that kills whoever installs it must not do so for ever."""
    store = JobStore(redis)
    phases = []
    for _ in range(ATTEMPTS_MAX):
        await store.order(ORDER)
        await store.claim(ORDER.id, "one")
        await redis.client.hset(f"{redis.keys.home}job:{ORDER.id}", "due_ms", 0)
        phases.append((await store.order(ORDER))[1].phase)
    assert phases == ["queued"] * (ATTEMPTS_MAX - 1) + ["failed"]
    known = await store.read(ORDER.id)
    assert known is not None
    assert known.reason == jobs_module.LOST
