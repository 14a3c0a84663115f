"""Every sandbox driver, as the suite sees it.

A driver joins by one entry in `DRIVERS`: its name and an async context manager that makes a `Bench` of it. The tests
know nothing of a driver but its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from lambent_platform.contracts.runtimes import RUNTIMES, Runtime
from lambent_workers.drivers.port import Driver, Exit, ProtocolFactory, Sandbox, SandboxSpec

RUNTIME = RUNTIMES["python3.13"]
DEADLINE_S = 20.0


class Refuse(asyncio.Protocol):
    """A Runtime API for tests that do not mean to call it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        transport.close()


@dataclass
class Running:
    """One sandbox with a test's own program in it, and what the program printed so far."""

    sandbox: Sandbox
    output: bytearray = field(default_factory=bytearray)

    def pump(self) -> None:
        """Take what the process printed since."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.sandbox.output_fd, 65536):
                self.output += data

    async def until(self, text: str, timeout_s: float = DEADLINE_S) -> str:
        """Wait until the program has printed `text`; returns all that it has printed."""
        async with asyncio.timeout(timeout_s):
            while text.encode() not in self.output:
                self.pump()
                await asyncio.sleep(0.01)
        return self.output.decode(errors="replace")

    async def ended(self, timeout_s: float = DEADLINE_S) -> Exit:
        """Wait for the program's end, and take the rest of what it printed."""
        async with asyncio.timeout(timeout_s):
            end = await self.sandbox.wait()
        await asyncio.sleep(0.02)
        self.pump()
        return end

    async def receive(self, timeout_s: float = DEADLINE_S) -> bytes:
        """Read what the program wrote to the channel."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(self.sandbox.channel, 65536)

    async def send(self, data: bytes) -> None:
        """Write to the channel."""
        await asyncio.get_running_loop().sock_sendall(self.sandbox.channel, data)

    def json(self) -> dict[str, object]:
        """Read the last line of the output as JSON."""
        found: dict[str, object] = json.loads(self.output.decode().strip().splitlines()[-1])
        return found


@dataclass
class Bench:
    """One open driver and what the suite needs beside it."""

    driver: Driver
    folder: Path
    """Where environments live, readable by the platform's user alone."""
    runtime: Runtime = RUNTIME
    shares_processor: bool = True
    """Whether the driver can give the processor in proportion to memory here; it says so where it cannot."""
    running: list[Running] = field(default_factory=list)

    def spec(self, *, memory_mb: int = 128, runtime_api: ProtocolFactory = Refuse) -> SandboxSpec:
        """Describe a sandbox of the smallest size."""
        environment_id = uuid.uuid4().hex
        return SandboxSpec(
            environment_id=environment_id,
            runtime=self.runtime,
            memory_mb=memory_mb,
            host_dir=self.folder / environment_id,
            runtime_api=runtime_api,
            cpu_boost=True,
        )

    async def start(self, *, memory_mb: int = 128, runtime_api: ProtocolFactory = Refuse) -> Running:
        """Start a sandbox with nothing in it."""
        running = Running(await self.driver.start(self.spec(memory_mb=memory_mb, runtime_api=runtime_api)))
        self.running.append(running)
        return running

    async def run(
        self,
        program: str,
        *,
        env: Mapping[str, str] | None = None,
        memory_mb: int = 128,
        runtime_api: ProtocolFactory = Refuse,
    ) -> Running:
        """Start a sandbox and run a Python program in it, which is read from the task folder like a function's code."""
        spec = self.spec(memory_mb=memory_mb, runtime_api=runtime_api)
        running = Running(await self.driver.start(spec))
        self.running.append(running)
        await self.spawn(running, spec.host_dir, program, env=env)
        return running

    async def spawn(
        self, running: Running, host_dir: Path, program: str, *, env: Mapping[str, str] | None = None
    ) -> None:
        """Put a Python program into a sandbox's task folder and run it."""
        script = host_dir / "task" / "program.py"
        script.write_text(program)
        script.chmod(0o644)
        root = running.sandbox.task_root
        interpreter = self.driver.bootstrap_argv(self.runtime, "program.handler")[0]
        whole = {"AWS_LAMBDA_RUNTIME_API": running.sandbox.runtime_api_address, **(env or {})}
        await running.sandbox.spawn([interpreter, "-u", f"{root}/program.py"], whole, cwd=root)

    async def clear(self) -> None:
        """Close what a test left running."""
        for running in self.running:
            await running.sandbox.close()
        self.running.clear()


@contextlib.asynccontextmanager
async def docker_bench(folder: Path) -> AsyncIterator[Bench]:
    """The Docker driver, under a platform id of its own, with the runtime's image built."""
    import docker

    from lambent_platform.core.images import ImagePlans
    from lambent_workers.drivers.docker import DockerDriver, DockerSettings
    from lambent_workers.images import runtimes_dir

    plans = ImagePlans(runtimes_dir())
    client = docker.from_env()
    for plan in (plans.tools(), plans.plan(RUNTIME)):
        if not client.images.list(plan.tag):
            await asyncio.to_thread(
                client.images.build,
                path=str(plan.context_dir),
                dockerfile=plan.dockerfile,
                tag=plan.tag,
                buildargs=dict(plan.buildargs),
                rm=True,
                forcerm=True,
            )
    client.close()
    driver = DockerDriver(
        DockerSettings(platform_id=f"test-{uuid.uuid4().hex[:12]}", gateway_address=("127.0.0.1", 1)), plans
    )
    try:
        await driver.open()
        yield Bench(driver, folder)
    finally:
        await driver.close()


@contextlib.asynccontextmanager
async def process_bench(folder: Path) -> AsyncIterator[Bench]:
    """The process driver, behind the best walls that the user who runs the tests can have."""
    from lambent_workers.drivers.process.driver import ProcessDriver, ProcessSettings

    with tempfile.TemporaryDirectory(prefix="lambent-state-") as state:
        driver = ProcessDriver(
            ProcessSettings(
                platform_id=f"test-{uuid.uuid4().hex[:12]}",
                endpoint_url="http://127.0.0.1:1",
                state_dir=Path(state) / "process",
            )
        )
        try:
            info = await driver.open()
            if not info.isolated:
                pytest.skip("neither root nor bubblewrap: there are no walls to test")
            yield Bench(driver, folder, shares_processor=not any("processor" in text for text in info.warnings))
        finally:
            await driver.close()


DRIVERS: dict[str, Callable[[Path], contextlib.AbstractAsyncContextManager[Bench]]] = {
    "docker": docker_bench,
    "process": process_bench,
}


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[pytest.param(name, marks=pytest.mark.docker if name == "docker" else ()) for name in DRIVERS],
)
async def shared_bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """One open driver for a whole file of tests; tests take `bench`."""
    folder = Path(tempfile.mkdtemp(prefix="lambent-"))
    try:
        async with DRIVERS[request.param](folder) as bench:
            yield bench
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module")
async def bench(shared_bench: Bench) -> AsyncIterator[Bench]:
    """An open driver; what a test leaves running in it is ended."""
    yield shared_bench
    await shared_bench.clear()
