"""How a real worker keeps functions by their own history."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from lambent_platform.contracts.environment import EnvironmentState
from lambent_platform.contracts.function import CodePackage, FunctionRecord
from lambent_platform.contracts.names import LATEST
from lambent_platform.core.idle_history import Habits, bin_of
from lambent_platform.scheduler.expected import ExpectedLoop
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.habits import HabitStore
from lambent_platform.store.invocations import start_order

SOURCE = """
import os, time
ME = os.urandom(8).hex()
def handler(event, context):
    time.sleep((event or {}).get("s", 0))
    return ME
"""
BY_HISTORY: dict[str, Any] = {
    "keep_alive": "history", "linger_s": 1.0, "gap_min_s": 3.0, "idle_timeout_s": 60.0, "cold_start_worth_s": 10.0,
}  # fmt: skip
"""Times of seconds in place of minutes."""


async def remember(bench: Any, version: Any, idle_s: float, times: int = 50) -> None:
    """Give a function a history of equal idle times."""
    key = f"{bench.redis.keys.home}habits:{version.ref.ident}"
    await bench.redis.client.hset(key, str(bin_of(idle_s)), times)


async def habits(bench: Any, version: Any) -> Habits:
    """What is known of a function."""
    [found] = await HabitStore(bench.redis).load([version.ref.ident])
    return found


async def test_calls_are_seen(bench: Any) -> None:
    """Pauses of a second between a function's calls are idle times, shorter ones and calls that overlap are none."""
    version = await bench.deploy(SOURCE)
    await bench.call(version)
    await asyncio.sleep(0.3)
    await bench.call(version)
    await asyncio.sleep(1.5)
    await asyncio.gather(bench.call(version, {"s": 1.6}), bench.call(version, {"s": 0.1}))
    await asyncio.sleep(2.1)
    ended_ms = await bench.redis.now_ms() - 2_100
    found = await habits(bench, version)
    assert (found.warm, found.observations, found.counts[bin_of(1.5)]) == (1, 1, 1)
    assert abs(found.last_ms - ended_ms) < 500
    assert found.init_s is not None
    assert 0 < found.init_s < 2


async def test_a_short_history_keeps_a_function_short(make: Any) -> None:
    """A function that comes back within seconds or not at all goes when its window ends, before the fixed time."""
    async with make(**BY_HISTORY) as bench:
        version = await bench.deploy(SOURCE)
        await remember(bench, version, 2.0)
        await bench.call(version)
        called = time.monotonic()
        await bench.until(lambda: not bench.worker.environments, within_s=8)
        assert 2 < time.monotonic() - called < 6


async def test_a_long_history_keeps_a_function_long(make: Any) -> None:
    """A function whose history says so outlives the fixed time, which still counts for a second environment of it."""
    async with make(**(BY_HISTORY | {"idle_timeout_s": 3.0, "gap_min_s": 60.0, "cold_start_worth_s": 1800.0})) as bench:
        version = await bench.deploy(SOURCE)
        await remember(bench, version, 30.0)
        await asyncio.gather(bench.call(version, {"s": 0.5}), bench.call(version, {"s": 0.5}))
        assert len(bench.worker.environments) == 2
        await bench.until(lambda: len(bench.worker.environments) == 1, within_s=6)
        await asyncio.sleep(3)
        assert len(bench.worker.environments) == 1


async def test_a_function_with_a_rhythm_is_brought_up_ahead(make: Any) -> None:
    """Its environment goes soon after the call; another one comes before the next call, and goes where none comes."""
    async with make(**(BY_HISTORY | {"freeze_after_s": 1.0})) as bench:
        version, functions = await bench.deploy(SOURCE, state="Active"), FunctionStore(bench.redis)
        await bench.redis.client.delete(bench.redis.keys.function(version.ref.ident))
        assert await functions.create(version.ref.ident, FunctionRecord(versions={LATEST: version}))
        await remember(bench, version, 12.0)
        first = await bench.call(version)
        called = time.monotonic()
        await bench.until(lambda: not bench.worker.environments, within_s=7)
        assert time.monotonic() - called < 7
        due = await bench.redis.client.zscore(f"{bench.redis.keys.home}expected", version.target)
        assert 9.5 < (due - await bench.redis.now_ms()) / 1000 + time.monotonic() - called < 10.5
        loop = ExpectedLoop(bench.redis, bench.fleet, functions)
        while not loop.ordered:
            await asyncio.sleep(0.1)
            await loop.step()
        ordered = time.monotonic() - called
        await bench.until(lambda: bench.worker.environments)
        [environment] = bench.worker.environments.values()
        await bench.until(lambda: environment.state is EnvironmentState.FROZEN, within_s=2)
        assert environment.expecting
        assert 9.5 < ordered < 12
        assert await bench.call(version) != first
        assert not environment.expecting
        assert (await bench.idle(version)) == 1
        await asyncio.sleep(1.5)
        found = await habits(bench, version)
        assert (found.warm, found.observations, sum(found.counts[bin_of(9.0) :])) == (
            1,
            51,
            51,
        )  # the whole pause counts


async def test_one_that_was_expected_in_vain_goes(make: Any) -> None:
    """An environment that was brought up ahead goes at its window's end, as the function's last call counts."""
    async with make(**BY_HISTORY) as bench:
        version = await bench.deploy(SOURCE)
        await remember(bench, version, 7.0)
        now_ms = await bench.redis.now_ms()
        item = start_order("e" * 32, version.to_dict(), last_call_ms=now_ms - 6_000)
        await bench.redis.client.hset(f"{bench.redis.keys.home}habits:{version.ref.ident}", "last_ms", now_ms - 6_000)
        await bench.redis.client.rpush(f"{bench.redis.keys.home}inbox:w", item)
        await bench.until(lambda: bench.worker.environments)
        began = time.monotonic()
        await asyncio.sleep(1.2)
        assert bench.worker.environments
        await bench.until(lambda: not bench.worker.environments, within_s=8)
        assert time.monotonic() - began < 6
        assert await bench.redis.client.zcard(f"{bench.redis.keys.home}expected") == 0


async def test_hot_reload_is_no_matter_of_history(make: Any, tmp_path: Any) -> None:
    """A function under hot reload is kept for the fixed time, and never brought up ahead."""
    (tmp_path / "app.py").write_text(SOURCE)
    async with make(**(BY_HISTORY | {"idle_timeout_s": 5.0})) as bench:
        version = await bench.deploy(code=CodePackage(hot_reload_path=str(tmp_path)))
        await remember(bench, version, 30.0)
        await bench.call(version)
        await asyncio.sleep(3.5)
        assert bench.worker.environments
        await bench.until(lambda: not bench.worker.environments, within_s=4)
        assert await bench.redis.client.zcard(f"{bench.redis.keys.home}expected") == 0
