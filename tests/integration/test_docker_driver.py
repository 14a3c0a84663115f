"""The Docker driver with a real engine: its walls as the engine sees them, what a crash leaves, and its fallbacks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.images import ImagePlan, ImagePlans
from lambent_workers.drivers.docker import DockerDriver, DockerSettings
from lambent_workers.drivers.port import SandboxSpec
from lambent_workers.images import runtimes_dir

pytestmark = pytest.mark.docker

PYTHON = RUNTIMES["python3.13"]
SLEEP = ["python3", "-c", "import time; time.sleep(300)"]
LEAVE_BEHIND = """
import asyncio, sys
from pathlib import Path
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.images import ImagePlans
from lambent_workers.drivers.docker import DockerDriver, DockerSettings
from lambent_workers.drivers.port import SandboxSpec
from lambent_workers.images import runtimes_dir

async def main(platform_id, folder):
    driver = DockerDriver(
        DockerSettings(platform_id=platform_id, gateway_address=("127.0.0.1", 1)), ImagePlans(runtimes_dir())
    )
    await driver.open()
    for name in ("running", "frozen"):
        sandbox = await driver.start(SandboxSpec(
            environment_id=name, runtime=RUNTIMES["python3.13"], memory_mb=256, host_dir=Path(folder) / name,
            runtime_api=asyncio.Protocol,
        ))
        await sandbox.spawn(["sleep", "300"], {}, cwd="/")
    await sandbox.freeze()
    print("left", flush=True)
    await asyncio.sleep(300)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def engine() -> Any:
    """A client of the engine, with the images that the tests here need built."""
    client = docker.from_env()
    plans = ImagePlans(runtimes_dir())
    for plan in (plans.tools(), plans.plan(PYTHON)):
        build(client, plan)
    yield client
    client.close()


def build(client: Any, plan: ImagePlan) -> None:
    """Build an image where the engine does not have it."""
    if not client.images.list(plan.tag):
        client.images.build(
            path=str(plan.context_dir),
            dockerfile=plan.dockerfile,
            tag=plan.tag,
            buildargs=dict(plan.buildargs),
            rm=True,
            forcerm=True,
        )


@pytest.fixture
async def make(engine: Any) -> AsyncIterator[Callable[..., Any]]:
    """Makes open drivers, each a platform of its own unless told, and closes them."""
    async with AsyncExitStack() as stack:

        async def opened(plans: ImagePlans | None = None, **settings: Any) -> DockerDriver:
            whole = {"platform_id": f"test-{uuid.uuid4().hex[:12]}", "gateway_address": ("127.0.0.1", 1), **settings}
            driver = DockerDriver(DockerSettings(**whole), plans or ImagePlans(runtimes_dir()))
            stack.push_async_callback(driver.close)
            await driver.open()
            return driver

        yield opened


def spec(folder: Path, **changes: Any) -> SandboxSpec:
    """Describe a sandbox of a whole vCPU, so that tests are quick."""
    environment_id = uuid.uuid4().hex
    whole: dict[str, Any] = {
        "environment_id": environment_id,
        "runtime": PYTHON,
        "memory_mb": 1769,
        "host_dir": folder / environment_id,
        "runtime_api": asyncio.Protocol,
        **changes,
    }
    return SandboxSpec(**whole)


async def said(sandbox: Any, timeout_s: float = 20) -> str:
    """All that a sandbox's process prints until its end."""
    async with asyncio.timeout(timeout_s):
        await sandbox.wait()
    await asyncio.sleep(0.05)
    try:
        return os.read(sandbox.output_fd, 65536).decode()
    except BlockingIOError:
        return ""


async def test_containers_are_hardened(make: Any, engine: Any, tmp_path: Path) -> None:
    """The engine's own description of a container has every wall in it, and mounts only its environment's folder."""
    driver = await make(platform_id="test-hardened")
    sandbox = await driver.start(spec(tmp_path, memory_mb=128))
    (container,) = engine.containers.list(filters={"label": "lambent.platform=test-hardened"})
    assert container.id.startswith(sandbox.label)
    config, host = container.attrs["Config"], container.attrs["HostConfig"]
    assert config["User"] == "993:990"
    assert config["Hostname"] == "sandbox"
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"]
    assert host["LogConfig"]["Type"] == "none"
    assert host["Memory"] == host["MemorySwap"] == (128 + 512 + 64) * 2**20
    assert host["PidsLimit"] == 1024
    assert [host[name] for name in ("PidMode", "UTSMode", "UsernsMode")] == ["", "", ""]
    assert host["IpcMode"] == "private"
    assert host["NetworkMode"] == "lambent-test-hardened"
    sources = {mount["Source"]: mount["RW"] for mount in container.attrs["Mounts"]}
    folder = str(tmp_path / os.listdir(tmp_path)[0])
    assert sources == {f"{folder}/{name}": False for name in ("task", "opt", "sock")}


async def test_limits_are_set_by_the_cgroup_or_by_the_engine(make: Any, engine: Any, tmp_path: Path) -> None:
    """Both ways of giving a stem its limits lead to the same numbers inside the container."""
    driver = await make()
    seen = []
    for direct in (True, False):
        driver._direct_limits = direct
        sandbox = await driver.start(spec(tmp_path, memory_mb=128))
        await sandbox.configure(memory_mb=512, ephemeral_mb=512)
        program = (
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || "
            "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"
        )
        await sandbox.spawn(["sh", "-c", program], {}, cwd="/")
        seen.append((await said(sandbox)).split()[:2])
        with pytest.raises(SandboxError, match="/tmp"):
            await sandbox.configure(memory_mb=512, ephemeral_mb=1024)
    assert seen[0] == seen[1]
    assert seen[0] == [str((512 + 512 + 64) * 2**20), str(round(20_000 * 512 / 1769))]


async def test_freezing_by_the_engine(make: Any, engine: Any, tmp_path: Path) -> None:
    """Where the cgroup cannot be written the engine pauses and resumes, and a paused container can be closed."""
    driver = await make()
    sandbox = await driver.start(spec(tmp_path))
    sandbox._parts.cgroup = None
    await sandbox.spawn(["sh", "-c", "while read -r line <&3; do echo $line; done"], {}, cwd="/")
    await sandbox.freeze()
    assert engine.containers.get(sandbox.label).status == "paused"
    await sandbox.thaw()
    assert engine.containers.get(sandbox.label).status == "running"
    await sandbox.freeze()
    async with asyncio.timeout(10):
        await sandbox.close()
    with pytest.raises(docker.errors.NotFound):
        engine.containers.get(sandbox.label)


async def test_a_container_killed_from_outside_is_noticed_at_once(make: Any, engine: Any, tmp_path: Path) -> None:
    """When something else kills a container the worker knows within a second, without asking the engine."""
    driver = await make()
    sandbox = await driver.start(spec(tmp_path))
    await sandbox.spawn(SLEEP, {}, cwd="/")
    waiting = asyncio.create_task(sandbox.wait())
    await asyncio.to_thread(engine.containers.get(sandbox.label).kill)
    async with asyncio.timeout(1):
        end = await waiting
    assert (end.code, end.signal) == (None, signal.SIGKILL)


async def test_what_a_killed_worker_leaves_is_removed_and_nothing_else(make: Any, engine: Any, tmp_path: Path) -> None:
    """Containers end with their worker; a frozen one waits for the next run, which leaves other platforms alone."""
    other = await make()
    kept = await other.start(spec(tmp_path))
    platform_id = f"test-{uuid.uuid4().hex[:12]}"
    label = {"label": f"lambent.platform={platform_id}"}
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAVE_BEHIND, platform_id, str(tmp_path / "left"), stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    async with asyncio.timeout(30):
        assert await worker.stdout.readline() == b"left\n"
    assert len(engine.containers.list(all=True, ignore_removed=True, filters=label)) == 2
    worker.kill()
    await worker.wait()
    for _ in range(200):
        if len(engine.containers.list(all=True, ignore_removed=True, filters=label)) == 1:
            break
        await asyncio.sleep(0.05)
    assert len(engine.containers.list(all=True, ignore_removed=True, filters=label)) == 1, (
        "only the frozen one cannot notice"
    )
    driver = await make(platform_id=platform_id)
    assert engine.containers.list(all=True, ignore_removed=True, filters=label) == []
    assert engine.containers.get(kept.label).status == "running"
    await driver.close()
    assert engine.networks.list(filters=label) == []


async def test_closing_the_driver_leaves_nothing(make: Any, engine: Any, tmp_path: Path) -> None:
    """After a close neither container, network, packet filter nor folder of the platform is left."""
    driver = await make(platform_id="test-leaves-nothing")
    mark = driver._settings.mark
    await asyncio.gather(*(driver.start(spec(tmp_path)) for _ in range(3)))
    assert f"lambent_{mark}" in tables(engine)
    await driver.close()
    label = {"label": "lambent.platform=test-leaves-nothing"}
    assert engine.containers.list(all=True, ignore_removed=True, filters=label) == []
    assert engine.networks.list(filters=label) == []
    assert f"lambent_{mark}" not in tables(engine)
    assert os.listdir(tmp_path) == []


def tables(engine: Any) -> str:
    """The names of all packet filter tables of the host."""
    return str(
        engine.containers.run(
            ImagePlans(runtimes_dir()).tools().tag,
            ["nft", "list", "tables"],
            network_mode="host",
            cap_add=["NET_ADMIN"],
            remove=True,
        )
    )


async def test_a_start_that_fails_leaves_nothing(make: Any, engine: Any, tmp_path: Path) -> None:
    """An image that is not built, and one whose init does not run, are errors that leave nothing behind."""
    driver = await make(platform_id="test-fails")
    with pytest.raises(SandboxError, match="not built"):
        await driver.start(spec(tmp_path, runtime=RUNTIMES["python3.14"]))
    bare = ImagePlans(runtimes_dir(), {"python3.13": "python:3.13-slim"})
    tag = bare.plan(PYTHON).tag
    engine.images.get("python:3.13-slim").tag(tag)
    try:
        without_init = await make(plans=bare, platform_id="test-fails-too")
        with pytest.raises(SandboxError):
            await without_init.start(spec(tmp_path))
    finally:
        engine.images.remove(tag)
    for platform_id in ("test-fails", "test-fails-too"):
        assert (
            engine.containers.list(all=True, ignore_removed=True, filters={"label": f"lambent.platform={platform_id}"})
            == []
        )
    assert os.listdir(tmp_path) == []


async def test_an_aws_shaped_image_runs_by_its_own_entry_script(make: Any, engine: Any, tmp_path: Path) -> None:
    """A mapped image (a stand-in of the shape of AWS's own) gets our init, and is run by its script and client."""
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        "FROM debian:bookworm-slim\n"
        "COPY entry.sh /lambda-entrypoint.sh\n"
        "ENV LAMBDA_TASK_ROOT=/var/task\n"
        "WORKDIR /var/task\n"
        'ENTRYPOINT ["/lambda-entrypoint.sh"]\n'
    )
    (folder / "entry.sh").write_text('#!/bin/sh\necho "handler $1 at $AWS_LAMBDA_RUNTIME_API from $LAMBDA_TASK_ROOT"\n')
    (folder / "entry.sh").chmod(0o755)
    engine.images.build(path=str(folder), tag="lambent-test/aws-shaped:1", rm=True, forcerm=True)
    plans = ImagePlans(runtimes_dir(), {"python3.13": "lambent-test/aws-shaped:1"})
    await asyncio.to_thread(build, engine, plans.plan(PYTHON))
    try:
        driver = await make(plans=plans)
        assert not driver.is_native(PYTHON)
        sandbox = await driver.start(spec(tmp_path))
        argv = driver.bootstrap_argv(PYTHON, "app.handler")
        assert argv == ("/lambda-entrypoint.sh", "app.handler")
        await sandbox.spawn(argv, {"AWS_LAMBDA_RUNTIME_API": sandbox.runtime_api_address}, cwd="/var/task")
        assert await said(sandbox) == "handler app.handler at 127.0.0.1:9001 from /var/task\n"
    finally:
        await driver.close()
        engine.images.remove(plans.plan(PYTHON).tag)
        engine.images.remove("lambent-test/aws-shaped:1")


async def test_gvisor(make: Any, engine: Any, tmp_path: Path) -> None:
    """Under gVisor, where it is installed, the same container talks, prints, is frozen, and dies of its memory."""
    if "runsc" not in engine.info()["Runtimes"]:
        pytest.skip("the engine has no runsc")
    driver = await make(engine_runtime="runsc")
    sandbox = await driver.start(spec(tmp_path, memory_mb=256, cpu_boost=True))
    program = (
        "import os\nprint('booted', open('/proc/version').read())\nos.write(3, os.read(3, 9))\n"
        "held = []\nwhile len(held) < 600: held.append(bytearray(b'x' * 2**20))\nprint('survived')"
    )
    await sandbox.spawn(["python3", "-uc", program], {}, cwd="/var/task")
    loop = asyncio.get_running_loop()
    await sandbox.freeze()
    await loop.sock_sendall(sandbox.channel, b"ping")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.sock_recv(sandbox.channel, 9), 0.3)
    await sandbox.thaw()
    assert await asyncio.wait_for(loop.sock_recv(sandbox.channel, 9), 20) == b"ping"
    async with asyncio.timeout(30):
        end = await sandbox.wait()
    assert end.out_of_memory
    assert json.dumps(os.read(sandbox.output_fd, 65536).decode()).count("survived") == 0
