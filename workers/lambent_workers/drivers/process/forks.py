"""The worker's side of the launcher: starts it, hands it plans, and starts another where it died."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import lambent_workers
from lambent_platform.contracts.errors import SandboxError
from lambent_workers.drivers.process.processes import started_at

_END_S: Final = 10.0
_COMMAND: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from lambent_workers.drivers.process.launcher import main; main()"
)


class Launchers:
    """One launcher at a time; `mark` is a file that tells a later run which process it was."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark
        self._plans: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, plan: dict[str, Any], control: socket.socket, channel: socket.socket, output_fd: int) -> None:
        """Have one sandbox forked.

        Raises:
            SandboxError: the launcher does not take it.
        """
        descriptors = [control.fileno(), channel.fileno(), output_fd]
        try:
            socket.send_fds(self._alive(), [json.dumps(plan).encode()], descriptors)
        except OSError as error:
            raise SandboxError(f"the launcher of sandboxes does not answer: {error}") from error

    def _alive(self) -> socket.socket:
        if self._plans is not None and self._process is not None and self._process.poll() is None:
            return self._plans
        if self._plans is not None:
            self._plans.close()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with its:
            folder = Path(lambent_workers.__file__).resolve().parent.parent
            command = [sys.executable, "-I", "-S", "-E", "-c", _COMMAND, str(folder), str(its.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with our own code
                command,
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                cwd="/",
                start_new_session=True,
            )
        self._plans = ours
        self._mark.write_text(f"{self._process.pid} {started_at(self._process.pid)}")
        return ours

    def end_earlier(self) -> None:
        """End the launcher of a run that was killed together with it, and so every sandbox below it."""
        try:
            pid, start = self._mark.read_text().split()
        except (OSError, ValueError):
            return
        if started_at(int(pid)) == start:
            os.kill(int(pid), signal.SIGKILL)
        self._mark.unlink(missing_ok=True)

    def close(self) -> None:
        """End the launcher and everything below it."""
        if self._plans is not None:
            self._plans.close()
            self._plans = None
        if self._process is not None:
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._mark.unlink(missing_ok=True)
