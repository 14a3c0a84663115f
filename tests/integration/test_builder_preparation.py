"""The preparation loop: functions become callable, or failed, on a real store and a real queue."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest_asyncio

from lambent_platform.contracts.build import BuildOrder
from lambent_platform.contracts.environment import WorkerRecord
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST
from lambent_platform.core.functions import updated
from lambent_platform.core.preparation import dependency_order, image_order
from lambent_platform.scheduler.preparation import PreparationLoop
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.jobs import JobQueue, JobStore, open_queue
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import RedisStore, open_redis

TAG = "lambent/python:3.13-abc"
IMAGE = image_order("python3.13", TAG)


@dataclasses.dataclass
class Bench:
    """A scheduler's preparation, and the hands of everybody else."""

    redis: RedisStore
    functions: FunctionStore
    fleet: FleetStore
    jobs: JobStore
    queue: JobQueue
    objects: ObjectStore
    loop: PreparationLoop
    queued: list[str]

    async def deploy(self, name: str, **code: object) -> FunctionVersion:
        """Create a function."""
        version = FunctionVersion(
            account="000000000000",
            region="us-east-1",
            name=name,
            revision="r1",
            runtime="python3.13",
            code=replace(CodePackage(source_key="code/aa.zip"), **code),  # type: ignore[arg-type]
        )
        assert await self.functions.create(version.ref.ident, FunctionRecord(versions={LATEST: version}))
        return version

    async def worker(self, standing: str) -> None:
        """Let a worker say this of python3.13."""
        record = WorkerRecord(id="w", driver="docker", capacity_mb=1024, runtimes={"python3.13": standing})
        await self.fleet.heartbeat(record, [], now_ms=await self.redis.now_ms(), register=True)

    async def state(self, version: FunctionVersion) -> FunctionVersion:
        """A function as it is now."""
        record = await self.functions.load(version.ref.ident)
        assert record is not None
        return record.latest

    async def end(self, order: BuildOrder, **how: str) -> None:
        """Do a build as a builder would; `reason` fails it."""
        assert await self.jobs.claim(order.id, "builder") is not None
        if "reason" in how:
            assert await self.jobs.fail(order.id, "builder", reason=how["reason"], code="DependencyError")
        else:
            assert await self.jobs.succeed(order.id, "builder", result=how["result"])


@pytest_asyncio.fixture
async def bench(redis_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """An empty platform."""
    async with open_redis(redis_url) as redis:
        await redis.client.flushall()
        functions, fleet, jobs = FunctionStore(redis), FleetStore(redis), JobStore(redis)
        queue, objects = JobQueue(open_queue(redis_url)), ObjectStore.local(tmp_path)
        queued: list[str] = []
        loop = PreparationLoop(
            functions, fleet, jobs, queue, objects, image_tag=lambda runtime: TAG, on_queued=lambda: queued.append("")
        )
        yield Bench(redis, functions, fleet, jobs, queue, objects, loop, queued)


async def test_a_function_that_lacks_nothing_is_active_within_milliseconds(bench: Bench) -> None:
    """The loop sleeps on what creating a function wakes."""
    await bench.worker("ready")
    await bench.loop.step()
    stepping = asyncio.create_task(bench.loop.step())
    await asyncio.sleep(0.05)
    began = time.monotonic()
    version = await bench.deploy("plain")
    await stepping
    assert time.monotonic() - began < 0.15
    now = await bench.state(version)
    assert (now.state, now.state_reason, now.last_update_status) == ("Active", "", "Successful")
    assert now.code.runnable_key == "code/aa.zip"
    assert now.revision_id != version.revision_id
    assert await bench.functions.preparing() == []


async def test_a_function_waits_for_its_image_then_for_its_dependencies(bench: Bench) -> None:
    """Each is ordered once, and the function is never active in between."""
    await bench.worker("buildable")
    version = await bench.deploy("built", needs_build=True)
    for _ in range(2):
        await bench.loop.step()
        assert (await bench.state(version)).state == "Pending"
    assert len(bench.queued) == await bench.queue.waiting() == 1
    await bench.end(IMAGE, result=TAG)
    await bench.worker("ready")
    await bench.loop.step()
    assert len(bench.queued) == 2
    await bench.objects.put("code/bb.zip", b"package")
    await bench.end(dependency_order(version), result="code/bb.zip")
    await bench.loop.step()
    now = await bench.state(version)
    assert (now.state, now.code.runnable_key, now.code.source_key) == ("Active", "code/bb.zip", "code/aa.zip")


async def test_a_failed_build_fails_all_that_waited_for_it_and_is_then_forgotten(bench: Bench) -> None:
    """The tool's own line is the reason; deploying the same package again tries again."""
    await bench.worker("ready")
    waiting = [await bench.deploy(name, needs_build=True) for name in ("one", "two")]
    await bench.loop.step()
    assert len(bench.queued) == 1
    await bench.end(dependency_order(waiting[0]), reason="ERROR: No matching distribution found for x")
    await bench.loop.step()
    for version in waiting:
        now = await bench.state(version)
        assert (now.state, now.state_reason_code) == ("Failed", "DependencyError")
        assert now.state_reason == "ERROR: No matching distribution found for x"
    await bench.deploy("three", needs_build=True)
    await bench.loop.step()
    assert len(bench.queued) == 2


async def test_an_update_that_fails_leaves_what_was_there(bench: Bench) -> None:
    """While it is in progress and after it failed, calls run what was deployed before."""
    await bench.worker("ready")
    version = await bench.deploy("live")
    await bench.loop.step()
    before = await bench.functions.load(version.ref.ident)
    assert before is not None
    code = replace(before.latest.code, source_key="code/cc.zip", runnable_key="", needs_build=True)
    begun = updated(before.latest, {"code": code}, revision="r2", revision_id="x", now_ms=1)
    assert await bench.functions.write(version.ref.ident, before, replace(before, versions={LATEST: begun}))
    await bench.loop.step()
    assert (await bench.state(version)).last_update_status == "InProgress"
    assert (await bench.state(version)).serving.revision == "r1"
    await bench.end(dependency_order(begun), reason="ERROR: No matching distribution found for x")
    await bench.loop.step()
    now = await bench.state(version)
    assert (now.state, now.last_update_status, now.last_update_reason_code) == ("Active", "Failed", "DependencyError")
    assert (now.serving.revision, now.serving.code.runnable_key) == ("r1", "code/aa.zip")


async def test_a_built_package_that_is_gone_is_built_again(bench: Bench) -> None:
    """What is known of an old build is worth nothing without its object."""
    await bench.worker("ready")
    version = await bench.deploy("first", needs_build=True)
    await bench.loop.step()
    await bench.objects.put("code/bb.zip", b"package")
    await bench.end(dependency_order(version), result="code/bb.zip")
    await bench.loop.step()
    await bench.objects.delete("code/bb.zip")
    again = await bench.deploy("second", needs_build=True)
    await bench.loop.step()
    assert (await bench.state(again)).state == "Pending"
    assert len(bench.queued) == 2


async def test_a_runtime_that_no_worker_can_have_fails_and_says_what_was_found(bench: Bench) -> None:
    """Interpreters of the machine cannot be built."""
    await bench.worker("python3.13 was not found; found 3.11")
    version = await bench.deploy("missing")
    await bench.loop.step()
    now = await bench.state(version)
    assert (now.state, now.state_reason_code) == ("Failed", "InvalidRuntime")
    assert "found 3.11" in now.state_reason


async def test_a_runtime_that_is_not_known_fails_without_stopping_others(bench: Bench) -> None:
    """One function's odd state is its own."""
    await bench.worker("ready")
    odd = await bench.deploy("a-odd")
    record = await bench.functions.load(odd.ref.ident)
    assert record is not None
    strange = replace(record, versions={LATEST: replace(record.latest, runtime="cobol85")})
    assert await bench.functions.write(odd.ref.ident, record, strange)
    fine = await bench.deploy("b-fine")
    await bench.loop.step()
    assert (await bench.state(odd)).state_reason_code == "InvalidRuntime"
    assert (await bench.state(fine)).state == "Active"


async def test_a_function_that_was_deleted_meanwhile_is_left_alone(bench: Bench) -> None:
    """Deleting it ends its preparation."""
    await bench.worker("buildable")
    version = await bench.deploy("gone")
    await bench.loop.step()
    record = await bench.functions.load(version.ref.ident)
    assert record is not None
    assert await bench.functions.delete(version.ref.ident, record)
    await bench.loop.step()
    assert await bench.functions.preparing() == []
