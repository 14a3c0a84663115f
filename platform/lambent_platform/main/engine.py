"""Which kind of sandbox this machine gets, where the settings leave it open."""

from __future__ import annotations

import http.client
import os
import socket
from typing import Final, Literal
from urllib.parse import urlsplit

from lambent_platform.main.settings import Settings

DEFAULT_ENGINE: Final = "unix:///var/run/docker.sock"
PING_TIMEOUT_S: Final = 2.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=PING_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def engine_answers(url: str | None = None) -> bool:
    """Whether a Docker Engine answers where Docker's own clients would look: `DOCKER_HOST`, else the usual socket."""
    parts = urlsplit(url or os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE)
    try:
        connection: http.client.HTTPConnection
        if parts.scheme == "unix":
            connection = _UnixConnection(parts.path)
        elif parts.hostname:
            connection = http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=PING_TIMEOUT_S)
        else:
            return False
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def chosen_sandbox(settings: Settings) -> Literal["docker", "process"]:
    """What functions are walled in by: what was asked for, else containers where an engine answers."""
    if settings.sandbox != "auto":
        return settings.sandbox
    return "docker" if engine_answers() else "process"
