"""The process that sandboxes are forked from: small, single-threaded, with everything loaded.

Standard library only. The worker starts it once and sends it one plan for each sandbox over a SEQPACKET socket, with
three descriptors: the sandbox's control socket, its channel and its output. The answer, its pid with a pidfd of it,
goes over that control socket. When the worker goes, however it goes, so do all sandboxes.

A plan: {walls: "root" | "bwrap" | "plain", root, steps, uid, argv (of bubblewrap), processes_max, cgroups (folders),
freezer (file and word that thaws, or empty), host_dir}.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from lambent_workers.drivers.process import init, walls

PLAN_BYTES_MAX = 1024 * 1024
_END_S = 5.0


class Launcher:
    """Forks sandboxes for one worker."""

    def __init__(self, plans: socket.socket) -> None:
        self._plans = plans
        self._live: dict[int, dict[str, Any]] = {}
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until the worker goes."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # The worker decides about the end: a Ctrl-C reaches the whole group, and it still has to drain.
            signal.signal(number, signal.SIG_IGN)
        poll = select.poll()
        poll.register(self._plans, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._reap()
                    continue
                data, fds, _, _ = socket.recv_fds(self._plans, PLAN_BYTES_MAX, 3)
                if not data:
                    return
                self._launch(json.loads(data), fds)

    def _launch(self, plan: dict[str, Any], fds: list[int]) -> None:
        control = socket.socket(fileno=fds[0])
        try:
            pid = self._fork(new_pids=plan["walls"] == "root")
            if not pid:
                self._become(plan, control, fds[1], fds[2])
            self._live[pid] = plan
            pidfd = os.pidfd_open(pid)
            try:
                socket.send_fds(control, [json.dumps({"pid": pid}).encode()], [pidfd])
            finally:
                os.close(pidfd)
        except OSError as error:
            _complain(control, error)
        finally:
            control.close()
            os.close(fds[1])
            os.close(fds[2])

    def _fork(self, *, new_pids: bool) -> int:
        """Fork; with `new_pids` the child is the first process of a namespace of its own."""
        if not new_pids:
            return os.fork()
        walls.call("unshare", walls.CLONE_NEWPID)
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid:
                # Without this, the next child would be a second process of the same namespace.
                walls.call("setns", self._own_pids, walls.CLONE_NEWPID)
        return pid

    def _become(self, plan: dict[str, Any], control: socket.socket, channel_fd: int, output_fd: int) -> NoReturn:
        """Turn this fork into a sandbox's first process."""
        try:
            self._plans.close()
            signal.set_wakeup_fd(-1)
            for fd in (self._own_pids, self._wake_read, self._wake_write):
                os.close(fd)
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            for folder in plan["cgroups"]:
                with open(f"{folder}/cgroup.procs", "w") as file:
                    file.write("0")
            if plan["walls"] == "bwrap":
                for fd in (control.fileno(), channel_fd, output_fd):
                    os.set_inheritable(fd, True)
                arguments = map(str, (plan["processes_max"], control.fileno(), channel_fd, output_fd))
                os.execv(plan["argv"][0], [*plan["argv"], *arguments])  # noqa: S606 - that is its work
            if plan["walls"] == "root":
                walls.enter(plan["root"], plan["steps"])
                limit = plan["processes_max"]
                resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
                walls.become(plan["uid"])
            # After the change of user, which takes this away again.
            init.prctl(init.PR_SET_PDEATHSIG, signal.SIGKILL)
            init.harden()
            init.run(control, channel_fd, output_fd)
        except BaseException as error:
            _complain(control, error)
            os._exit(1)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._live.pop(pid, None)

    def end(self) -> None:
        """End every sandbox, and remove what the worker can no longer remove."""
        left = list(self._live.values())
        for pid, plan in self._live.items():
            if plan["freezer"]:
                file, word = plan["freezer"]
                _write(file, word)
            # A plain sandbox's first process takes the others with it when its control socket ends.
            os.kill(pid, signal.SIGCONT if plan["walls"] == "plain" else signal.SIGKILL)
        deadline = time.monotonic() + _END_S
        while self._live and time.monotonic() < deadline:
            time.sleep(0.005)
            self._reap()
        for plan in left:
            for folder in plan["cgroups"]:
                try:
                    os.rmdir(folder)
                except OSError:  # gone, or the next start's reconciliation sees to it
                    continue
            shutil.rmtree(plan["host_dir"], ignore_errors=True)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:  # gone already
        return


def _complain(control: socket.socket, error: BaseException) -> None:
    try:
        control.send(json.dumps({"error": str(error) or type(error).__name__}).encode())
    except OSError:
        return


def main() -> None:
    """Serve the worker whose socket is the descriptor given as the first argument."""
    launcher = Launcher(socket.socket(fileno=int(sys.argv[1])))
    try:
        launcher.run()
    finally:
        launcher.end()
