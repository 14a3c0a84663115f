"""A platform of the demo's own: started on a free port and a temporary folder, ended with everything it made."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

START_S = 60.0
"""Long, since a busy machine may take its time; it is ready within 2 s otherwise."""
STOP_S = 15.0
SHORT_WAITS = (
    "--keep-alive", "fixed", "--idle-timeout-s", "5",
    "--stem-idle-timeout-s", "5",
    "--async-retry-delays-s", "1,2",
)  # fmt: skip
"""So that nobody waits minutes for a retry, or for a function to go back to zero."""


class PlatformFailed(Exception):
    """It did not start, or did not end."""


@contextlib.contextmanager
def own_platform(flags: Sequence[str] = ()) -> Iterator[str]:
    """Run `lambent up` and give its endpoint; at the end it must drain and exit by itself.

    Raises:
        PlatformFailed: it was not ready within `START_S`, or still there `STOP_S` after it was asked to end.
    """
    with tempfile.TemporaryDirectory(prefix="lambent-demo-") as name:
        data_dir = Path(name) / "data"
        log = Path(name) / "platform.log"
        command = [sys.executable, "-m", "lambent.cli.main", "up", "--port", "0", "--data-dir", str(data_dir)]
        with log.open("wb") as output:
            # A session of its own: a Ctrl-C here must come to it once, from us, not from the terminal as well.
            process = subprocess.Popen(
                [*command, *SHORT_WAITS, *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        failed = True
        try:
            yield _endpoint(process, data_dir / "endpoint", log)
            failed = False
        finally:
            ended = _stop(process)
            if failed:
                sys.stderr.write(_tail(log))
        if not ended:
            raise PlatformFailed(f"the platform was still there {STOP_S:g} s after it was asked to end")


def _endpoint(process: subprocess.Popen[bytes], file: Path, log: Path) -> str:
    """Wait for the file that a platform writes when it is ready."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if file.is_file() and (endpoint := file.read_text().strip()):
            return endpoint
        if process.poll() is not None:
            raise PlatformFailed(f"the platform ended with status {process.returncode} instead of starting")
        time.sleep(0.02)
    raise PlatformFailed(f"the platform was not ready within {START_S:g} s")


def _stop(process: subprocess.Popen[bytes]) -> bool:
    """Ask it to end; kill it where it does not. Returns whether it ended by itself."""
    if process.poll() is not None:
        return True
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def _tail(log: Path, lines: int = 25) -> str:
    """Return the end of the platform's own log."""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(["", "The end of the platform's log:", *(f"  {line}" for line in text), ""])
