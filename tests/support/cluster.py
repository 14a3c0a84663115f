"""A platform whose roles are processes that were started one by one, on one Redis."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import redis
from botocore.config import Config


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """The processes of a platform whose roles were started by hand."""

    redis_url: str
    folder: Path
    ports: tuple[int, int]
    roles: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, role: str, *flags: str) -> None:
        """Start one role, with its own data folder and the shared object store."""
        log = (self.folder / f"{name}.log").open("wb")
        self.roles[name] = subprocess.Popen(
            [
                *(sys.executable, "-m", "lambent.cli.main", role, "--redis", self.redis_url),
                *("--objects", f"file://{self.folder / 'objects'}", "--data-dir", str(self.folder / name), *flags),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={key: value for key, value in os.environ.items() if not key.startswith(("LAMBENT_", "AWS_"))},
        )

    def worker(self, name: str, *flags: str) -> None:
        """Start a worker of processes that reaches the first gateway."""
        gateway = f"http://127.0.0.1:{self.ports[0]}"
        lease = ("--sandbox", "process", "--public-url", gateway, "--async-retry-delays-s", "1,1")
        self.start(name, "worker", *lease, "--capacity-mb", "2048", *flags)

    def kill(self, name: str) -> None:
        """Kill a role with -9."""
        process = self.roles.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def client(self, gateway: int = 0, service: str = "lambda", *, attempts: int = 1) -> Any:
        """A client of one of the gateways; by default it does not try again."""
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.ports[gateway]}",
            region_name="us-east-1",
            aws_access_key_id="t",
            aws_secret_access_key="t",
            config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=60),
        )

    def leader(self, store: redis.Redis) -> str:
        """Which scheduler leads; empty where none does."""
        holder: Any = store.get("l1:{p0}:leader:scheduler")
        process = holder.decode().split("-")[-2] if holder else ""
        return next((name for name, role in self.roles.items() if str(role.pid) == process), "")

    def ready(self, gateway: int) -> bool:
        """Whether a gateway says that a call could run."""
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{self.ports[gateway]}/readyz", timeout=5).close()
            return True
        return False

    def python(self) -> str:
        """A Python runtime that this machine has."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[0]}/_lambent/runtimes", timeout=5) as answer:
            runtimes = json.loads(answer.read())
        return next(r for r in ("python3.13", "python3.12", "python3.11", "python3.14") if runtimes[r] == "ready")

    def environments(self) -> list[dict[str, Any]]:
        """What runs where."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[0]}/_lambent/environments", timeout=5) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
            return found

    def logs(self) -> str:
        """The end of everything that the roles have printed."""
        return "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in self.folder.glob("*.log"))

    def end(self) -> None:
        """Ask every role to end, and wait for that."""
        for process in self.roles.values():
            process.send_signal(signal.SIGTERM)
        for process in self.roles.values():
            process.wait(15)
