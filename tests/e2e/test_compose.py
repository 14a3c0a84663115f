"""The same platform as containers: `docker compose up`, with the real Compose."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
ROLES = {"redis", "gateway", "scheduler", "worker", "builder"}
PLATFORM_UID = "10001"

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


class Compose:
    """One project of Compose, on a port of its own."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.project = f"lambent-test-{uuid.uuid4().hex[:8]}"
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run `docker compose` and return what it prints."""
        short_waits = {
            "LAMBENT_PORT": str(self.port),
            "LAMBENT_KEEP_ALIVE": "fixed",
            "LAMBENT_IDLE_TIMEOUT_S": "5",
            "LAMBENT_STEM_IDLE_TIMEOUT_S": "5",
            "LAMBENT_ASYNC_RETRY_DELAYS_S": "1,2",
        }
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.project, *arguments],
            cwd=REPOSITORY,
            env={name: value for name, value in os.environ.items() if not name.startswith("LAMBENT_")} | short_waits,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def inspect(self, service: str) -> Any:
        """What the engine says of a service's container."""
        ident = self.run("ps", "-q", service).strip()
        done = subprocess.run(["docker", "inspect", ident], capture_output=True, check=True, timeout=60)
        return json.loads(done.stdout)[0]

    def function_containers(self, platform_id: str) -> list[str]:
        """Containers of functions, running or not."""
        found = subprocess.run(
            ["docker", "ps", "-aq", "--filter", f"label=lambent.platform={platform_id}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return found.stdout.split()


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    """The platform, built and started as the README says, and all gone afterwards."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        if os.environ.get("LAMBENT_TEST_REQUIRE_DOCKER"):
            pytest.fail("LAMBENT_TEST_REQUIRE_DOCKER is set, but there is no Compose")
        pytest.skip("there is no Compose")
    project = Compose()
    try:
        project.run("up", "--detach", "--build", "--wait")
        yield project
    except BaseException:
        sys.stderr.write(project.run("logs", "--tail", "50", check=False))
        raise
    finally:
        project.run("down", "--volumes", "--timeout", "12", check=False)


def test_every_role_is_healthy(compose: Compose) -> None:
    """Five services run, each with a health check that holds, a memory limit and a restart policy."""
    for service in ROLES:
        found = compose.inspect(service)
        assert found["State"]["Health"]["Status"] == "healthy"
        assert found["HostConfig"]["Memory"] > 0
        assert found["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert not found["HostConfig"]["Privileged"]


def test_only_the_gateway_is_published_and_only_here(compose: Compose) -> None:
    """One port, on loopback; Redis and the other roles have none."""
    published = {service: compose.inspect(service)["HostConfig"]["PortBindings"] or {} for service in ROLES}
    assert published.pop("gateway") == {"4566/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(compose.port)}]}
    assert not any(published.values())


def test_only_worker_and_builder_reach_the_engine(compose: Compose) -> None:
    """The engine's socket is in two containers and in no other."""
    with_socket = {
        service
        for service in ROLES
        if any(mount["Destination"] == "/var/run/docker.sock" for mount in compose.inspect(service)["Mounts"])
    }
    assert with_socket == {"worker", "builder"}


@pytest.mark.parametrize("service", sorted(ROLES))
def test_no_role_runs_as_root(compose: Compose, service: str) -> None:
    """The first process of each container has given up root, every capability, and the way back."""
    lines = compose.run("exec", "-T", "--user", "0", service, "cat", "/proc/1/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert set(status["Uid"].split()) == {"999" if service == "redis" else PLATFORM_UID}
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_the_demo_passes_against_it(compose: Compose) -> None:
    """What `make demo` shows is true here as well, back to zero included."""
    done = subprocess.run(
        [sys.executable, "examples/demo/run.py", "--endpoint", compose.endpoint],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_killed_worker_comes_back(compose: Compose) -> None:
    """The engine restarts a role that dies, and functions can be called again."""
    worker = compose.inspect("worker")["Id"]
    before = compose.inspect("worker")["State"]["StartedAt"]
    pid = compose.inspect("worker")["State"]["Pid"]
    subprocess.run(["kill", "-9", str(pid)], check=True)
    compose.run("up", "--detach", "--wait")
    assert compose.inspect("worker")["Id"] == worker
    assert compose.inspect("worker")["State"]["StartedAt"] != before


def test_down_leaves_no_container_of_a_function(compose: Compose) -> None:
    """Stopping the services ends the functions' containers too."""
    ident = compose.run("exec", "-T", "gateway", "cat", "/var/lib/lambent/platform-id").strip()
    assert ident
    compose.run("stop")
    assert compose.function_containers(ident) == []
