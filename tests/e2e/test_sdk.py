"""The Python client and the examples against a running platform."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

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
