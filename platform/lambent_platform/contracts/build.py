"""Builds: what the scheduler orders of the builder, and what the builder asks of a sandbox.

A dependency install runs a stranger's code (`setup.py`, npm's scripts), so it runs in a sandbox of the driver's kind,
and only bytes come out of it. Two sandboxes are there: containers (the builder's own) and processes (the worker
package's); whoever composes the roles hands one of them in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, Protocol

from lambent_platform.contracts.runtimes import Runtime

INSTALL_TIMEOUT_S: Final = 600.0
INSTALL_MEMORY_MB: Final = 1024
INSTALL_DISK_MB: Final = 1536
"""Room for the package, what pip or npm downloads, and what they install."""
INSTALL_PROCESSES_MAX: Final = 256

BuildKind = Literal["image", "dependencies"]
BuildPhase = Literal["queued", "running", "waiting", "succeeded", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """What is known of one build. Times are liveness time in ms.

    `waiting` means: an infrastructure failed it, and it is queued again when it is due.
    """

    id: str
    phase: BuildPhase
    attempts: int = 0
    """How often infrastructure failed it: its engine or a store was away, its builder was lost."""
    ended_at_ms: int = 0
    read_at_ms: int = 0
    """The same clock, when this was read."""
    reason: str = ""
    reason_code: str = ""
    """One of the model's `StateReasonCode`."""
    result: str = ""
    """Object key of the package with its dependencies; image tag for an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """What a job builds: an image of a runtime, or the dependencies of a package for it.

    `id` is made of what is built, so that who wants the same waits for the same job.
    """

    id: str
    kind: BuildKind
    runtime: str
    source_key: str = ""
    """Object key of the uploaded package (`dependencies` only)."""


def log_key(build_id: str) -> str:
    """Object key of a build's log, which is readable while it runs."""
    return f"builds/{build_id}.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOrder:
    """One install. The command reads the package as a tar on its standard input and writes what it installed as a
    tar on its standard output; what people should read goes to its standard error.
    """

    job: str
    """The job's id: in the name or a label of everything that is made for it."""
    runtime: Runtime
    command: Sequence[str]
    """Begins with `python3` (that runtime's own interpreter) or `sh` (with that runtime's `node` and `npm` on its
    path). Runs as nobody in particular, in an empty, writable, executable folder of at most `disk_mb` that is its
    working directory, `HOME` and `TMPDIR`; with the network, and with the pip or npm settings of its surroundings."""
    timeout_s: float = INSTALL_TIMEOUT_S
    memory_mb: int = INSTALL_MEMORY_MB
    disk_mb: int = INSTALL_DISK_MB
    processes_max: int = INSTALL_PROCESSES_MAX
    output_bytes_max: int


@dataclass(frozen=True, slots=True)
class InstallEnd:
    """How an install ended. `exit_code` counts where `cause` is "exit" only."""

    cause: Literal["exit", "timeout", "memory", "output"]
    """With "output" it wrote more than `output_bytes_max`; it was ended, as after the time limit."""
    exit_code: int = 0


class InstallSandbox(Protocol):
    """Runs installs, one at a time; blocking, since it is called from jobs of their own process."""

    def install(
        self, order: InstallOrder, *, stdin: BinaryIO, stdout: BinaryIO, log: Callable[[bytes], None]
    ) -> InstallEnd:
        """Run one install and leave nothing of it behind, whatever happens.

        `stdin` is a file at its beginning; `stdout` is written at most `output_bytes_max` bytes; `log` gets the
        standard error in pieces as it comes.

        Raises:
            SandboxError: it could not be run, through no fault of the package.
        """

    def reap(self, is_live: Callable[[str], bool]) -> None:
        """End what installs of this platform left behind, except for jobs (by their id) that are live elsewhere."""
