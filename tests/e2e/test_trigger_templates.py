"""`lambent init` for every kind of trigger: made, deployed as it is, and seen at work."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import aiohttp
import pytest
import redis

SEEN_S = 40.0


class Made:
    """A stack that was made from a template."""

    def __init__(self, lambent: Any, folder: Path, template: str, runtime: str, *more: str) -> None:
        self.lambent = lambent
        self.folder = folder
        self.stack = folder.name
        lambent("init", str(folder), "--template", template, "--runtime", runtime)
        self.outputs: dict[str, str] = json.loads(lambent("deploy", str(folder), "--yes", "--json", *more).stdout)
        assert "No changes" in lambent("deploy", str(folder), *more).stdout.decode()

    def log(self, function: str) -> str:
        """The log of one of its functions."""
        return str(self.lambent("logs", f"{self.stack}-{function}", "--since", "5m").stdout.decode())


@pytest.fixture
def make(lambent: Any, tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """Make stacks that are gone afterwards."""
    made: list[str] = []

    def one(template: str, runtime: str, *more: str) -> Made:
        folder = tmp_path / f"i{os.urandom(4).hex()}"
        made.append(folder.name)
        return Made(lambent, folder, template, runtime, *more)

    yield one
    for stack in made:
        lambent("destroy", stack, "--yes")


def until(condition: Callable[[], Any], what: Callable[[], object]) -> None:
    """Wait until a condition holds; `what` is shown where it does not."""
    deadline = time.monotonic() + SEEN_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def node(platform: Any) -> str:
    """A Node.js that the platform has, or can build."""
    states = platform.get("/_lambent/runtimes")
    found = [name for wanted in ("ready", "buildable") for name in states if "node" in name and states[name] == wanted]
    if not found:
        pytest.skip(f"no Node.js here: {states}")
    return str(found[0])


@pytest.mark.parametrize("template", ["python-queue", "nodejs-queue"])
def test_a_queue(make: Callable[..., Made], lambent: Any, platform: Any, runtime: str, template: str) -> None:
    """Good jobs are done once; the bad one comes back alone, and ends in the dead-letter queue."""
    made = make(template, runtime if template.startswith("python") else node(platform))
    queue, dead = made.outputs["Queue"], made.outputs["DeadLetters"]
    client = platform.client("sqs")
    url = client.get_queue_url(QueueName=queue)["QueueUrl"]
    # Instead of a minute between the attempts.
    client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    for job in (1, 2, 3):
        lambent("queues", "send", queue, "-d", json.dumps({"job": job}))
    lambent("queues", "send", queue, "-d", '{"job": 4, "fail": true}')
    until(lambda: json.loads(lambent("queues", "peek", dead, "--json").stdout), lambda: made.log("Worker"))
    log = made.log("Worker")
    assert [log.count(f"job {job} is done") for job in (1, 2, 3)] == [1, 1, 1]
    assert log.count("job 4 cannot be done") == 3
    (message,) = json.loads(lambent("queues", "receive", dead, "--delete", "--json").stdout)
    assert json.loads(message["Body"]) == {"job": 4, "fail": True}


def test_an_http_api(make: Callable[..., Made], endpoint: str, runtime: str) -> None:
    """Two functions answer behind one site."""
    made = make("python-http-api", runtime)
    host = urlsplit(made.outputs["Url"]).netloc

    def call(path: str, body: bytes | None = None) -> str:
        request = urllib.request.Request(endpoint + path, data=body, headers={"Host": host, "Origin": "http://x"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            return str(answer.read().decode())

    assert json.loads(call("/hello/Ada")) == {"greeting": "Hello, Ada!"}
    assert call("/echo", b"what") == "what"


def test_a_websocket(make: Callable[..., Made], endpoint: str, runtime: str) -> None:
    """What is said comes back over the same connection, sent there by the function."""
    made = make("python-websocket", runtime)
    address = urlsplit(made.outputs["Url"])

    async def talk() -> list[Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(endpoint + address.path, headers={"Host": address.netloc}) as socket,
        ):
            await socket.send_json({"action": "say", "text": "hello"})
            said = await socket.receive_json(timeout=30)
            await socket.send_str("nonsense")
            return [said, await socket.receive_json(timeout=30)]

    said, error = asyncio.run(talk())
    assert said == {"said": "HELLO"}
    assert "error" in error
    until(lambda: "disconnect" in made.log("Chat"), lambda: made.log("Chat"))


def test_a_redis_stream(make: Callable[..., Made], platform: Any, runtime: str) -> None:
    """Whoever knows XADD feeds the function; what fails for good is told on the dead-letter stream."""
    key = f"orders-{os.urandom(3).hex()}"
    made = make("python-redis-stream", runtime, "-p", f"Stream={key}")
    with redis.Redis(unix_socket_path=str(platform.data_dir / "redis" / "run" / "valkey.sock")) as client:
        for order in range(5):
            client.xadd(key, {"order": order})
        until(lambda: "'order': '4'" in made.log("Worker"), lambda: made.log("Worker"))
        bad = client.xadd(key, {"order": 5, "fail": "yes"}).decode()
        until(lambda: client.xlen(f"{key}-dead"), lambda: made.log("Worker"))
        (dead,) = client.xrange(f"{key}-dead")
        assert bad in str(dead)
        client.delete(key, f"{key}-dead")


def test_a_schedule(running: Callable[..., Any], tmp_path: Path) -> None:
    """On a clock that can be moved: the short report after minutes, the nightly one at three, each by its own input."""
    with running("process", clock="virtual") as platform:
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAMBENT_"))}

        def lambent(*arguments: str) -> Any:
            return subprocess.run(
                [sys.executable, "-m", "lambent.cli.main", *arguments],
                env={**bare, "AWS_ENDPOINT_URL": platform.endpoint},
                capture_output=True,
                check=True,
                timeout=90,
            )

        python = platform.python()
        made = Made(lambent, tmp_path / "reports", "python-schedule", python, "-p", "Zone=Europe/Berlin")
        assert made.outputs == {"Function": "reports-Report"}
        rows = {each["kind"]: each for each in json.loads(lambent("schedules", "ls", "--json").stdout)}
        nightly = datetime.fromisoformat(rows["schedule"]["next"])
        assert nightly.astimezone(ZoneInfo("Europe/Berlin")).hour == 3
        lambent("clock", "advance", "6m")
        until(lambda: "the short report is written" in made.log("Report"), lambda: made.log("Report"))
        assert "nightly" not in made.log("Report")
        lambent("clock", "set", nightly.isoformat())
        until(lambda: "the nightly report is written" in made.log("Report"), lambda: made.log("Report"))
        assert made.log("Report").count("the nightly report is written") == 1
