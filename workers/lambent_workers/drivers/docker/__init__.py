"""The driver whose sandboxes are hardened containers of a Docker Engine."""

from lambent_workers.drivers.docker.driver import DockerDriver
from lambent_workers.drivers.docker.settings import DockerSettings

__all__ = ["DockerDriver", "DockerSettings"]
