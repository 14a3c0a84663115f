"""The port of a sandbox driver: what the worker asks of Docker, or of plain processes.

A sandbox is one execution environment's walls. The driver makes it, runs the runtime's process in it, and can end
it from outside at any moment; it knows nothing of invocations. Both drivers pass `tests/conformance`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lambent_platform.contracts.runtimes import Runtime

ProtocolFactory = Callable[[], asyncio.Protocol]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a sandbox is made for. A stem is made with the smallest sizes and given its own by `configure`."""

    environment_id: str
    """32 hex digits; also in the container's name and labels."""
    runtime: Runtime
    memory_mb: int
    ephemeral_mb: int = 512
    host_dir: Path
    """This environment's own folder on the host, made by the driver's `start` with the sub-folder `task`, shown
    read-only at `task_root`; the worker fills it, before or after the start."""
    runtime_api: ProtocolFactory
    """Makes the protocol that serves one connection of the Runtime API; the driver listens and accepts."""
    cpu_boost: bool = False
    """Lend it at least one vCPU until `configure` is called without a boost, as Lambda does for its init phase."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How the runtime's process ended."""

    code: int | None
    """Exit status; None where a signal ended it."""
    signal: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """What a driver can do on this machine."""

    name: str
    runtimes: Mapping[str, str] = field(default_factory=dict)
    """Runtime name → "ready", "buildable", or what is missing and what was found instead."""
    warnings: Sequence[str] = ()
    """What an operator must be told at start, in whole sentences."""
    isolated: bool = True
    """False where functions can read what the user can: then only loopback may be served without `--unsafe`."""


class Sandbox(Protocol):
    """One running sandbox. Every method has a deadline of its own and raises `SandboxError` when it passes."""

    label: str
    """For people: a short container id, or `pid 123`."""
    task_root: str
    """Where the function's code is, seen from inside (`/var/task` wherever the driver can)."""
    runtime_api_address: str
    """`host:port` for `AWS_LAMBDA_RUNTIME_API`, seen from inside."""
    endpoint_url: str
    """For `AWS_ENDPOINT_URL`, seen from inside: the platform's public API."""

    async def configure(self, *, memory_mb: int, ephemeral_mb: int, cpu_boost: bool = False) -> None:
        """Give a stem its function's limits, before any user code is read.

        With `cpu_boost` it may use one vCPU at least, whatever its memory; call it again without, once the handler
        is loaded, to set the share that goes with its memory.
        """

    async def spawn(self, argv: Sequence[str], env: Mapping[str, str], *, cwd: str) -> None:
        """Run the runtime's process, once; `env` is all of its environment.

        The process gets the other end of `channel` as file descriptor 3 (named in `LAMBENT_CHANNEL_FD`).
        """

    @property
    def channel(self) -> socket.socket:
        """Our end of the native bootstrap's stream; non-blocking. Exactly one peer is ever accepted."""

    @property
    def output_fd(self) -> int:
        """The read end of a pipe with the process's standard output and error; non-blocking, owned by the sandbox."""

    async def wait(self) -> Exit:
        """Wait for the runtime's process, or the whole sandbox, to end. May be awaited more than once."""

    def memory_used_mb(self) -> int:
        """Peak resident memory since the last call, without `/tmp`; no I/O that can block for long."""

    async def freeze(self) -> None:
        """Stop every process in it, or do nothing where the driver cannot."""

    async def thaw(self) -> None:
        """Undo `freeze`. Must be quick: it is on a caller's path."""

    async def close(self) -> None:
        """End everything in it and remove every trace: processes, container, mounts, sockets, `host_dir`.

        Idempotent.
        """


class Driver(Protocol):
    """One way to make sandboxes."""

    name: str

    async def open(self) -> DriverInfo:
        """Check what is there and end what an earlier run of this platform left behind."""

    async def look(self) -> Mapping[str, str]:
        """Say again what `DriverInfo.runtimes` said at `open`: images are built while the worker runs.

        Raises:
            SandboxError: the engine is away, or the driver is not open.
        """

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox with nothing of the function running in it yet.

        Raises:
            SandboxError: it could not be made; nothing is left of it.
        """

    def bootstrap_argv(self, runtime: Runtime, handler: str) -> Sequence[str]:
        """Return the command that runs the runtime: our bootstrap, or what a package or mapped image brings."""

    def is_native(self, runtime: Runtime) -> bool:
        """Whether `bootstrap_argv` is our own bootstrap on the channel, rather than a client of the Runtime API."""

    async def close(self) -> None:
        """End every sandbox and whatever the driver itself made (networks, rules, folders)."""
