"""Installs in containers, walled in as functions are."""

from __future__ import annotations

import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, BinaryIO, Final

import docker
import docker.errors
import requests.exceptions

from lambent_platform.builder.engine import LABEL_BUILD, LABEL_PLATFORM, open_engine
from lambent_platform.contracts.build import InstallEnd, InstallOrder
from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.limits import MIB
from lambent_platform.contracts.runtimes import Runtime

USER: Final = "993:990"
"""As functions run, and as they run on Lambda."""
FOLDER: Final = "/build"
OPEN_FILES_MAX: Final = 4096
_CHUNK_BYTES: Final = 256 * 1024
_HEADER: Final = struct.Struct(">BxxxL")
_STDOUT: Final = 1
_KILLED_STATUS: Final = 137
_END_S: Final = 10.0


class DockerInstallSandbox:
    """An `InstallSandbox` of containers: one for each install, of the image of the runtime itself.

    `network` is by default the platform's own, which the worker's driver makes on the same engine and keeps from
    private addresses. While it is not there an install is put off: a stranger's code gets no network that is open.
    """

    def __init__(
        self, *, platform_id: str, image_tag: Callable[[Runtime], str], network: str = "", oci_runtime: str = ""
    ) -> None:
        self._platform_id = platform_id
        self._image_tag = image_tag
        self._network = network or f"lambent-{platform_id}"
        self._oci_runtime = oci_runtime

    def install(
        self, order: InstallOrder, *, stdin: BinaryIO, stdout: BinaryIO, log: Callable[[bytes], None]
    ) -> InstallEnd:
        """See `InstallSandbox.install`."""
        with open_engine() as engine:
            self._remove(engine, lambda build_id: build_id != order.job)
            with self._container(engine, order) as container:
                return _Run(engine, container, order).to_its_end(stdin, stdout, log)

    def reap(self, is_live: Callable[[str], bool]) -> None:
        """See `InstallSandbox.reap`."""
        with open_engine() as engine:
            self._remove(engine, is_live)

    def _remove(self, engine: docker.APIClient, is_kept: Callable[[str], bool]) -> None:
        labels = [f"{LABEL_PLATFORM}={self._platform_id}", LABEL_BUILD]
        for found in engine.containers(all=True, filters={"label": labels}):
            if not is_kept(found["Labels"][LABEL_BUILD]):
                with suppress(docker.errors.NotFound):
                    engine.remove_container(found["Id"], force=True, v=True)

    @contextmanager
    def _container(self, engine: docker.APIClient, order: InstallOrder) -> Iterator[str]:
        """Create a container and remove it again, whatever happens, also between the engine's yes and ours."""
        name = f"lambent-build-{secrets.token_hex(8)}"
        try:
            made = engine.create_container(
                self._image_tag(order.runtime),
                name=name,
                entrypoint=[order.command[0]],
                command=list(order.command[1:]),
                user=USER,
                working_dir=FOLDER,
                environment={"HOME": FOLDER, "TMPDIR": FOLDER},
                stdin_open=True,
                labels={LABEL_PLATFORM: self._platform_id, LABEL_BUILD: order.job},
                host_config=self._limits(engine, order),
            )
            # One writer is all that standard input has: closing it is what tells the install that it is complete.
            yield made["Id"]
        finally:
            with suppress(docker.errors.NotFound):
                engine.remove_container(name, force=True, v=True)

    def _limits(self, engine: docker.APIClient, order: InstallOrder) -> Any:
        memory_bytes = (order.memory_mb + order.disk_mb) * MIB  # what is in a tmpfs counts as memory
        uid, gid = USER.split(":")
        return engine.create_host_config(
            network_mode=self._network,
            runtime=self._oci_runtime or None,
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=memory_bytes,
            memswap_limit=memory_bytes,
            pids_limit=order.processes_max,
            ulimits=[docker.types.Ulimit(name="nofile", soft=OPEN_FILES_MAX, hard=OPEN_FILES_MAX)],
            tmpfs={
                FOLDER: f"rw,exec,nosuid,nodev,size={order.disk_mb}m,mode=0700,uid={uid},gid={gid}",
                "/tmp": "rw,nosuid,nodev,size=64m,mode=1777",  # noqa: S108 - inside; for scripts that know no TMPDIR
            },
            log_config={"Type": "none", "Config": {}},
        )


class _Run:
    """One container, from its start to its end."""

    def __init__(self, engine: docker.APIClient, container: str, order: InstallOrder) -> None:
        self._engine = engine
        self._container = container
        self._order = order
        self._deadline = time.monotonic() + order.timeout_s

    def to_its_end(self, stdin: BinaryIO, stdout: BinaryIO, log: Callable[[bytes], None]) -> InstallEnd:
        stream = self._engine.attach_socket(self._container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        with closing(stream):
            connection: socket.socket = getattr(stream, "_sock", stream)
            self._engine.start(self._container)
            feeder = threading.Thread(target=_feed, args=(connection, stdin), daemon=True)
            feeder.start()
            try:
                complete = self._read(connection, stdout, log)
            except TimeoutError:
                return InstallEnd("timeout")
            finally:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                feeder.join(_END_S)
        return self._end() if complete else InstallEnd("output")

    def _read(self, connection: socket.socket, stdout: BinaryIO, log: Callable[[bytes], None]) -> bool:
        """Take what the container writes until it closes both streams; False where standard output is too long.

        Raises:
            TimeoutError: the install took longer than it may.
        """
        room = self._order.output_bytes_max
        while header := self._receive(connection, _HEADER.size):
            kind, left = _HEADER.unpack(header)
            while left:
                data = self._receive(connection, min(left, _CHUNK_BYTES))
                left -= len(data)
                if kind != _STDOUT:
                    log(data)
                    continue
                room -= len(data)
                if room < 0:
                    return False
                stdout.write(data)
        return True

    def _receive(self, connection: socket.socket, length: int) -> bytes:
        """Read exactly this much; nothing at the stream's end."""
        parts: list[bytes] = []
        while length:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            part = connection.recv(length)
            if not part:
                if parts:
                    raise SandboxError("Docker: the install's output broke off")
                return b""
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _end(self) -> InstallEnd:
        try:
            code = int(self._engine.wait(self._container, timeout=_END_S)["StatusCode"])
        except requests.exceptions.RequestException:
            return InstallEnd("timeout")  # it closed its streams and went on
        state = self._engine.inspect_container(self._container)["State"]
        if state.get("OOMKilled"):
            return InstallEnd("memory", code)
        if code == _KILLED_STATUS:
            raise SandboxError("Docker: the install was killed from outside")
        return InstallEnd("exit", code)


def _feed(connection: socket.socket, stdin: BinaryIO) -> None:
    """Send the package and close that direction; a container that ended early does not want the rest."""
    with suppress(OSError):
        while data := stdin.read(_CHUNK_BYTES):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
