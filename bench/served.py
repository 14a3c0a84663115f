"""What is measured: a platform of its own, started as its user would start it, and functions on it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.config
import botocore.session

READY_TIMEOUT_S = 60.0
HELLO = b"def handler(event, context):\n    return event\n"


def packaged(source: bytes = HELLO, name: str = "app.py") -> bytes:
    """Zip one source file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, source)
    return buffer.getvalue()


@dataclass
class Platform:
    """A running `lambent up`."""

    endpoint: str
    process: subprocess.Popen[bytes]
    data_dir: Path

    def client(self, service: str = "lambda") -> Any:
        """A client as any user has it."""
        session = botocore.session.Session()
        session.set_credentials("test", "test")
        return session.create_client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            config=botocore.config.Config(retries={"max_attempts": 0}, read_timeout=120),
        )

    def deploy(self, name: str, *, runtime: str = "python3.13", package: bytes | None = None, **options: Any) -> None:
        """Create a function and wait until it is active."""
        client = self.client()
        client.create_function(
            FunctionName=name,
            Runtime=runtime,
            Role="arn:aws:iam::000000000000:role/bench",
            Handler="app.handler",
            Code={"ZipFile": package or packaged()},
            Timeout=30,
            **options,
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 300})

    def invoke_url(self, name: str) -> str:
        """The address that Invoke posts to."""
        return f"{self.endpoint}/2015-03-31/functions/{name}/invocations"

    def rss_mb(self) -> dict[str, float]:
        """Resident memory of each of the platform's processes, shared pages counted in proportion."""
        found: dict[str, float] = {}
        for pid in _descendants(self.process.pid):
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                kb = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:80]
                found[f"{pid} {words}"] = kb / 1024
        return found


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue += children.get(one, [])
    return found


@contextlib.contextmanager
def platform(*options: str) -> Iterator[Platform]:
    """Start a platform on a free port with a data folder of its own; it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="lambent-bench-") as folder:
        data_dir = Path(folder) / "data"
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lambent.cli.main", "up", "--port", "0", "--data-dir", str(data_dir), *options],
                stdout=log,
                stderr=log,
                env={**os.environ, "LAMBENT_LOG_LEVEL": "warning"},
            )
            try:
                endpoint = _ready(process, data_dir / "endpoint", Path(folder) / "log")
                yield Platform(endpoint, process, data_dir)
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _ready(process: subprocess.Popen[bytes], written: Path, log: Path) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the platform ended at its start:\n{log.read_text()}")
        if written.exists():
            endpoint = written.read_text().strip()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{endpoint}/readyz", timeout=5):
                return endpoint
        time.sleep(0.05)
    raise RuntimeError(f"the platform was not ready in {READY_TIMEOUT_S} s:\n{log.read_text()}")
