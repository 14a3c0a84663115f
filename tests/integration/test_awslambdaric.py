"""AWS's own runtime client for Python, unmodified, on our Runtime API."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_workers.runtime_api import RuntimeApi
from lambent_workers.runtime_link import AnswerKind, Delivery

SOURCE = """
import decimal
def handler(event, context):
    if event == "raise":
        raise ValueError("bad")
    if event == "set":
        return {1, 2}
    if event == "large":
        return "x" * 7_000_000
    if event == "deep":
        def down(n):
            return down(n - 1) if n else [][0]
        return down(900)
    return {"event": event, "id": context.aws_request_id, "left": context.get_remaining_time_in_millis(),
            "custom": context.client_context.custom, "arn": context.invoked_function_arn}
"""
DEADLINE_S = 20


class Events:
    """What an environment would hear, as a queue."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, bytes, AnswerKind | None]] = asyncio.Queue()

    def on_ready(self) -> None:
        """Hear it."""
        self.heard.put_nowait(("ready", b"", None))

    def on_init_failed(self, error: bytes) -> None:
        """Hear it."""
        self.heard.put_nowait(("init error", error, None))

    def on_answer(self, request_id: str, body: bytes, kind: AnswerKind) -> None:
        """Hear it."""
        self.heard.put_nowait((request_id, body, kind))

    def on_lost(self) -> None:
        """Never called by this API."""


class Bench:
    """The API, listening, and the client's process."""

    def __init__(self, root: Path) -> None:
        self.api, self.events = RuntimeApi(), Events()
        self.root = root
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.count = 0

    async def start(self, source: str) -> None:
        """Run a handler on the client."""
        (self.root / "app.py").write_text(source)
        env = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.port}", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "awslambdaric", "app.handler", cwd=self.root, env=env,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def hear(self) -> tuple[str, bytes, AnswerKind | None]:
        """Wait for the next word of the client."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.events.heard.get()

    async def call(self, event: object) -> tuple[bytes, AnswerKind | None]:
        """Deliver an event and wait for its answer."""
        self.count += 1
        request_id = f"{self.count:08d}-0000-0000-0000-000000000000"
        context = json.dumps({"custom": {"k": "v"}})
        self.api.deliver(Delivery(request_id, 4102444800000, "arn:f", "Root=1", context, json.dumps(event).encode()))
        heard, body, kind = await self.hear()
        assert heard == request_id
        return body, kind


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """An attached API; the client's process is ended."""
    found = Bench(tmp_path)
    server = await asyncio.get_running_loop().create_server(found.api.connect, "127.0.0.1", 0)
    found.api.attach(found.events)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found
        found.api.close()
        if found.process is not None:
            if found.process.returncode is None:
                found.process.kill()
            await found.process.wait()


async def test_the_client_serves_events(bench: Bench) -> None:
    """Results, errors, a deep trace in its headers, and results over the limit; the client goes on after each."""
    await bench.start(SOURCE)
    assert (await bench.hear())[0] == "ready"
    body, kind = await bench.call({"ü": 1})
    seen = json.loads(body)
    assert kind is AnswerKind.RESULT
    assert (seen["event"], seen["custom"], seen["arn"], seen["left"] > 10**9) == ({"ü": 1}, {"k": "v"}, "arn:f", True)
    for event, error_type in (("raise", "ValueError"), ("set", "Runtime.MarshalError"), ("deep", "IndexError")):
        body, kind = await bench.call(event)
        assert (json.loads(body)["errorType"], kind) == (error_type, AnswerKind.ERROR)
    large = json.loads((await bench.call("y" * 6_000_000))[0])
    assert len(large["event"]) == 6_000_000
    assert len(large["event"]) < SYNC_PAYLOAD_BYTES


async def test_a_result_over_the_limit(bench: Bench) -> None:
    """A result over the limit is refused; the client ends over that, as it does on Lambda, and the caller knows why."""
    await bench.start(SOURCE)
    assert (await bench.hear())[0] == "ready"
    assert await bench.call("large") == (b"", AnswerKind.TOO_LARGE)


async def test_an_init_error(bench: Bench) -> None:
    """An import that fails is reported by the client, which then ends."""
    await bench.start("import absent")
    heard, body, _ = await bench.hear()
    assert (heard, json.loads(body)["errorType"]) == ("init error", "Runtime.ImportModuleError")
    assert bench.process is not None
    async with asyncio.timeout(DEADLINE_S):
        assert await bench.process.wait() == 1
