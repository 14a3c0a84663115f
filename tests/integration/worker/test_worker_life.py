"""Environments over time: events, stems, freezing, retiring, redeploying, hot reload, the worker's own end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lambent_platform.contracts.environment import EnvironmentState
from lambent_platform.contracts.function import CodePackage

SOURCE = """
import os, time
def handler(event, context):
    event = event or {}
    time.sleep(event.get("s", 0))
    if event.get("fail"):
        raise ValueError("no")
    return {"stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"], "pid": os.getpid()}
"""


async def event_state(bench: Any, event_id: str) -> str:
    """Where an event is: held, delayed, or gone from Redis."""
    home, client = bench.redis.keys.home, bench.redis.client
    if await client.hexists(f"{home}held:w", event_id):
        return "held"
    if await client.zscore(f"{home}delayed", event_id) is not None:
        return "delayed"
    return "there" if await client.exists(f"{home}ev:{event_id}") else "gone"


async def becomes(bench: Any, event_id: str, state: str) -> None:
    """Wait until an event is somewhere."""
    deadline = time.monotonic() + 10
    while (found := await event_state(bench, event_id)) != state:
        assert time.monotonic() < deadline, f"it is {found}"
        await asyncio.sleep(0.02)


async def test_events(bench: Any) -> None:
    """An event that succeeds is gone; one that fails is delayed for its retry, and buried after its last one."""
    version = await bench.deploy(SOURCE)
    event_id = await bench.send(version, {})
    await bench.start(version)
    await becomes(bench, event_id, "gone")
    event_id = await bench.send(version, {"fail": 1})
    await becomes(bench, event_id, "delayed")
    event_id = await bench.send(version, {"fail": 1}, retries_max=0)
    await becomes(bench, event_id, "there")
    assert await bench.redis.client.lrange(f"{bench.redis.keys.home}dead:{version.ref.ident}", 0, -1) == [
        event_id.encode()
    ]
    assert await bench.held() == {}


async def test_an_expired_event_is_not_run(bench: Any) -> None:
    """An event over its maximum age ends without a run, and the environment goes on."""
    version = await bench.deploy(SOURCE)
    await bench.call(version, {})
    await asyncio.sleep(0.1)
    event_id = await bench.send(version, {}, age_s=-1)
    await becomes(bench, event_id, "there")
    first = sum("START RequestId" in line for line in await bench.lines("START"))
    await bench.call(version, {})
    assert first == 1


async def test_stems(make: Any) -> None:
    """A runtime in use has a stem; a claim makes the first call quick, takes its limits, and is made up for."""
    async with make(stems=1, stem_idle_timeout_s=60) as bench:
        first = await bench.deploy(SOURCE)
        await bench.call(first, {})
        await bench.until(lambda: len(bench.worker.stems.records()) == 1)
        [stem] = bench.worker.stems.records()
        assert (stem.target, stem.state, stem.runtime) == ("", EnvironmentState.READY, bench.runtime)
        other = await bench.deploy(SOURCE, memory_mb=256, environment={"A": "b"})
        await bench.call(other, {})
        claimed = next(e for e in bench.worker.environments.values() if e.target == other.target)
        assert claimed.label == stem.container
        await bench.until(lambda: [s.id for s in bench.worker.stems.records()] not in ([], [stem.id]))
        tuned = await bench.deploy(SOURCE, environment={"PYTHONHASHSEED": "0"})
        [stem] = bench.worker.stems.records()
        await bench.call(tuned, {})
        assert stem in bench.worker.stems.records()


async def test_stems_go_with_their_runtime(make: Any) -> None:
    """A runtime that is not used any more loses its stem, and a stem that dies is replaced."""
    async with make(stems=1, stem_idle_timeout_s=3, idle_timeout_s=1) as bench:
        await bench.call(await bench.deploy(SOURCE), {})
        await bench.until(lambda: bench.worker.stems.records())
        [stem] = bench.worker.stems.records()
        os.kill(int("".join(filter(str.isdigit, stem.container))), 9)
        await bench.until(lambda: [s.id for s in bench.worker.stems.records()] not in ([], [stem.id]))
        await bench.until(lambda: not bench.worker.stems.records() and not bench.worker.environments, within_s=6)
        await bench.until(lambda: not list((bench.folder / "env").iterdir()))


async def test_idle_environments_are_frozen_then_gone(make: Any) -> None:
    """An idle environment is frozen, thawed by a call, and gone after its idle time, at most 2 s late."""
    async with make(freeze_after_s=0.5, idle_timeout_s=3) as bench:
        version = await bench.deploy(SOURCE)
        first = await bench.call(version, {})
        [environment] = bench.worker.environments.values()
        await bench.until(lambda: environment.state is EnvironmentState.FROZEN, within_s=2)
        assert await bench.call(version, {}) == first
        called = time.monotonic()
        await bench.until(lambda: not bench.worker.environments, within_s=6)
        assert 2.9 < time.monotonic() - called < 5
        assert await bench.idle(version) == 0
        assert await bench.call(version, {}) != first


async def test_what_is_not_deployed_any_more_is_retired(bench: Any) -> None:
    """After an update the old environment goes within a moment, idle or when its call has ended."""
    version = await bench.deploy(SOURCE)
    await bench.call(version, {})
    busy = await bench.place(version, {"s": 1.5})
    await asyncio.sleep(0.2)
    await bench.make_live(replace(version, revision="new"))
    async with asyncio.timeout(5):
        assert not (await busy).function_error
    await bench.until(lambda: not bench.worker.environments, within_s=2)
    again = await bench.deploy(SOURCE)
    await bench.call(again, {})
    await bench.make_live(replace(again, revision="new"))
    await bench.until(lambda: not bench.worker.environments, within_s=2.5)


async def test_hot_reload(bench: Any, tmp_path: Path) -> None:
    """A function under hot reload runs what is in its folder at the call, and the same environment while it is."""
    source = tmp_path / "src"
    (source / "pkg").mkdir(parents=True)
    (source / "pkg" / "mod.py").write_text("import os\ndef handler(e, c): return ['one', os.getpid()]")
    version = await bench.deploy(handler="pkg.mod.handler", code=CodePackage(hot_reload_path=str(source)))
    first = await bench.call(version)
    assert first == await bench.call(version) == ["one", first[1]]
    await asyncio.sleep(0.25)
    (source / "pkg" / "mod.py").write_text("import os\ndef handler(e, c): return ['second', os.getpid()]")
    second = await bench.call(version)
    assert (second[0], second == await bench.call(version)) == ("second", True)
    await asyncio.sleep(0.25)
    (source / "pkg" / "mod.py").write_text("def handler(e, c:")
    assert (await bench.fail(version))["errorType"] == "Runtime.UserCodeSyntaxError"
    (source / "pkg" / "mod.py").write_text("def handler(e, c): return 'mended'")
    assert await bench.call(version) == "mended"


async def test_a_folder_that_is_refused_is_the_functions_error(bench: Any, tmp_path: Path) -> None:
    """A function that names a folder of the system or of the worker is told so, and gets nothing of it."""
    (tmp_path / "link").symlink_to("/etc")
    for folder in ("/etc", str(tmp_path / "link"), str(bench.folder / "cache"), str(tmp_path / "absent")):
        version = await bench.deploy(code=CodePackage(hot_reload_path=folder))
        error = await bench.fail(version)
        assert error["errorType"] == "Runtime.CodeRefused"
        assert folder in error["errorMessage"]
    await bench.until(lambda: not bench.worker.environments)
    assert await bench.call(await bench.deploy(SOURCE), {})


async def test_a_missing_package_is_the_platforms_failure(bench: Any) -> None:
    """A package that is not there is not the function's error, and the worker goes on."""
    version = await bench.deploy(SOURCE, code=CodePackage(source_key="code/none.zip", runnable_key="code/none.zip"))
    reply = await bench.invoke(version)
    assert (reply.failure, reply.function_error) == ("ServiceException", "")
    assert await bench.call(await bench.deploy(SOURCE), {})


async def test_the_end_finishes_what_runs(make: Any) -> None:
    """A worker that is told to stop finishes its calls and its slots are gone from Redis."""
    async with make() as bench:
        version = await bench.deploy(SOURCE)
        await bench.call(version, {})
        running = await bench.place(version, {"s": 1})
        await asyncio.sleep(0.2)
        bench.worker.stop()
        async with asyncio.timeout(5):
            assert not (await running).function_error
        await bench.until(lambda: not bench.worker.environments)
        assert (await bench.idle(version), await bench.held()) == (0, {})


async def test_the_end_gives_back_what_does_not_end(make: Any) -> None:
    """At its deadline a stopping worker gives an event back to its queue, uncounted, and tells a caller."""
    async with make() as bench:
        version = await bench.deploy(SOURCE, timeout_s=60)
        call = await bench.place(version, {"s": 50})
        await bench.until(lambda: any(e.state is EnvironmentState.BUSY for e in bench.worker.environments.values()))
        event_id = await bench.send(version, {"s": 50})
        await bench.start(version)
        await becomes(bench, event_id, "held")
        await asyncio.sleep(0.5)
        bench.worker.stop()
        async with asyncio.timeout(8):
            reply = await call
        assert reply.failure == "ServiceException"
        await becomes(bench, event_id, "there")
        home = bench.redis.keys.home
        assert await bench.redis.client.lrange(f"{home}evq:{version.target}", 0, -1) == [event_id.encode()]
        assert await bench.redis.client.hget(f"{home}ev:{event_id}", "attempts") == b"1"


async def test_a_worker_that_was_given_up_begins_anew(bench: Any) -> None:
    """A worker that the platform took for dead ends what it has, registers again, and serves."""
    version = await bench.deploy(SOURCE)
    first = await bench.call(version, {})
    await asyncio.sleep(0.1)
    now_ms = await bench.redis.now_ms()
    await bench.fleet.bury("w", now_ms=now_ms + 60_000, lease_ms=1000, code="x", message="y")
    await bench.until(lambda: not bench.worker.environments, within_s=3)
    await asyncio.sleep(0.2)
    assert await bench.call(version, {}) != first


async def test_redis_away_for_a_moment(bench: Any) -> None:
    """A store that refuses connections for a while costs nothing: the call's end is written when it is back."""
    version = await bench.deploy(SOURCE)
    await bench.call(version, {})
    future = await bench.place(version, {"s": 0.5})
    await asyncio.sleep(0.1)
    await bench.redis.client.execute_command("CLIENT", "PAUSE", "1500", "WRITE")
    async with asyncio.timeout(8):
        assert not (await future).function_error
    assert await bench.call(version, {})


async def test_the_fleets_table(bench: Any) -> None:
    """The heartbeat shows each environment with its state, and nothing of it afterwards."""
    version = await bench.deploy(SOURCE)
    running = await bench.place(version, {"s": 1.5})
    deadline = time.monotonic() + 5
    while not (rows := [r for r in await bench.fleet.environments(["w"]) if r.state is EnvironmentState.BUSY]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert (rows[0].target, rows[0].memory_mb, rows[0].worker) == (version.target, 128, "w")
    assert rows[0].container
    await running


async def test_packages_are_unpacked_once(bench: Any) -> None:
    """Environments of one package share its files on disk, and the cache has them once."""
    version = await bench.deploy(files={"app.py": SOURCE, "data/big.txt": "x" * 1000})
    await asyncio.gather(bench.place(version, {"s": 1}), bench.place(version, {"s": 1}))
    await bench.until(lambda: len(list((bench.folder / "env").glob("*/task/data/big.txt"))) == 2)
    cached = list((bench.folder / "cache").glob("*/data/big.txt"))
    assert len(cached) == 1
    assert cached[0].stat().st_nlink == 3
    shutil.rmtree(bench.folder / "objects")  # nothing is fetched again
    assert json.dumps(await bench.call(version, {}))


@pytest.mark.parametrize("kind", ["sync", "event"])
async def test_nothing_is_lost_when_environments_die_under_load(bench: Any, kind: str) -> None:
    """With environments killed at random every call is answered and every event ends."""
    version = await bench.deploy(SOURCE, timeout_s=20)
    await bench.call(version, {})
    if kind == "sync":
        futures = [await bench.place(version, {"s": 0.05}) for _ in range(12)]
    else:
        events = [await bench.send(version, {"s": 0.05}) for _ in range(12)]
    for _ in range(3):
        await asyncio.sleep(0.1)
        for environment in list(bench.worker.environments.values())[:2]:
            if environment.label:
                os.kill(int("".join(filter(str.isdigit, environment.label))), 9)
        await bench.start(version)
    if kind == "sync":
        async with asyncio.timeout(20):
            replies = await asyncio.gather(*futures)
        assert {reply.function_error for reply in replies} <= {"", "Unhandled"}
    else:
        for event_id in events:
            async with asyncio.timeout(20):
                while (state := await event_state(bench, event_id)) not in ("gone", "delayed"):
                    assert state in ("held", "there")
                    await asyncio.sleep(0.05)
                    if not bench.worker.environments:
                        await bench.start(version)
    assert await bench.held() == {}
