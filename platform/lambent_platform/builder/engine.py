"""The container engine, for code that blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import docker
import docker.errors
import requests.exceptions

from lambent_platform.contracts.errors import SandboxError

ENGINE_TIMEOUT_S: Final = 60.0

LABEL_PLATFORM: Final = "lambent.platform"
LABEL_BUILD: Final = "lambent.build"
"""The build that a container was made for."""


@contextmanager
def open_engine(*, timeout_s: float = ENGINE_TIMEOUT_S) -> Iterator[docker.APIClient]:
    """Connect to the engine that Docker's own variables name; `timeout_s` is for silence on a connection.

    Raises:
        SandboxError: the engine is away, or fails at what the block asks of it.
    """
    try:
        client = docker.from_env(timeout=timeout_s)
        try:
            yield client.api
        finally:
            client.close()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise SandboxError(f"Docker: {error}") from error
