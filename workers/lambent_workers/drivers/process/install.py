"""Runs dependency installs, which are strangers' code, behind the walls of functions, with a network and room."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import selectors
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from lambent_platform.contracts.build import InstallEnd, InstallOrder
from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.limits import MIB
from lambent_workers.drivers.process import processes, view
from lambent_workers.drivers.process.cgroups import Cgroup, CgroupTree
from lambent_workers.drivers.process.choice import Walls, bubblewrap_command, choose_walls
from lambent_workers.drivers.process.forks import Launchers
from lambent_workers.drivers.process.interpreters import Interpreter, Interpreters
from lambent_workers.drivers.process.sandbox import START_S, Ends, make_ends
from lambent_workers.drivers.process.uids import Uids

FOLDER: Final = "/build"
_CHUNK_BYTES: Final = 256 * 1024
_LOOK_S: Final = 0.5
_NO_SPACE_STATUS: Final = 1
_JOB = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SURROUNDINGS = re.compile(
    r"PIP_\w+|npm_config_\w+|NPM_CONFIG_\w+|(?i:https?_proxy|no_proxy|all_proxy)|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE|"
    r"NODE_EXTRA_CA_CERTS"
)
"""The variables of the builder's own environment that pip and npm go by."""
_SETTINGS_FILES: Final = ("/etc/pip.conf", "/etc/npmrc")
_SHOWN: Final = ("/usr/", "/etc/ssl/", "/etc/pki/", "/etc/ca-certificates/")


class ProcessInstallSandbox:
    """An `InstallSandbox` of this machine's processes. `state_dir` is a folder for it alone."""

    def __init__(
        self, *, platform_id: str, state_dir: Path, uid_base: int | None = None, walls: Walls | None = None
    ) -> None:
        self._group = f"{platform_id}-builds"
        self._state_dir = state_dir
        self._uid_base = uid_base
        self._wanted = walls

    def install(
        self, order: InstallOrder, *, stdin: BinaryIO, stdout: BinaryIO, log: Callable[[bytes], None]
    ) -> InstallEnd:
        """See `InstallSandbox.install`."""
        if not _JOB.fullmatch(order.job):
            raise SandboxError(f"not a job's id: {order.job!r}")
        with contextlib.ExitStack() as undo:
            try:
                folder = self._make_folder(order.job, undo)
                run = self._launch(order, folder, undo)
            except OSError as error:
                raise SandboxError(f"an install could not be started: {error}") from error
            return run.to_its_end(stdin, stdout, log)

    def _make_folder(self, job: str, undo: contextlib.ExitStack) -> Path:
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(prefix=f"{job}~", dir=self._state_dir))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in ("root", "build"):
            (folder / name).mkdir()
        return folder

    def _launch(self, order: InstallOrder, folder: Path, undo: contextlib.ExitStack) -> _Run:
        interpreters = asyncio.run(Interpreters.find())
        interpreter = interpreters.of(order.runtime)
        if order.runtime.native and interpreter is None:
            raise SandboxError(interpreters.describe(order.runtime))
        walls, bubblewrap = asyncio.run(choose_walls(self._wanted, folder / "root"))
        uid = os.getuid()
        if walls == "root":
            uids = Uids.take(self._uid_base)
            undo.callback(uids.close)
            uid = uids.lease()
        cgroup = self._make_cgroup(order, undo)
        settings = {name: value for name, value in os.environ.items() if _SURROUNDINGS.fullmatch(name)}
        steps = _steps(order, interpreter, uid, settings)
        plan: dict[str, Any] = {
            "walls": walls,
            "host_dir": str(folder),
            "processes_max": order.processes_max,
            "cgroups": cgroup.folders if cgroup is not None else [],
            "freezer": cgroup.thaw_order if cgroup is not None else [],
            "root": str(folder / "root"),
            "steps": steps,
            "uid": uid,
        }
        if walls == "bwrap":
            plan["argv"] = bubblewrap_command(bubblewrap, steps, folder, interpreter)
        launchers = Launchers(folder / "launcher")
        undo.callback(launchers.close)
        ends, inside = make_ends()
        undo.callback(ends.close)
        try:
            launchers.start(plan, *inside)
        finally:
            inside[0].close()
            inside[1].close()
            os.close(inside[2])
        home = str(folder / "build") if walls == "plain" else FOLDER
        argv = list(order.command)
        if argv[0] == "python3" and interpreter is not None:
            argv[0] = str(interpreter.executable) if walls == "plain" else view.executable_inside(interpreter)
        environment = {**view.DEFAULT_ENVIRONMENT, **settings, "HOME": home, "TMPDIR": home}
        if walls == "plain":
            environment["PATH"] = os.environ.get("PATH", os.defpath)
        command = {"argv": argv, "env": environment, "cwd": home, "stdio": True}
        return _Run(order, ends, cgroup, command, Path(home) if walls == "plain" else None)

    def _make_cgroup(self, order: InstallOrder, undo: contextlib.ExitStack) -> Cgroup | None:
        tree = CgroupTree.find(self._group)
        if tree is None:
            return None
        undo.callback(tree.leave)
        cgroup = tree.group(order.job)
        asyncio.run(cgroup.remove())
        undo.callback(lambda: asyncio.run(cgroup.remove()))
        cgroup.create(processes_max=order.processes_max)
        # The folder to build in is a tmpfs, and what is in one is charged like memory.
        cgroup.limit_memory((order.memory_mb + order.disk_mb) * MIB)
        return cgroup

    def reap(self, is_live: Callable[[str], bool]) -> None:
        """See `InstallSandbox.reap`."""
        if (tree := CgroupTree.find(self._group)) is not None:
            for job in tree.names():
                if not is_live(job):
                    asyncio.run(tree.group(job).remove())
            tree.leave()
        if self._state_dir.is_dir():
            for folder in self._state_dir.iterdir():
                if not is_live(folder.name.rpartition("~")[0]):
                    Launchers(folder / "launcher").end_earlier()
                    shutil.rmtree(folder, ignore_errors=True)


def _steps(order: InstallOrder, interpreter: Interpreter | None, uid: int, settings: Mapping[str, str]) -> view.Steps:
    """Return the view: what every sandbox sees, a folder to build in, and the files that pip's settings name."""
    steps: view.Steps = [
        *view.base_steps(interpreter),
        ["file", "/etc/passwd", view.passwd(uid)],
        ["file", "/etc/group", f"root:x:0:\nsandbox:x:{uid}:\n"],
        ["tmpfs", FOLDER, f"size={order.disk_mb}m,mode=0700,uid={uid},gid={uid}", True],
        ["tmpfs", "/tmp", "size=64m,mode=1777", False],  # noqa: S108 - inside; for scripts that know no TMPDIR
        ["tmpfs", "/dev/shm", "size=64m,mode=1777", False],  # noqa: S108
        ["proc", "/proc"],
    ]
    named = {value for value in settings.values() if value.startswith("/") and not value.startswith(_SHOWN)}
    for path in sorted({*named, *_SETTINGS_FILES}):
        if os.path.exists(path):
            steps.append(["bind", os.path.realpath(path), path])
    return steps


@dataclass(slots=True)
class _Run:
    """One install, from its start to its end."""

    order: InstallOrder
    ends: Ends
    cgroup: Cgroup | None
    command: dict[str, Any]
    watched: Path | None
    """Where it builds, unless that is a tmpfs of its size."""
    looked_at: float = 0.0
    pid: int = 0
    code: int | None = None
    ended: bool = False

    def to_its_end(self, stdin: BinaryIO, stdout: BinaryIO, log: Callable[[bytes], None]) -> InstallEnd:
        deadline = time.monotonic() + self.order.timeout_s
        self._wait_for_walls()
        self.ends.control.send(json.dumps(self.command).encode())
        room = self.order.output_bytes_max
        with selectors.DefaultSelector() as selector:
            selector.register(self.ends.control, selectors.EVENT_READ)
            selector.register(self.ends.output_fd, selectors.EVENT_READ)
            selector.register(self.ends.channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
            unsent = memoryview(b"")
            # The end of all three is the end of every process that could still write.
            while selector.get_map():
                if time.monotonic() > deadline:
                    return InstallEnd("timeout")
                if time.monotonic() - self.looked_at >= _LOOK_S:
                    self.looked_at = time.monotonic()
                    if self._holds_too_much():
                        return InstallEnd("memory")
                    if self._fills_the_disk():
                        log(f"No space left: an install may write {self.order.disk_mb} MB\n".encode())
                        return InstallEnd("exit", _NO_SPACE_STATUS)
                for key, events in selector.select(_LOOK_S):
                    if events & selectors.EVENT_WRITE:
                        unsent = self._feed(selector, stdin, unsent)
                    if not events & selectors.EVENT_READ:
                        continue
                    if key.fileobj is self.ends.control:
                        self._hear(selector)
                    elif key.fileobj is self.ends.channel:
                        data = _received(self.ends.channel)
                        room -= len(data)
                        if room < 0:
                            return InstallEnd("output")
                        stdout.write(data)
                        self._drop_at_end(selector, self.ends.channel, data)
                    else:
                        data = os.read(self.ends.output_fd, _CHUNK_BYTES)
                        log(data)
                        self._drop_at_end(selector, self.ends.output_fd, data)
        return self._end()

    def _wait_for_walls(self) -> None:
        self.ends.control.settimeout(START_S)
        try:
            for message in self._messages():
                if "error" in message:
                    raise SandboxError(f"an install could not be started: {message['error']}")
                self.pid = message.get("pid", self.pid)
                if "ready" in message:
                    return
        except OSError as error:
            raise SandboxError(f"an install did not start: {error}") from error
        raise SandboxError("an install ended before it began")

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            data, fds, _, _ = socket.recv_fds(self.ends.control, _CHUNK_BYTES, 1)
            for fd in fds:
                os.close(fd)
            if not data:
                return
            yield json.loads(data)

    def _feed(self, selector: selectors.BaseSelector, stdin: BinaryIO, unsent: memoryview) -> memoryview:
        """Send some more of the package; an install that ended early does not want the rest."""
        unsent = unsent or memoryview(stdin.read(_CHUNK_BYTES))
        try:
            if unsent:
                return unsent[self.ends.channel.send(unsent) :]
        except BlockingIOError:
            return unsent
        except OSError:
            unsent = memoryview(b"")
        with contextlib.suppress(OSError):
            self.ends.channel.shutdown(socket.SHUT_WR)
        selector.modify(self.ends.channel, selectors.EVENT_READ)
        return unsent

    def _hear(self, selector: selectors.BaseSelector) -> None:
        message = next(self._messages(), None)
        if message is None:
            selector.unregister(self.ends.control)
        elif "code" in message:
            self.ended, self.code = True, message["code"]

    def _drop_at_end(self, selector: selectors.BaseSelector, source: socket.socket | int, data: bytes) -> None:
        if not data:
            selector.unregister(source)

    def _holds_too_much(self) -> bool:
        """Look from outside where the kernel keeps no account."""
        if self.cgroup is not None:
            return False
        return processes.resident_bytes(processes.descendants(self.pid)) > self.order.memory_mb * MIB

    def _fills_the_disk(self) -> bool:
        """Look into a folder that is an ordinary one; a tmpfs bounds itself."""
        if self.watched is None:
            return False
        used = 0
        for folder, _, names in os.walk(self.watched):
            for name in names:
                with contextlib.suppress(OSError):
                    used += os.lstat(os.path.join(folder, name)).st_blocks * 512
        return used > self.order.disk_mb * MIB

    def _end(self) -> InstallEnd:
        usage = self.cgroup.usage() if self.cgroup is not None else None
        if usage is not None and usage.kills:
            return InstallEnd("memory")
        if self.code is None:
            raise SandboxError("the install was killed from outside" if self.ended else "the install was lost")
        return InstallEnd("exit", self.code)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_CHUNK_BYTES)
    except ConnectionResetError:
        return b""
