"""The first process of a sandbox: runs the runtime's process once, reaps, and takes everything down at the end.

Standard library only and nothing of this package, since it also runs as a script inside bubblewrap. It holds one end of
a control socket (SEQPACKET, one JSON object a message) whose other end is the worker's:

    {"ready": true}                →  the walls stand
    {"argv", "env", "cwd"}         ←  run this, once; with "stdio" the channel is its standard input and output
    {"code", "signal"}             →  it ended; everything else in the sandbox ends with this process
    end of file                    ←  the worker is gone or wants the end
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
CHANNEL_FD = 3
FILES_MAX = 1024
PROCESSES_MAX = 1024
"""Both as on Lambda."""
MESSAGE_BYTES_MAX = 1024 * 1024
NOT_EXECUTABLE, NOT_FOUND = 126, 127
_END_S = 2.0


def prctl(option: int, value: int) -> None:
    """Set one property of this process.

    Raises:
        OSError: the kernel refused.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def harden() -> None:
    """Let nothing below this process gain rights, look into it, or outlive it; keep limits of its own."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = min(FILES_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def run(control: socket.socket, channel_fd: int, output_fd: int) -> NoReturn:
    """Be the sandbox's first process until its end; never returns."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    runtime_pid = 0
    _send(control, ready=True)
    while True:
        for fd, _ in poll.poll():
            if fd == wake_read:
                os.read(wake_read, 4096)
                for pid, status in _reap():
                    if pid == runtime_pid:
                        _send(control, **_describe(status))
                        _end()
            elif not (message := control.recv(MESSAGE_BYTES_MAX)):
                _end()
            elif not runtime_pid:
                runtime_pid = os.fork()
                if not runtime_pid:
                    _become(json.loads(message), channel_fd, output_fd)
                os.close(channel_fd)
                os.close(output_fd)


def _become(order: dict[str, Any], channel_fd: int, output_fd: int) -> NoReturn:
    """Turn this fork into the runtime's process."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        # First out of the way of the numbers they are to get, in whatever order they have them now.
        null = os.open(os.devnull, os.O_RDWR)
        stdio = (channel_fd, channel_fd, output_fd) if order.get("stdio") else (null, output_fd, output_fd, channel_fd)
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, CHANNEL_FD + 1) for fd in stdio]
        for target, fd in enumerate(moved):
            os.dup2(fd, target, inheritable=True)
        os.closerange(len(moved), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.chdir(order["cwd"])
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - the whole point
    except FileNotFoundError as error:
        os.write(2, f"{order['argv'][0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND)
    except BaseException as error:
        os.write(2, f"{order['argv'][0]}: {error}\n".encode())
        os._exit(NOT_EXECUTABLE)


def _reap() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended.append((pid, status))


def _describe(status: int) -> dict[str, int | None]:
    if os.WIFSIGNALED(status):
        return {"code": None, "signal": os.WTERMSIG(status)}
    return {"code": os.WEXITSTATUS(status), "signal": None}


def _send(control: socket.socket, **message: object) -> None:
    try:
        control.send(json.dumps(message).encode())
    except OSError:  # the worker is gone: so is this
        _end()


def _end() -> NoReturn:
    """End with every process below: the kernel does it where this is a namespace's first process."""
    deadline = time.monotonic() + _END_S
    while os.getpid() != 1 and (pids := _children()) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _reap()
        time.sleep(0.002)
    os._exit(0)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def limit_processes(count: int) -> None:
    """Bound the processes of this user in this user namespace."""
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    # Before, the kernel counted all processes of the user on the machine: the desktop's as well.
    if release >= (5, 14):
        resource.setrlimit(resource.RLIMIT_NPROC, (count, count))


def main() -> NoReturn:
    """Run as a script inside bubblewrap: the arguments are a bound on processes and the three descriptors."""
    processes_max, control_fd, channel_fd, output_fd = map(int, sys.argv[1:5])
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    limit_processes(processes_max)
    harden()
    run(socket.socket(fileno=control_fd), channel_fd, output_fd)


if __name__ == "__main__":
    main()
