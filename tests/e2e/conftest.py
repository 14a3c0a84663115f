"""A whole platform for tests: `lambent up` as a process of its own, on a free port and a temporary folder."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import boto3
import pytest
from botocore.config import Config

REPOSITORY = Path(__file__).parents[2]
START_S = 30.0
END_S = 12.0
COMMAND_S = 90.0
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3.14")
ROLE = "arn:aws:iam::000000000000:role/any"
FLAGS = {
    "keep-alive": "fixed",
    "idle-timeout-s": "5",
    "freeze-after-s": "2",
    "stem-idle-timeout-s": "30",
    "async-retry-delays-s": "1,2",
    "worker-lease-s": "4",
    "capacity-wait-s": "5",
}
"""Short waits, so that tests see what takes minutes elsewhere."""


def package(source: str | Mapping[str, str]) -> bytes:
    """Zip a program (`app.py`) or several files."""
    files = {"app.py": source} if isinstance(source, str) else source
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, date_time=(2024, 1, 1, 0, 0, 0))
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


def until(condition: Callable[[], Any], *, within_s: float, what: str) -> float:
    """Wait until a condition holds, and return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


@dataclass
class Platform:
    """One running platform."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path
    sandbox: str
    flags: Mapping[str, str]
    endpoint: str = ""
    ready_s: float = 0.0
    """From the process's start until `/readyz` said yes."""
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def idle_timeout_s(self) -> float:
        """From a function's last call until it has no environment."""
        return float(self.flags["idle-timeout-s"])

    def client(self, service: str) -> Any:
        """A boto3 client of this platform that does not try again."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.endpoint,
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(
                    retries={"total_max_attempts": 1},
                    read_timeout=70,
                    max_pool_connections=64,
                    parameter_validation=False,
                ),
            )
        return self._clients[service]

    def get(self, path: str) -> Any:
        """Read one of the gateway's own pages as JSON."""
        with urllib.request.urlopen(f"{self.endpoint}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def running(self) -> bool:
        """Whether the platform runs and could run a call."""
        try:
            return self.process.poll() is None and self.get("/readyz")["status"] == "ready"
        except OSError:
            return False

    def environments(self) -> list[dict[str, Any]]:
        """What `lambent ps` shows."""
        found: list[dict[str, Any]] = self.get("/_lambent/environments")
        return found

    def invoke_url(self, name: str) -> str:
        """The URL of a function's Invoke."""
        return f"{self.endpoint}/2015-03-31/functions/{name}/invocations"

    def python(self) -> str:
        """The Python runtime to test with: one that this platform has."""
        states = self.get("/_lambent/runtimes")
        for wanted in ("ready", "buildable"):
            for name in PYTHONS:
                if states[name] == wanted:
                    return name
        pytest.fail(f"no Python runtime here: {states}")

    def deploy(
        self, source: str | Mapping[str, str], *, handler: str = "app.handler", name: str = "", **config: Any
    ) -> str:
        """Create a function, or give an existing one this code, and wait until it can be called."""
        name = name or f"f-{uuid.uuid4().hex[:10]}"
        client = self.client("lambda")
        config = {"Runtime": self.python(), "Role": ROLE, "Handler": handler, "Timeout": 20} | config
        try:
            client.create_function(FunctionName=name, Code={"ZipFile": package(source)}, **config)
        except client.exceptions.ResourceConflictException:
            self.update(name, source)
            return name
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 150})
        return name

    def update(self, name: str, source: str | Mapping[str, str]) -> None:
        """Give a function other code, and wait until calls run it."""
        client = self.client("lambda")
        client.update_function_code(FunctionName=name, ZipFile=package(source))
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 150})

    def call(self, name: str, event: Any = None) -> Any:
        """Call a function and return its result; its error fails the test."""
        answer = self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
        payload = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, payload
        return payload

    def advance(self, by: str) -> dict[str, Any]:
        """Move the clock of a platform that runs with `clock="virtual"`; every role has followed at the end."""
        return self._move({"advance": by})

    def set_clock(self, to: str) -> dict[str, Any]:
        """Move it to a moment."""
        return self._move({"set": to})

    def _move(self, body: dict[str, str]) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.endpoint}/_lambent/clock", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            shown: dict[str, Any] = json.loads(answer.read())
            return shown

    def children(self) -> dict[str, int]:
        """The platform's processes: role → process id."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_text().split("\0")
                if parent == self.process.pid:
                    role = "valkey" if "valkey-server" in words[0] else words[words.index("lambent_platform.main") + 1]
                    found[role] = int(entry.name)
        return found

    def stop(self, *, number: int = signal.SIGINT) -> int:
        """Ask the platform to end, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(END_S)

    def output(self) -> str:
        """Everything it printed and logged."""
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def run_platform(sandbox: str, *, data_dir: Path | None = None, **flags: str) -> Iterator[Platform]:
    """Run a platform for the length of the block, on a data folder that is its own unless one is given.

    It leads a process group of its own, as under a shell. What is left of it at the end is killed.
    """
    folder = Path(tempfile.mkdtemp(prefix="lt-"))
    given = FLAGS | {name.replace("_", "-"): value for name, value in flags.items()}
    log = folder / "log"
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "lambent.cli.main", "up", "--port", "0", "--sandbox", sandbox),
                *("--data-dir", str(data_dir or folder / "data")),
                *(word for name, value in given.items() for word in (f"--{name}", value)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not name.startswith(("LAMBENT_", "AWS_"))},
            start_new_session=True,
        )
    platform = Platform(process, data_dir or folder / "data", log, sandbox, given)
    try:
        _wait_until_ready(platform, began)
        yield platform
    except BaseException:
        sys.stderr.write(platform.output()[-20_000:])
        raise
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                pytest.fail(f"the platform did not end within {END_S:g} s:\n{platform.output()[-5_000:]}")
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(platform: Platform, began: float) -> None:
    file = platform.data_dir / "endpoint"
    while not (platform.endpoint and platform.running()):
        assert platform.process.poll() is None, f"it ended with status {platform.process.returncode}"
        assert time.monotonic() - began < START_S, f"not ready within {START_S:g} s"
        with contextlib.suppress(FileNotFoundError):
            platform.endpoint = file.read_text().strip()
        time.sleep(0.01)
    platform.ready_s = time.monotonic() - began


SANDBOXES = [pytest.param("process"), pytest.param("docker", marks=pytest.mark.docker)]


@pytest.fixture(scope="session", params=SANDBOXES)
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A running platform, shared by all tests that take it: once with processes, once with containers."""
    with run_platform(request.param) as platform:
        yield platform


@pytest.fixture(scope="session")
def timeless() -> Iterator[Platform]:
    """A running platform whose clock tests move, with Lambda's own delays; shared by all tests that take it.

    The clock is common to them: a test moves it ahead by what it needs, and never relies on where it stands.
    """
    with run_platform("process", clock="virtual", async_retry_delays_s="60,120", idle_timeout_s="60") as platform:
        yield platform


@pytest.fixture(scope="session")
def running() -> Callable[..., contextlib.AbstractContextManager[Platform]]:
    """Run a platform of a test's own: `with running("process", data_dir=…, drain_s="1") as platform`."""
    return run_platform


class Command(Protocol):
    """Runs `lambent` with arguments and returns how it ended."""

    def __call__(self, *arguments: str, stdin: bytes = b"", status: int = 0) -> subprocess.CompletedProcess[bytes]:
        """Run it; fails the test where the exit status is another than `status`."""


@pytest.fixture(scope="module")
def endpoint(platform: Any) -> str:
    """Where the platform of these tests is."""
    return str(platform.endpoint)


@pytest.fixture(scope="module")
def environment(endpoint: str) -> dict[str, str]:
    """The variables of a person who set nothing but the endpoint."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**bare, "AWS_ENDPOINT_URL": endpoint}


@pytest.fixture(scope="module")
def lambent(environment: dict[str, str]) -> Command:
    """The command, with its endpoint by AWS's variable."""

    def run(*arguments: str, stdin: bytes = b"", status: int = 0) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "lambent.cli.main", *arguments],
            input=stdin,
            capture_output=True,
            env=environment,
            timeout=COMMAND_S,
        )
        assert done.returncode == status, done.stderr.decode() + done.stdout.decode()
        assert b"Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def runtime(endpoint: str) -> str:
    """A Python that the platform has, or can build."""
    with urllib.request.urlopen(f"{endpoint}/_lambent/runtimes", timeout=10) as answer:
        known = json.load(answer)
    usable = [
        name
        for wanted in ("ready", "buildable")
        for name in ("python3.13", "python3.12", "python3.11")
        if known[name] == wanted
    ]
    assert usable, known
    return str(usable[0])


@pytest.fixture(scope="session")
def with_boto3() -> Callable[[str], dict[str, Any]]:
    """Make a package of a program (`app.py`) and AWS's SDK, with the services that tests call from a function."""
    found: dict[str, Any] = {}
    for package in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        for path in origin.parent.rglob("*") if origin.name == "__init__.py" else (origin,):
            name = path.relative_to(origin.parent.parent if origin.name == "__init__.py" else origin.parent)
            other_service = name.parts[:2] == ("botocore", "data") and len(name.parts) > 3
            if path.is_file() and path.suffix != ".pyc" and (not other_service or name.parts[2] in ("lambda", "sqs")):
                found[str(name)] = path.read_bytes()
    return lambda source: {"app.py": source, **found}
