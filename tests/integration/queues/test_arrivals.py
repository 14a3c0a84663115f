"""Being told of arrivals, however the wait for them is cut short."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from lambent_platform.store import arrivals as module
from lambent_platform.store.arrivals import Arrivals

from .conftest import Queues


async def test_waits_that_are_cut_short_are_not_forgotten(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits again and again for less than the time after which it is forgotten is told all the same."""
    monkeypatch.setattr(module, "REGISTERED_S", 1)
    monkeypatch.setattr(module, "REFRESH_S", 0.4)
    queue = await queues.create()
    arrivals = Arrivals(queues.redis, "p")
    async with arrivals.running(), arrivals.interested(queue.ident) as interest:
        for _ in range(12):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    assert not await interest.wait(5)
        await queues.send(queue, "a")
        assert await interest.wait(5)


async def test_a_wait_that_ends_while_it_registers(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that is cancelled after it woke and before it said that it goes on waiting loses no arrival."""
    queue = await queues.create()
    arrivals = Arrivals(queues.redis, "p")
    async with arrivals.running(), arrivals.interested(queue.ident) as interest:
        registering = asyncio.Event()

        async def never(ident: str) -> None:
            registering.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patched:
            patched.setattr(arrivals, "register", never)
            wait = asyncio.create_task(interest.wait(5))
            await queues.send(queue, "a")
            async with asyncio.timeout(5):
                await registering.wait()
            wait.cancel()
            await asyncio.gather(wait, return_exceptions=True)
        assert await interest.wait(0.1)
        await queues.send(queue, "b")
        assert await interest.wait(5)
