"""The Python client and the examples against a running platform."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lambent import AsyncClient, Client, FunctionError, ResourceNotFound

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def client(platform: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncClient]:
    """An asynchronous client of the platform."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    async with AsyncClient(platform.endpoint) as client:
        yield client


async def usable(client: AsyncClient, *runtimes: str) -> str:
    """Choose the first of the runtimes that the platform can run; skip where there is none."""
    known = await client.runtimes()
    for wanted in ("ready", "buildable"):
        for name in runtimes:
            if known[name] == wanted:
                return name
    pytest.skip("; ".join(f"{name}: {known[name]}" for name in runtimes))


@pytest.mark.parametrize(
    ("example", "runtimes"),
    [
        ("hello-python", ("python3.13", "python3.12", "python3.11")),
        ("hello-nodejs", ("nodejs20.x", "nodejs22.x", "nodejs24.x")),
        ("hello-bash", ("provided.al2023",)),
    ],
)
async def test_hello_examples(client: AsyncClient, example: str, runtimes: tuple[str, ...]) -> None:
    """Each language greets, and writes a line of log."""
    name = f"{example}-{os.urandom(3).hex()}"
    runtime = await usable(client, *runtimes)
    function = await client.deploy(EXAMPLES / example, name=name, runtime=runtime)
    try:
        assert (function.state, function.runtime) == ("Active", runtime)
        assert (await client.invoke(name, {"name": "Ada"}))["greeting"] == "Hello, Ada!"
        result = await client.call(name, b"{}", log_tail=True)
        assert result.value()["greeting"] == "Hello, world!"
        assert "greeting world" in result.log
        assert result.executed_version == "$LATEST"
    finally:
        await client.delete(name)


async def test_a_custom_runtimes_error_is_a_function_error(client: AsyncClient) -> None:
    """What a bootstrap posts to the Runtime API's error path arrives with its own type."""
    name = f"hello-bash-{os.urandom(3).hex()}"
    await usable(client, "provided.al2023")
    await client.deploy(EXAMPLES / "hello-bash", name=name)
    try:
        with pytest.raises(FunctionError, match=r"Hello\.Nobody: there is nobody to greet"):
            await client.invoke(name, {"name": "nobody"})
    finally:
        await client.delete(name)


async def test_errors_urls_and_listing(client: AsyncClient) -> None:
    """What a handler raises comes with its trace; a URL is made once; a deleted function is gone."""
    name = f"flaky-{os.urandom(3).hex()}"
    runtime = await usable(client, "python3.13", "python3.12", "python3.11")
    await client.deploy(EXAMPLES / "flaky", name=name, runtime=runtime)
    with pytest.raises(FunctionError) as caught:
        await client.invoke(name, {"order": 7})
    assert (caught.value.type, caught.value.message) == ("WarehouseUnavailable", "order 7 could not be stored")
    assert any("handler.py" in line for line in caught.value.trace)
    assert caught.value.request_id
    with pytest.raises(ResourceNotFound):
        await client.url(name)
    assert await client.url(name, create=True) == await client.url(name, create=True)
    assert name in [function.name for function in await client.functions()]
    assert name in [environment.function for environment in await client.environments()]
    await client.delete(name)
    with pytest.raises(ResourceNotFound):
        await client.function(name)


async def test_many_calls_at_once(client: AsyncClient) -> None:
    """Every caller gets its own answer."""
    name = f"hello-{os.urandom(3).hex()}"
    runtime = await usable(client, "python3.13", "python3.12", "python3.11")
    await client.deploy(EXAMPLES / "hello-python", name=name, runtime=runtime)
    try:
        await client.invoke(name)
        answers = await asyncio.gather(*(client.invoke(name, {"name": str(number)}) for number in range(40)))
        assert [answer["greeting"] for answer in answers] == [f"Hello, {number}!" for number in range(40)]
    finally:
        await client.delete(name)


async def test_the_sync_client_does_the_same(client: AsyncClient) -> None:
    """The facade reaches the same platform, from another thread, and reads the log."""
    name = f"hello-{os.urandom(3).hex()}"
    runtime = await usable(client, "python3.13", "python3.12", "python3.11")
    endpoint = client.connection.endpoint

    def use() -> tuple[Any, list[str]]:
        with Client(endpoint) as sync:
            sync.deploy(EXAMPLES / "hello-python", name=name, runtime=runtime)
            answer = sync.invoke(name, {"name": "Sync"})
            lines: list[str] = []
            for event in sync.logs(name, since_s=120, follow=True):
                lines.append(event.message)
                if event.message.startswith("REPORT"):
                    break
            sync.delete(name)
            return answer, lines

    async with asyncio.timeout(60):
        answer, lines = await asyncio.to_thread(use)
    assert answer["greeting"] == "Hello, Sync!"
    assert any(line.startswith("greeting Sync") for line in lines)


@pytest.mark.parametrize(
    ("example", "runtimes", "event", "expected"),
    [
        ("stream-python", ("python3.13", "python3.12", "python3.11"), {"pause_s": 0.2, "text": "a b c"}, b"a b c "),
        ("stream-nodejs", ("nodejs20.x", "nodejs22.x", "nodejs24.x"), {"rows": 2}, b"number,square\n1,1\n2,4\n"),
    ],
)
async def test_stream_examples(
    client: AsyncClient, example: str, runtimes: tuple[str, ...], event: dict[str, Any], expected: bytes
) -> None:
    """Each is read while it is made, by the client and by its URL, which streams as its description says."""
    name = f"{example}-{os.urandom(3).hex()}"
    await client.deploy(EXAMPLES / example, name=name, runtime=await usable(client, *runtimes))
    try:
        stream = client.invoke_stream(name, event, log_tail=True)
        assert b"".join([part async for part in stream]) == expected
        assert (stream.executed_version, bool(stream.request_id), "REPORT" in stream.log) == ("$LATEST", True, True)
        async with aiohttp.request("GET", client.path_url(name)) as answer:
            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert answer.headers["Content-Type"] in ("text/event-stream", "text/csv")
            assert len(await answer.read()) > 100
    finally:
        await client.delete(name)


STREAMS = """
import time

def handler(event, context):
    for n in range(3):
        yield f"part {n}\\n"
        time.sleep(event.get("pause", 0))
    if event.get("fail"):
        raise ValueError("late")
"""


def test_streams_by_the_blocking_client(platform: Any) -> None:
    """Parts come while the function runs; its failure is raised after them; whoever leaves early hangs up."""
    name = platform.deploy(STREAMS)
    with Client(platform.endpoint) as client:
        times = []
        for part in client.invoke_stream(name, {"pause": 0.4}):
            times.append(time.monotonic())
            assert part.startswith(b"part")
        assert times[-1] - times[0] > 0.5
        seen = []
        with pytest.raises(FunctionError, match="late") as failed:
            seen.extend(client.invoke_stream(name, {"fail": True}))
        assert (b"".join(seen), failed.value.type) == (b"part 0\npart 1\npart 2\n", "ValueError")
        for part in client.invoke_stream(name, {"pause": 0.4}):
            assert part == b"part 0\n"
            break
        with pytest.raises(ResourceNotFound):
            list(client.invoke_stream("absent"))
        assert b"".join(client.invoke_stream(name)) == b"part 0\npart 1\npart 2\n"


def test_streams_by_the_command(platform: Any) -> None:
    """`lambent invoke --stream` prints each part at once; a failure after them makes the exit status 1."""
    name = platform.deploy(STREAMS)
    command = [sys.executable, "-m", "lambent.cli.main", "invoke", name, "--stream", "--endpoint", platform.endpoint]
    process = subprocess.Popen([*command, "-d", '{"pause": 0.4}'], stdout=subprocess.PIPE)
    assert process.stdout is not None
    times = [time.monotonic() for _ in iter(process.stdout.readline, b"")]
    assert (process.wait(10), len(times)) == (0, 3)
    assert times[-1] - times[0] > 0.5
    failed = subprocess.run([*command, "--tail", "-d", '{"fail": true}'], capture_output=True, timeout=30)
    assert (failed.returncode, failed.stdout) == (1, b"part 0\npart 1\npart 2\n")
    assert b"REPORT RequestId" in failed.stderr
    assert b"ValueError: late" in failed.stderr
    url = [sys.executable, "-m", "lambent.cli.main", "url", name, "--endpoint", platform.endpoint]
    for option, mode in (("--stream", "RESPONSE_STREAM"), ("--buffered", "BUFFERED")):
        subprocess.run([*url, "--create", option], check=True, capture_output=True, timeout=30)
        assert platform.client("lambda").get_function_url_config(FunctionName=name)["InvokeMode"] == mode
