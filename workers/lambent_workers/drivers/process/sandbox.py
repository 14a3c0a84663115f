"""One environment of the process driver: its processes, its limits, its listener, and the end of all of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.limits import MIB
from lambent_workers.drivers.cgroup_files import cpu_quota_us
from lambent_workers.drivers.port import Exit, SandboxSpec
from lambent_workers.drivers.process import processes
from lambent_workers.drivers.process.cgroups import Cgroup
from lambent_workers.drivers.process.choice import Walls
from lambent_workers.drivers.process.init import MESSAGE_BYTES_MAX
from lambent_workers.drivers.process.listener import Listener
from lambent_workers.drivers.process.view import DEFAULT_ENVIRONMENT, TASK_ROOT

RUNTIME_SHARE_MB: Final = 64
"""What a hard limit leaves beside the function's memory and its `/tmp`: the first process, cached files."""
START_S: Final = 10.0
_END_S: Final = 5.0
_FRESH_S: Final = 0.05
_HELD_STEP_BYTES: Final = MIB


@dataclass(slots=True)
class Ends:
    """Our ends of what leads into a sandbox."""

    control: socket.socket
    channel: socket.socket
    output_fd: int

    def close(self) -> None:
        """Close all of them."""
        self.control.close()
        self.channel.close()
        os.close(self.output_fd)


class ProcessSandbox:
    """An environment behind walls of the kernel's; see the port for what its methods promise."""

    def __init__(
        self,
        spec: SandboxSpec,
        ends: Ends,
        *,
        cgroup: Cgroup | None,
        listener: Listener,
        endpoint_url: str,
        walls: Walls,
        on_closed: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._ends = ends
        self._cgroup = cgroup
        self._listener = listener
        self._walls = walls
        self._walled = walls != "plain"
        self._on_closed = on_closed
        self._memory_mb = spec.memory_mb
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._pid = 0
        self._pidfd = -1
        self._spawned = False
        self._frozen = False
        self._closing: asyncio.Task[None] | None = None
        self._out_of_memory = False
        self._peak_bytes = 0
        self._used_bytes = 0
        self._sampled_at = 0.0
        self._held_bytes = 0
        self.task_root = TASK_ROOT if self._walled else str(spec.host_dir / "task")
        self.endpoint_url = endpoint_url
        self.runtime_api_address = f"127.0.0.1:{listener.port}"
        self.label = ""

    @property
    def channel(self) -> socket.socket:
        """Our end of the native bootstrap's stream."""
        return self._ends.channel

    @property
    def output_fd(self) -> int:
        """The read end of the output's pipe."""
        return self._ends.output_fd

    @property
    def pid(self) -> int:
        """The first process, as the machine numbers it."""
        return self._pid

    async def begin(self) -> None:
        """Wait until the walls stand.

        Raises:
            SandboxError: they do not, or not in time.
        """
        self._loop.add_reader(self._ends.control, self._on_control)
        try:
            async with asyncio.timeout(START_S):
                await self._ready
        except TimeoutError as error:
            raise SandboxError("a sandbox did not start in time") from error
        self.label = f"pid {self._pid}"
        # Only now: building the walls is the platform's work, and would take a small function's share for long.
        self._limit_cpu(self._memory_mb, boosted=self._spec.cpu_boost)

    def _on_control(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._ends.control, MESSAGE_BYTES_MAX, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._loop.remove_reader(self._ends.control)
            self._on_lost()
            return
        message = json.loads(data)
        if "pid" in message:
            self._pid, self._pidfd = message["pid"], fds[0]
            self._loop.add_reader(self._pidfd, self._on_gone)
        elif "ready" in message:
            _settle(self._ready, None)
        elif "error" in message:
            _fail(self._ready, SandboxError(f"a sandbox could not be made: {message['error']}"))
        else:
            self._end(message["code"], message["signal"])

    def _on_gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        _settle(self._gone, None)

    def _on_lost(self) -> None:
        _fail(self._ready, SandboxError("a sandbox ended before it was made"))
        self._end(None, signal.SIGKILL)

    def _end(self, code: int | None, number: int | None) -> None:
        usage = self._cgroup.usage() if self._cgroup is not None else None
        short = self._out_of_memory or (usage is not None and usage.kills > 0)
        _settle(self._exit, Exit(code, number, short))

    async def configure(self, *, memory_mb: int, ephemeral_mb: int, cpu_boost: bool = False) -> None:
        """Set memory and processor limits; the size of `/tmp` is fixed when a sandbox is made."""
        if ephemeral_mb != self._spec.ephemeral_mb:
            raise SandboxError(f"this sandbox's /tmp has {self._spec.ephemeral_mb} MB, not {ephemeral_mb}")
        self._memory_mb = memory_mb
        if self._cgroup is not None:
            self._cgroup.limit_memory(hard_limit_bytes(memory_mb, ephemeral_mb))
        self._limit_cpu(memory_mb, boosted=cpu_boost)

    def _limit_cpu(self, memory_mb: int, *, boosted: bool = False) -> None:
        if self._cgroup is not None:
            self._cgroup.limit_cpu(cpu_quota_us(memory_mb, boosted=boosted))

    async def spawn(self, argv: Sequence[str], env: Mapping[str, str], *, cwd: str) -> None:
        """Have the sandbox's first process start the runtime's."""
        if self._spawned:
            raise SandboxError("a sandbox runs one process")
        self._spawned = True
        whole = {**DEFAULT_ENVIRONMENT, **env, "LAMBENT_CHANNEL_FD": "3"}
        if not self._walled:
            argv = [self._outside(argv[0]), *argv[1:]]
            whole["PATH"] = env.get("PATH", os.environ.get("PATH", os.defpath))
        order: dict[str, Any] = {"argv": list(argv), "env": whole, "cwd": cwd}
        try:
            self._ends.control.send(json.dumps(order).encode())
        except OSError as error:
            raise SandboxError(f"the sandbox is gone: {error}") from error

    def _outside(self, path: str) -> str:
        """Translate a path of the view for a process that has none."""
        return self.task_root + path.removeprefix(TASK_ROOT) if path.startswith(f"{TASK_ROOT}/") else path

    async def wait(self) -> Exit:
        """Wait for the first process's word, or for its end."""
        return await asyncio.shield(self._exit)

    def memory_used_mb(self) -> int:
        """Peak of the samples since the last call, and of one taken now, unless one is younger than 50 ms."""
        if time.monotonic() - self._sampled_at >= _FRESH_S and self._pid and self._closing is None:
            self._look()
        peak, self._peak_bytes = self._peak_bytes, self._used_bytes
        return -(-peak // MIB)

    def watch(self) -> None:
        """Look at the memory in use, and end a function that holds too much. Called many times a second."""
        if self._frozen or self._closing is not None or not self._pid:
            return
        self._look()

    def _look(self) -> None:
        self._sampled_at = time.monotonic()
        if self._cgroup is not None:
            held = self._cgroup.held_bytes()
            # Nothing can have happened while the sum of everything stands still, and the sum is the cheaper file.
            if abs(held - self._held_bytes) < _HELD_STEP_BYTES:
                return
            self._held_bytes = held
        self._sample()

    def _sample(self) -> None:
        if self._cgroup is None:
            self._note(processes.resident_bytes(processes.descendants(self._pid)))
        else:
            self._sample_cgroup(self._cgroup)

    def _sample_cgroup(self, cgroup: Cgroup) -> None:
        usage = cgroup.usage()
        if usage is None:
            return
        if usage.kills:
            self._out_of_memory = True
            self._kill()
        try:
            tmp = os.statvfs(f"/proc/{self._pid}/root/tmp") if self._walls == "root" and usage.shared else None
        except OSError:
            tmp = None
        files = (tmp.f_blocks - tmp.f_bfree) * tmp.f_frsize if tmp is not None else usage.shared
        self._note(usage.anonymous + max(0, usage.shared - files))

    def _note(self, used: int) -> None:
        self._used_bytes = used
        self._peak_bytes = max(self._peak_bytes, used)
        if used > (self._memory_mb + _FIRST_PROCESS_MB) * MIB:
            self._out_of_memory = True
            self._kill()

    def _kill(self) -> None:
        """End the sandbox at once, from outside."""
        if self._cgroup is not None:
            with contextlib.suppress(SandboxError):
                self._cgroup.thaw()
        elif self._pid:
            below = processes.descendants(self._pid)
            # Last the first process, which would leave the others to nobody where it has no namespace.
            processes.signal_all(below[1:] if not self._walled else below, signal.SIGKILL)
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL if self._walled else signal.SIGCONT)
        if not self._walled and self._cgroup is not None:
            self._cgroup.kill()

    async def freeze(self) -> None:
        """Stop every process, by the control group or one by one."""
        if self._cgroup is not None:
            await self._cgroup.freeze()
        else:
            self._signal_below(signal.SIGSTOP)
        self._frozen = True

    async def thaw(self) -> None:
        """Undo `freeze`."""
        if self._frozen:
            if self._cgroup is not None:
                self._cgroup.thaw()
            else:
                self._signal_below(signal.SIGCONT)
            self._frozen = False

    def _signal_below(self, number: signal.Signals) -> None:
        # Not the first process: it must see the worker's end even while the others are stopped.
        processes.signal_all(processes.descendants(self._pid)[1:], number)

    async def close(self) -> None:
        """End it from outside and remove every trace, once, whoever asks and however often."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            self._listener.close()
            self._kill()
            if not self._walled:
                # Its own first process ends whatever is left below it when nobody holds the other end.
                self._loop.remove_reader(self._ends.control)
                self._ends.control.shutdown(socket.SHUT_RDWR)
            if self._pidfd >= 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_END_S):
                        await self._gone
            if self._cgroup is not None:
                await self._cgroup.remove()
        finally:
            self._release()
            await asyncio.to_thread(shutil.rmtree, self._spec.host_dir, ignore_errors=True)
            self._on_closed()

    def _release(self) -> None:
        _settle(self._exit, Exit(None, signal.SIGKILL, self._out_of_memory))
        self._loop.remove_reader(self._ends.control)
        self._ends.close()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


_FIRST_PROCESS_MB: Final = 16
"""What the first process and the runtime's own start may hold without being charged to the function."""


def hard_limit_bytes(memory_mb: int, ephemeral_mb: int) -> int:
    """Return the limit of the whole group: `/tmp` is a tmpfs, which the kernel charges like memory."""
    return (memory_mb + ephemeral_mb + RUNTIME_SHARE_MB) * MIB


def make_ends() -> tuple[Ends, tuple[socket.socket, socket.socket, int]]:
    """Make what leads into a sandbox: our ends, and the three that go inside."""
    control, control_inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel, channel_inside = socket.socketpair()
    output, output_inside = os.pipe()
    control.setblocking(False)
    channel.setblocking(False)
    os.set_blocking(output, False)
    return Ends(control, channel, output), (control_inside, channel_inside, output_inside)


def make_folders(host_dir: Path) -> None:
    """Make an environment's folder: below it only what the environment is shown."""
    host_dir.mkdir(parents=True, mode=0o700)
    for name in ("task", "opt"):
        folder = host_dir / name
        folder.mkdir()
        folder.chmod(0o755)


def _settle(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()
