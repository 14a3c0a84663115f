"""What a container reaches: the platform's public API and public addresses; nothing private, nor this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import docker
import pytest
from aiohttp import web

from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.images import ImagePlans
from lambent_workers.drivers.docker import DockerDriver, DockerSettings
from lambent_workers.drivers.port import SandboxSpec
from lambent_workers.images import runtimes_dir

pytestmark = pytest.mark.docker

CONNECT = """
import socket, sys
for address in sys.argv[1:]:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        print("reached", address)
    except OSError as error:
        print("refused", address)
"""


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Any]]:
    """Makes open drivers, each a platform of its own, and closes them."""
    client = docker.from_env()
    plans = ImagePlans(runtimes_dir())
    for plan in (plans.tools(), plans.plan(RUNTIMES["python3.13"])):
        if not client.images.list(plan.tag):
            client.images.build(
                path=str(plan.context_dir),
                dockerfile=plan.dockerfile,
                tag=plan.tag,
                buildargs=dict(plan.buildargs),
                rm=True,
                forcerm=True,
            )
    client.close()
    async with AsyncExitStack() as stack:

        async def opened(images: ImagePlans = plans, **settings: Any) -> tuple[DockerDriver, Any]:
            whole = {"platform_id": f"test-{uuid.uuid4().hex[:12]}", "gateway_address": ("127.0.0.1", 1), **settings}
            driver = DockerDriver(DockerSettings(**whole), images)
            stack.push_async_callback(driver.close)
            return driver, await driver.open()

        yield opened


@pytest.fixture
def host_port() -> Iterator[int]:
    """A port on which this machine listens at all of its addresses."""
    with socket.create_server(("0.0.0.0", 0), backlog=64) as server:
        yield server.getsockname()[1]


async def run(driver: DockerDriver, folder: Path, program: str, *arguments: str) -> str:
    """Run a Python program in a new sandbox; returns what it printed."""
    environment_id = uuid.uuid4().hex
    sandbox = await driver.start(
        SandboxSpec(
            environment_id=environment_id,
            runtime=RUNTIMES["python3.13"],
            memory_mb=1769,
            host_dir=folder / environment_id,
            runtime_api=asyncio.Protocol,
        )
    )
    await sandbox.spawn(["python3", "-uc", program, *arguments], {}, cwd="/var/task")
    async with asyncio.timeout(60):
        await sandbox.wait()
    await asyncio.sleep(0.05)
    try:
        return os.read(sandbox.output_fd, 65536).decode()
    except BlockingIOError:
        return ""


def bridge_gateway(driver: DockerDriver) -> str:
    """This machine's own address on the bridge of a driver's containers."""
    client = docker.from_env()
    try:
        network = client.networks.get(f"lambent-{driver._settings.platform_id}")
        config = network.attrs["IPAM"]["Config"][0]
        return str(config.get("Gateway") or config["Subnet"].rsplit(".", 1)[0] + ".1")
    finally:
        client.close()


def own_address() -> str:
    """This machine's address towards the rest of the world."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.254", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


async def test_private_addresses_and_this_machine_are_refused(make: Any, tmp_path: Path, host_port: int) -> None:
    """Neither this machine, by any of its addresses, nor private, link-local or metadata addresses can be reached."""
    driver, info = await make()
    assert not info.warnings
    addresses = [
        f"{bridge_gateway(driver)}:{host_port}",
        f"{own_address()}:{host_port}",
        f"172.17.0.1:{host_port}",
        "169.254.169.254:80",
        "10.0.0.1:80",
        "192.168.1.1:80",
        "100.64.0.1:80",
    ]
    text = await run(driver, tmp_path, CONNECT, *addresses)
    assert [line for line in text.splitlines() if line.startswith("reached")] == []
    assert text.count("refused") == len(addresses)


async def test_an_allowed_range_can_be_reached(make: Any, tmp_path: Path, host_port: int) -> None:
    """What an operator allows is let through, and nothing beside it; so what is refused is refused by the filter."""
    driver, _ = await make(allowed_cidrs=("172.16.0.0/12", "192.168.0.0/16"))
    gateway = bridge_gateway(driver)
    text = await run(driver, tmp_path, CONNECT, f"{gateway}:{host_port}", "10.0.0.1:80")
    assert f"reached {gateway}:{host_port}" in text
    assert "refused 10.0.0.1:80" in text


async def test_containers_do_not_see_each_other(make: Any, tmp_path: Path) -> None:
    """A server in one environment cannot be reached from another of the same platform."""
    driver, _ = await make(allowed_cidrs=("172.16.0.0/12", "192.168.0.0/16"))
    sandbox = await driver.start(
        SandboxSpec(
            environment_id="server",
            runtime=RUNTIMES["python3.13"],
            memory_mb=1769,
            host_dir=tmp_path / "server",
            runtime_api=asyncio.Protocol,
        )
    )
    await sandbox.spawn(["python3", "-m", "http.server", "8000", "--directory", "/tmp"], {}, cwd="/")
    client = docker.from_env()
    try:
        networks = client.containers.get(sandbox.label).attrs["NetworkSettings"]["Networks"]
    finally:
        client.close()
    (address,) = (network["IPAddress"] for network in networks.values())
    await asyncio.sleep(0.5)
    assert "refused" in await run(driver, tmp_path, CONNECT, f"{address}:8000")


async def test_names_are_resolved_by_the_engines_own_resolver(make: Any, tmp_path: Path) -> None:
    """A query gets an answer, if only that there is no such name, though the host's resolver may be private."""
    try:
        socket.getaddrinfo("deb.debian.org", 443)
    except OSError:
        pytest.skip("this machine resolves no public names")
    driver, _ = await make()
    text = await run(driver, tmp_path, "import socket; print('found', socket.gethostbyname('deb.debian.org'))")
    assert "found" in text


async def test_the_public_api_is_reached_over_the_relay(make: Any, tmp_path: Path) -> None:
    """A call of the endpoint inside reaches the gateway, with large bodies both ways, and many at once."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bytes(reversed(await request.read())))

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    driver, _ = await make(gateway_address=("127.0.0.1", port))
    text = await run(
        driver,
        tmp_path,
        "import threading, urllib.request\n"
        "body = b'ab' * 1_500_000\n"
        "def call():\n"
        "    assert urllib.request.urlopen('http://127.0.0.1:4566/', body).read() == body[::-1]\n"
        "    print('same')\n"
        "threads = [threading.Thread(target=call) for _ in range(8)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n",
    )
    await runner.cleanup()
    assert text.count("same") == 8


async def test_without_a_packet_filter_there_is_no_network(make: Any, tmp_path: Path, host_port: int) -> None:
    """Where the filter cannot be loaded, containers have loopback alone, and the operator is told so."""
    broken = tmp_path / "runtimes"
    shutil.copytree(runtimes_dir(), broken)
    (broken / "tools" / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN false\n")
    images = ImagePlans(broken)
    assert images.plan(RUNTIMES["python3.13"]).tag == ImagePlans(runtimes_dir()).plan(RUNTIMES["python3.13"]).tag
    driver, _ = await make(images=images)
    text = await run(
        driver, tmp_path, "import os; print('interfaces', os.listdir('/sys/class/net'))\n" + CONNECT, "10.0.0.1:80"
    )
    assert "interfaces ['lo']" in text
    assert "refused" in text
    assert driver._network is not None
    assert any("without a network" in warning for warning in driver._network.warnings)


async def test_egress_none_gives_loopback_alone(make: Any, tmp_path: Path) -> None:
    """An operator may take the network away altogether, without a warning."""
    driver, info = await make(egress="none")
    assert not info.warnings
    text = await run(driver, tmp_path, "import os; print('interfaces', os.listdir('/sys/class/net'))")
    assert "interfaces ['lo']" in text
