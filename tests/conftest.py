"""What all tests share: tests that need a Docker Engine are skipped without one, or fail where it is required."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lambent_platform.main.valkey import EmbeddedValkey

# How long an example takes is the machine's business: on a busy one Hypothesis would take that for a defect.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@functools.cache
def engine_missing() -> str:
    """Say why there is no engine to test with; empty where there is one."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=10)
        try:
            client.ping()
        finally:
            client.close()
    except DockerException as error:
        return f"no Docker Engine answers: {error}"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a `docker` test without an engine; fail it where LAMBENT_TEST_REQUIRE_DOCKER is set."""
    if item.get_closest_marker("docker") is None or not engine_missing():
        return
    if os.environ.get("LAMBENT_TEST_REQUIRE_DOCKER"):
        pytest.fail(f"LAMBENT_TEST_REQUIRE_DOCKER is set, but {engine_missing()}", pytrace=False)
    pytest.skip(engine_missing())


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Valkey on a private socket in a folder of its own, with its append-only file on.

    Tests share it: each begins with `FLUSHALL` where it needs it empty.
    """
    folder = Path(tempfile.mkdtemp(prefix="lambent-test-"))
    server = EmbeddedValkey(folder=folder / "data", socket=folder / "valkey.sock")
    server.prepare()
    process = subprocess.Popen(server.argv(), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not server.socket.exists():
            assert process.poll() is None, "Valkey ended at its start"
            assert time.monotonic() < deadline, "Valkey did not open its socket"
            time.sleep(0.01)
        yield server.url
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)
