"""What all tests share: tests that need a Docker Engine are skipped without one, or fail where it is required."""

from __future__ import annotations

import functools
import os

import pytest


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
