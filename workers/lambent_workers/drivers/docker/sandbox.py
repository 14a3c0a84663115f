"""One running container, as the worker sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.limits import MIB
from lambent_workers.drivers.cgroup_files import cpu_quota_us, cpu_weight
from lambent_workers.drivers.docker.cgroup import Cgroup
from lambent_workers.drivers.docker.container import TASK_ROOT, limits, memory_limit_bytes
from lambent_workers.drivers.docker.control import Control, encode_limit, encode_spawn
from lambent_workers.drivers.docker.engine import Engine
from lambent_workers.drivers.docker.relay import ApiRelay
from lambent_workers.drivers.port import Exit

_FRESH_S = 0.05
"""How long a reading of the cgroup is good for; between two, what init reports is."""
CHANNEL_FD = 3


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything that a sandbox holds, gathered while it is being started and released by `release`."""

    host_dir: Path
    control: Control | None = None
    channel: socket.socket | None = None
    output: socket.socket | int | None = None
    runtime_server: asyncio.Server | None = None
    api_relay: ApiRelay | None = None
    container_id: str = ""
    cgroup: Cgroup | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """What the runtime's image sets for every process in it."""

    async def release(self, engine: Engine) -> None:
        """End it all: first what the function could notice, then the container, then the folder.

        Raises:
            SandboxError: the engine did not remove the container; everything else is released.
        """
        if self.cgroup is not None:
            with contextlib.suppress(SandboxError):
                self.cgroup.thaw()
        if self.control is not None:
            self.control.close()
        try:
            if self.container_id:
                await engine.remove(self.container_id)
        finally:
            if self.cgroup is not None:
                self.cgroup.close()
            await self._release_sockets()
            await asyncio.to_thread(shutil.rmtree, self.host_dir, ignore_errors=True)

    async def _release_sockets(self) -> None:
        if self.runtime_server is not None:
            self.runtime_server.close()
        if self.api_relay is not None:
            await self.api_relay.close()
        if self.channel is not None:
            self.channel.close()
        if isinstance(self.output, socket.socket):
            self.output.close()
        elif self.output is not None:
            os.close(self.output)
            self.output = None


class DockerSandbox:
    """A container of ours; see the port for what its methods promise."""

    task_root = TASK_ROOT
    runtime_api_address = "127.0.0.1:9001"
    endpoint_url = "http://127.0.0.1:4566"

    def __init__(
        self,
        engine: Engine,
        parts: Parts,
        control: Control,
        channel: socket.socket,
        *,
        ephemeral_mb: int,
        share_mb: int,
        direct_limits: bool,
        on_closed: Callable[[DockerSandbox], None],
    ) -> None:
        self._engine = engine
        self._parts = parts
        self._control = control
        self.channel = channel
        self._ephemeral_mb = ephemeral_mb
        self._share_mb = share_mb
        self._direct_limits = direct_limits
        self._on_closed = on_closed
        self._closing: asyncio.Task[None] | None = None
        self._paused = False
        self._read_at = 0.0
        self.label = parts.container_id[:12]

    async def configure(self, *, memory_mb: int, ephemeral_mb: int, cpu_boost: bool = False) -> None:
        """Set memory and processor limits; the size of `/tmp` is fixed when a container is made."""
        if ephemeral_mb != self._ephemeral_mb:
            raise SandboxError(f"this container's /tmp has {self._ephemeral_mb} MB, not {ephemeral_mb}")
        if self._direct_limits and self._parts.cgroup is not None:
            self._parts.cgroup.set_limits(
                memory_bytes=memory_limit_bytes(memory_mb, ephemeral_mb, self._share_mb),
                cpu_quota_us=cpu_quota_us(memory_mb, boosted=cpu_boost),
                cpu_weight=cpu_weight(memory_mb),
            )
        else:
            sizes = limits(memory_mb, ephemeral_mb, self._share_mb, boosted=cpu_boost)
            await self._engine.update(self._parts.container_id, sizes)
        self._control.send(encode_limit(memory_mb * MIB))

    async def spawn(self, argv: Sequence[str], env: Mapping[str, str], *, cwd: str) -> None:
        """Have init start the process; what the image sets for every process is below `env`."""
        whole = {**self._parts.env, **env, "LAMBENT_CHANNEL_FD": str(CHANNEL_FD)}
        self._control.send(encode_spawn(argv, whole, cwd))

    @property
    def output_fd(self) -> int:
        """The read end of the output's pipe, or, where none can leave the container, a socket in its place."""
        output = self._parts.output
        if output is None:
            raise SandboxError("the sandbox is closed")
        return output.fileno() if isinstance(output, socket.socket) else output

    async def wait(self) -> Exit:
        """Wait for init's word, or for the end of its connection, which no process outlives."""
        return await asyncio.shield(self._control.exit)

    def memory_used_mb(self) -> int:
        """Peak of init's samples, and of a reading of our own where the cgroup can be seen, at most every 50 ms."""
        now = time.monotonic()
        if self._parts.cgroup is not None and now - self._read_at > _FRESH_S and self._closing is None:
            self._read_at = now
            self._read_cgroup()
        return -(-self._control.take_peak_bytes() // MIB)

    def _read_cgroup(self) -> None:
        usage = self._parts.cgroup.usage() if self._parts.cgroup is not None else None
        if usage is None:
            return
        files = 0
        if usage.shared:
            try:
                tmp = os.statvfs(f"/proc/{self._control.peer_pid}/root/tmp")
            except OSError:
                return  # init's own samples are all there is for a worker that may not look into the container
            files = (tmp.f_blocks - tmp.f_bfree) * tmp.f_frsize
        self._control.note_memory(usage.anonymous + max(0, usage.shared - files))

    async def freeze(self) -> None:
        """Freeze by the cgroup's own file, else by the engine."""
        if self._parts.cgroup is not None:
            await self._parts.cgroup.freeze()
        elif not self._paused:
            await self._engine.pause(self._parts.container_id)
            self._paused = True

    async def thaw(self) -> None:
        """Undo `freeze`."""
        if self._parts.cgroup is not None:
            self._parts.cgroup.thaw()
        elif self._paused:
            await self._engine.unpause(self._parts.container_id)
            self._paused = False

    async def close(self) -> None:
        """End the container from outside and remove every trace of it, once, whoever asks and however often."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self._parts.release(self._engine)
        finally:
            self._on_closed(self)
