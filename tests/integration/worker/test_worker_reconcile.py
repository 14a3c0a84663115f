"""A worker whose connection to Redis ends with a reply in it: the calls that the reply handed out go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = """
import os, time
def handler(event, context):
    print("ran", event["name"])
    time.sleep(event.get("s", 0))
    return [event["name"], os.getpid()]
"""


class Cutter:
    """A relay in front of Redis that swallows the next reply with some bytes in it, and cuts its connection."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.wanted = b""
        self.cuts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        replies, commands = await asyncio.open_unix_connection(self._server)
        try:
            async with asyncio.TaskGroup() as group:
                there = group.create_task(self._pass(reader, commands))
                back = group.create_task(self._pass(replies, writer, cut=True))
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                there.cancel()
                back.cancel()
        finally:
            commands.close()
            writer.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, cut: bool = False) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 20):
                if cut and self.wanted and self.wanted in data:
                    self.wanted = b""
                    self.cuts += 1
                    return
                sink.write(data)
                await sink.drain()


@pytest.fixture
async def cutter(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[Cutter, str]]:
    """A relay, and the URL of Redis behind it."""
    cutter = Cutter(redis_url.removeprefix("unix://"))
    path = tmp_path / "relay.sock"
    server = await asyncio.start_unix_server(cutter.serve, str(path))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.close)
        yield cutter, f"unix://{path}"


@pytest.fixture
async def cut_bench(make: Any, cutter: tuple[Cutter, str]) -> AsyncIterator[tuple[Any, Cutter]]:
    """A worker behind the relay that looks for lost calls often."""
    async with make(worker_redis_url=cutter[1], reconcile_interval_s=0.2) as bench:
        yield bench, cutter[0]


async def test_a_call_is_lost_with_the_inbox(cut_bench: tuple[Any, Cutter]) -> None:
    """Its caller hears of it at once, its slot is free again, and the same environment takes the next call."""
    bench, cutter = cut_bench
    version = await bench.deploy(SOURCE)
    _, pid = await bench.call(version, {"name": "first"})
    cutter.wanted = b"swallow-me"
    reply = await bench.invoke(version, {"name": "swallow-me"})
    assert (reply.failure, cutter.cuts) == ("ServiceException", 1)
    assert b"sent again" in reply.payload
    assert await bench.call(version, {"name": "third"}) == ["third", pid]
    assert await bench.held() == {}
    assert not any("ran swallow-me" in line for line in await bench.lines("ran third"))


async def test_an_event_is_lost_with_the_inbox(cut_bench: tuple[Any, Cutter]) -> None:
    """An accepted event runs all the same, once."""
    bench, cutter = cut_bench
    version = await bench.deploy(SOURCE)
    await bench.call(version, {"name": "first"})
    cutter.wanted = b"swallow-me"
    await bench.send(version, {"name": "swallow-me"})
    lines = await bench.lines("ran swallow-me")
    assert cutter.cuts == 1
    assert sum("ran swallow-me" in line for line in lines) == 1


@pytest.mark.parametrize("kind", ["call", "event"])
async def test_what_follows_is_lost_with_the_end_of_a_call(cut_bench: tuple[Any, Cutter], kind: str) -> None:
    """The call that ended was answered; what its environment was handed next is answered, or runs if it is an event."""
    bench, cutter = cut_bench
    version = await bench.deploy(SOURCE)
    slow = await bench.place(version, {"name": "slow", "s": 0.5})
    await bench.lines("ran slow")
    cutter.wanted = b"swallow-me"
    if kind == "event":
        await bench.send(version, {"name": "swallow-me"})
        assert (await slow).payload.startswith(b'["slow"')
        await bench.lines("ran swallow-me")
    else:
        next_one = await bench.place(version, {"name": "swallow-me"}, order=False)
        assert (await slow).payload.startswith(b'["slow"')
        assert (await asyncio.wait_for(next_one, 5)).failure == "ServiceException"
    assert cutter.cuts == 1
    assert (await bench.call(version, {"name": "last"}))[0] == "last"
    assert await bench.held() == {}


async def test_nothing_in_hand_is_taken_for_lost(cut_bench: tuple[Any, Cutter]) -> None:
    """Calls that run for longer than several looks are left alone."""
    bench, _ = cut_bench
    version = await bench.deploy(SOURCE)
    replies = [await bench.place(version, {"name": f"n{n}", "s": 1.0}) for n in range(3)]
    ended = await asyncio.gather(*replies)
    assert [reply.failure for reply in ended] == ["", "", ""]
