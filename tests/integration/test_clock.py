"""The movable clock: shared by processes on one Redis, moved over HTTP, never back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.clock_page import ClockPage
from lambent_platform.store.clock import LEASE_MS, ClockStore, SystemTimer, VirtualTimer
from lambent_platform.store.redis import RedisStore, open_redis

HOUR_MS = 3_600_000


def real_ms() -> int:
    """The machine's own time."""
    return SystemClock().now_ms()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisStore]:
    """An empty store."""
    async with open_redis(redis_url) as store:
        await store.client.flushall()
        yield store


@pytest.fixture
async def post(redis: RedisStore, service_catalog: ServiceCatalog) -> AsyncIterator[Any]:
    """POST to the page of a gateway whose clock can be moved; gives (status, JSON)."""
    async with AsyncExitStack() as stack:
        timer = VirtualTimer(redis, "gateway")
        await stack.enter_async_context(timer.running())
        page = ClockPage(ClockStore(redis), timer)
        app = make_app(Registry(), catalog=service_catalog, routes=[page.route()])
        port = await stack.enter_async_context(listening(app, "127.0.0.1", 0, drain_s=0.1))
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def send(body: Any) -> tuple[int, Any]:
            async with session.post(f"http://127.0.0.1:{port}/_lambent/clock", json=body) as answer:
                return answer.status, await answer.json()

        yield send


async def test_a_sleeper_of_another_process_wakes_at_once(redis: RedisStore, redis_url: str) -> None:
    """Who sleeps until a time wakes within a few milliseconds of the move that passes it, and not by a lesser one."""
    async with open_redis(redis_url) as other:
        timer = VirtualTimer(other, "other")
        async with timer.running():
            sleeping = asyncio.create_task(timer.sleep_until(real_ms() + 2 * HOUR_MS))
            store = ClockStore(redis)
            await store.advance(HOUR_MS, real_ms=real_ms())
            await asyncio.sleep(0.05)
            assert not sleeping.done()
            await store.advance(HOUR_MS, real_ms=real_ms())
            async with asyncio.timeout(0.5):
                await sleeping


async def test_a_sleep_ends_by_its_own_pace_too(redis: RedisStore) -> None:
    """Without a move the clock runs as the machine's does."""
    timer = VirtualTimer(redis, "one")
    async with timer.running():
        began = time.monotonic()
        await timer.sleep_until(timer.now_ms() + 120)
        assert 0.1 < time.monotonic() - began < 1.0


async def test_a_move_is_seen_by_all_when_the_answer_comes(redis: RedisStore, redis_url: str, post: Any) -> None:
    """As soon as a move is answered, every process that follows reads the new time; a later one begins with it."""
    async with AsyncExitStack() as stack:
        timers = []
        for number in range(4):
            other = await stack.enter_async_context(open_redis(redis_url))
            timers.append(VirtualTimer(other, f"role-{number}"))
            await stack.enter_async_context(timers[-1].running())
        for turn in range(1, 6):
            status, shown = await post({"advance": "1h"})
            assert (status, shown["clock"], shown["offset_ms"]) == (200, "virtual", turn * HOUR_MS)
            assert [timer.offset_ms for timer in timers] == [turn * HOUR_MS] * 4
        late = VirtualTimer(redis, "late")
        async with late.running():
            assert late.offset_ms == 5 * HOUR_MS


async def test_moves_from_many_sides_add_up(redis: RedisStore, post: Any) -> None:
    """Twenty moves at the same time move the clock by their sum, and each span is written down."""
    answers = await asyncio.gather(*(post({"advance": "1m30s"}) for _ in range(20)))
    assert {status for status, _ in answers} == {200}
    assert max(shown["offset_ms"] for _, shown in answers) == 20 * 90_000
    moves = await ClockStore(redis).moves()
    assert len(moves) == 20
    assert all(end - start == 90_000 for start, end in moves)


async def test_it_is_set_to_a_moment_and_never_back(redis: RedisStore, post: Any) -> None:
    """A moment ahead is reached and its past refused, as is what lies beyond the last day."""
    status, shown = await post({"set": "2037-03-28T00:59:00Z"})
    assert status == 200
    assert shown["now"].startswith("2037-03-28T00:59:00.")
    status, error = await post({"set": "2037-03-28T00:58:00"})
    assert status == 400
    assert "only moves ahead" in str(error)
    assert (await post({"set": "2101-01-01"}))[0] == 400
    assert (await post({"advance": "40000d"}))[0] == 400
    assert await ClockStore(redis).offset_ms() == shown["offset_ms"]


@pytest.mark.parametrize(
    "body", [{}, [], {"advance": 5}, {"advance": "5"}, {"advance": "-1h"}, {"set": "soon"}, {"x": "1h"}]
)
async def test_bad_moves_are_refused(post: Any, body: Any) -> None:
    """What is no move is 400, says what one looks like, and moves nothing."""
    status, error = await post(body)
    assert status == 400
    assert "such as" in str(error) or "The body is" in str(error)


async def test_a_dead_process_is_waited_for_no_longer_than_its_lease(redis: RedisStore, post: Any) -> None:
    """One that was killed without a word holds a move up until its lease is over; then it is forgotten."""
    await redis.run("clock/look", redis.keys.home, ["killed", 0, LEASE_MS])
    began = time.monotonic()
    status, _ = await post({"advance": "1h"})
    assert status == 200
    assert time.monotonic() - began < LEASE_MS / 1000 + 0.5
    assert await redis.client.zrange(f"{redis.keys.home}clockbeats", 0, -1) == [b"gateway"]
    assert not await redis.client.exists(f"{redis.keys.home}clockbox:killed")


async def test_a_real_clock_is_not_moved(redis: RedisStore, service_catalog: ServiceCatalog) -> None:
    """Where the platform goes by the machine's clock, a move is 409 and says what to do; reading works."""
    page = ClockPage(ClockStore(redis), SystemTimer())
    app = make_app(Registry(), catalog=service_catalog, routes=[page.route()])
    async with listening(app, "127.0.0.1", 0, drain_s=0.1) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/_lambent/clock"
        async with session.post(url, json={"advance": "1h"}) as answer:
            assert answer.status == 409
            assert answer.headers["x-amzn-ErrorType"] == "ClockIsReal"
            assert "--clock virtual" in await answer.text()
        async with session.get(url) as answer:
            shown = await answer.json()
    assert shown["clock"] == "real"
    assert abs(shown["now_ms"] - real_ms()) < 2000
    assert await ClockStore(redis).offset_ms() == 0


async def test_nothing_stays_of_a_process_that_ends(redis: RedisStore) -> None:
    """A process that ends is waited for no more, and leaves no key but the clock's own."""
    timer = VirtualTimer(redis, "short")
    async with timer.running():
        await ClockStore(redis).advance(1000, real_ms=real_ms())
        async with asyncio.timeout(0.5):
            await timer.sleep_until(real_ms() + 950)
    home = redis.keys.home
    assert sorted(await redis.client.keys("*")) == [f"{home}clock".encode(), f"{home}clockmoves".encode()]
