"""A bootstrap as a real process, seen from the worker's end of its channel."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lambent_workers.frames import FrameReader, FrameType, encode, invoke

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
CHANNEL_FD = 3
"""The number that both drivers give the channel."""


class Bootstrap:
    """One bootstrap's process and the worker's end of its channel."""

    def __init__(self, argv: list[str], root: Path) -> None:
        self.root = root
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(20)
        env = {"LAMBENT_CHANNEL_FD": str(CHANNEL_FD), "PATH": os.environ["PATH"]}
        number = theirs.fileno()
        self.process = subprocess.Popen(
            argv,
            env=env,
            pass_fds=[CHANNEL_FD],
            preexec_fn=lambda: os.dup2(number, CHANNEL_FD),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
        )
        theirs.close()
        self.frames = FrameReader()
        self.received: list[tuple[int, bytes]] = []

    def claim(self, handler: str, **env: str) -> tuple[int, Any]:
        """Make it a function; returns what it says of its init."""
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
            "AWS_LAMBDA_LOG_STREAM_NAME": "s", "PATH": os.environ["PATH"], **env,
        }  # fmt: skip
        claim = {"env": variables, "handler": handler, "task_root": str(self.root)}
        self.channel.sendall(encode(FrameType.CLAIM, json.dumps(claim).encode()))
        kind, body = self.frame()
        return kind, json.loads(body) if body else None

    def frame(self) -> tuple[int, bytes]:
        """Wait for the next frame."""
        while not self.received:
            data = self.channel.recv(1 << 20)
            assert data, f"the bootstrap hung up; it printed: {self.end()}"
            self.received += self.frames.feed(data)
        return self.received.pop(0)

    def send(self, event: bytes, **header: Any) -> str:
        """Send one event; returns its request id."""
        request_id = str(uuid.uuid4())
        known = {"id": request_id, "deadline_ms": 4102444800000, "arn": ARN, "trace_id": "Root=1", "client_context": ""}
        self.channel.sendall(invoke(json.dumps(known | header).encode(), event))
        return request_id

    def raw(self, event: bytes, **header: Any) -> tuple[int, bytes]:
        """Run one event; returns the answer's type and bytes."""
        request_id = self.send(event, **header)
        kind, body = self.frame()
        assert body[:36].decode() == request_id
        return kind, body[36:]

    def call(self, event: Any = None, **header: Any) -> Any:
        """Run one event that must succeed."""
        kind, body = self.raw(json.dumps(event).encode(), **header)
        assert kind == FrameType.RESULT, body
        return json.loads(body)

    def fail(self, event: Any = None, **header: Any) -> Any:
        """Run one event that must fail."""
        kind, body = self.raw(json.dumps(event).encode(), **header)
        assert kind in (FrameType.ERROR, FrameType.FATAL), body
        return json.loads(body)

    def end(self) -> str:
        """Hang up and return all that was printed."""
        self.channel.close()
        output, _ = self.process.communicate(timeout=20)
        return output.decode()

    def kill(self) -> None:
        """End it whatever it does."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.channel.close()


@pytest.fixture
def bootstraps(tmp_path: Path) -> Iterator[Callable[[list[str], dict[str, str]], Bootstrap]]:
    """Starts bootstraps by their command, over a package of the given files; `__` in a name stands for a slash."""
    running: list[Bootstrap] = []

    def begin(argv: list[str], named: dict[str, str]) -> Bootstrap:
        for name, text in named.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        running.append(Bootstrap(argv, tmp_path))
        return running[-1]

    yield begin
    for bootstrap in running:
        bootstrap.kill()
