"""The process driver: environments without an engine, behind the best walls that this machine and user allow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.runtimes import RUNTIMES, Runtime
from lambent_workers.drivers.port import DriverInfo, Sandbox, SandboxSpec
from lambent_workers.drivers.process import init, view
from lambent_workers.drivers.process.cgroups import Cgroup, CgroupTree
from lambent_workers.drivers.process.choice import Walls, bubblewrap_command, choose_walls
from lambent_workers.drivers.process.forks import Launchers
from lambent_workers.drivers.process.interpreters import Interpreter, Interpreters
from lambent_workers.drivers.process.listener import Listener
from lambent_workers.drivers.process.sandbox import (
    Ends,
    ProcessSandbox,
    hard_limit_bytes,
    make_ends,
    make_folders,
)
from lambent_workers.drivers.process.uids import Uids
from lambent_workers.images import runtimes_dir

SAMPLE_INTERVAL_S: Final = 0.1
_SLOW_SAMPLE_INTERVAL_S: Final = 0.5
"""Without control groups every look goes through all processes of every environment."""
_BOOTSTRAPS: Final = {"python": "bootstrap.py", "nodejs": "bootstrap.mjs"}
_PLATFORM_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
_NOT_ISOLATED: Final = (
    "Functions run as plain processes of this user: they can read whatever this user can read, other functions' code "
    "and the platform's data among it. Start as root, or install bubblewrap, to wall them in."
)
_NO_CGROUPS: Final = (
    "No control group can be written here: memory is watched from outside, twice a second, and functions share the "
    "processor evenly instead of in proportion to their memory."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """Settings of one driver.

    Raises:
        ValueError: the platform's id cannot be part of a name.
    """

    platform_id: str
    """In the name of control groups; two platforms never share one."""
    endpoint_url: str
    """The platform's public API, as functions on this machine reach it."""
    state_dir: Path
    """A folder for the driver alone; made where it is missing."""
    uid_base: int | None = None
    """First number of the users that functions run as (root only); None chooses."""
    walls: Walls | None = None
    """None: the best that works."""

    def __post_init__(self) -> None:
        if not _PLATFORM_ID.fullmatch(self.platform_id):
            raise ValueError(f"not a platform id: {self.platform_id!r}")


class ProcessDriver:
    """Sandboxes are processes of this machine."""

    name = "process"

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings
        self._walls: Walls = "plain"
        self._bubblewrap = ""
        self._interpreters = Interpreters({})
        self._launchers = Launchers(settings.state_dir / "launcher")
        self._marks = settings.state_dir / "environments"
        self._root = settings.state_dir / "root"
        self._uids: Uids | None = None
        self._cgroups: CgroupTree | None = None
        self._sandboxes: dict[str, ProcessSandbox] = {}
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> DriverInfo:
        """Find out what this machine allows, and end what an earlier run of this platform left.

        Raises:
            SandboxError: the walls that were asked for cannot be had, or something left over does not go away.
        """
        self._make_state_dir()
        self._launchers.end_earlier()
        self._walls, self._bubblewrap = await choose_walls(self._settings.walls, self._root)
        if self._walls == "root":
            self._uids = Uids.take(self._settings.uid_base)
        self._cgroups = CgroupTree.find(self._settings.platform_id)
        if self._cgroups is not None:
            await self._cgroups.clear()
        await asyncio.to_thread(self._remove_marked)
        self._interpreters = await Interpreters.find()
        self._watch = asyncio.create_task(self._watch_memory(), name="process-driver-memory")
        warnings = [_NOT_ISOLATED] if self._walls == "plain" else []
        if self._cgroups is None:
            warnings.append(_NO_CGROUPS)
        runtimes = await self.look()
        return DriverInfo(self.name, runtimes, tuple(warnings), isolated=self._walls != "plain")

    def _make_state_dir(self) -> None:
        try:
            for folder in (self._settings.state_dir, self._marks, self._root):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SandboxError(f"{self._settings.state_dir}: {error.strerror}") from error

    def _remove_marked(self) -> None:
        """Remove the folders of environments that an earlier run had."""
        for mark in self._marks.iterdir():
            shutil.rmtree(mark.read_text(), ignore_errors=True)
            mark.unlink()

    async def look(self) -> dict[str, str]:
        """Say what runs here; interpreters that are installed later are found at the next start."""
        return {name: self._interpreters.describe(runtime) for name, runtime in RUNTIMES.items()}

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Fork a sandbox and wait until its walls stand.

        Raises:
            SandboxError: see the port; also where this machine has no interpreter for the runtime.
        """
        if self._watch is None:
            raise SandboxError("the process driver is not open")
        interpreter = self._interpreters.of(spec.runtime)
        if spec.runtime.native and interpreter is None:
            raise SandboxError(self._interpreters.describe(spec.runtime))
        try:
            return await self._start(spec, interpreter)
        except OSError as error:
            raise SandboxError(f"a sandbox could not be made: {error}") from error

    async def _start(self, spec: SandboxSpec, interpreter: Interpreter | None) -> Sandbox:
        async with contextlib.AsyncExitStack() as undo:
            uid = self._lease_uid(undo)
            cgroup = self._make_cgroup(spec, undo)
            make_folders(spec.host_dir)
            undo.callback(shutil.rmtree, spec.host_dir, ignore_errors=True)
            mark = self._marks / spec.environment_id
            mark.write_text(str(spec.host_dir))
            undo.callback(mark.unlink, missing_ok=True)
            plan = self._plan(spec, uid, cgroup, interpreter)
            listener = Listener(spec.runtime_api, uid)
            undo.callback(listener.close)
            ends = self._launch(plan)
            # From here on the sandbox's own `close` undoes all of it.
            undo.pop_all()
        sandbox = ProcessSandbox(
            spec,
            ends,
            cgroup=cgroup,
            listener=listener,
            endpoint_url=self._settings.endpoint_url,
            walls=self._walls,
            on_closed=lambda: self._forget(spec.environment_id, uid),
        )
        self._sandboxes[spec.environment_id] = sandbox
        try:
            await sandbox.begin()
        except BaseException:
            await asyncio.shield(sandbox.close())
            raise
        return sandbox

    def _lease_uid(self, undo: contextlib.AsyncExitStack) -> int | None:
        if self._uids is None:
            return None
        uid = self._uids.lease()
        undo.callback(self._uids.give_back, uid)
        return uid

    def _make_cgroup(self, spec: SandboxSpec, undo: contextlib.AsyncExitStack) -> Cgroup | None:
        if self._cgroups is None:
            return None
        cgroup = self._cgroups.group(spec.environment_id)
        undo.push_async_callback(cgroup.remove)
        cgroup.create(processes_max=init.PROCESSES_MAX)
        cgroup.limit_memory(hard_limit_bytes(spec.memory_mb, spec.ephemeral_mb))
        return cgroup

    def _plan(
        self, spec: SandboxSpec, uid: int | None, cgroup: Cgroup | None, interpreter: Interpreter | None
    ) -> dict[str, Any]:
        plan: dict[str, Any] = {
            "walls": self._walls,
            "host_dir": str(spec.host_dir),
            "processes_max": init.PROCESSES_MAX,
            "cgroups": cgroup.folders if cgroup is not None else [],
            "freezer": cgroup.thaw_order if cgroup is not None else [],
        }
        if self._walls == "plain":
            return plan
        bootstraps = runtimes_dir() / spec.runtime.language if spec.runtime.native else None
        steps = view.steps(
            host_dir=spec.host_dir,
            ephemeral_mb=spec.ephemeral_mb,
            bootstraps=bootstraps,
            interpreter=interpreter,
            uid=uid if uid is not None else os.getuid(),
        )
        if self._walls == "bwrap":
            return {**plan, "argv": bubblewrap_command(self._bubblewrap, steps, spec.host_dir, interpreter)}
        return {**plan, "root": str(self._root), "steps": steps, "uid": uid}

    def _launch(self, plan: dict[str, Any]) -> Ends:
        ends, (control, channel, output_fd) = make_ends()
        try:
            self._launchers.start(plan, control, channel, output_fd)
        except BaseException:
            ends.close()
            raise
        finally:
            control.close()
            channel.close()
            os.close(output_fd)
        return ends

    def _forget(self, environment_id: str, uid: int | None) -> None:
        self._sandboxes.pop(environment_id, None)
        (self._marks / environment_id).unlink(missing_ok=True)
        if uid is not None and self._uids is not None:
            self._uids.give_back(uid)

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_INTERVAL_S if self._cgroups is not None else _SLOW_SAMPLE_INTERVAL_S)
            for sandbox in tuple(self._sandboxes.values()):
                sandbox.watch()

    def bootstrap_argv(self, runtime: Runtime, handler: str) -> Sequence[str]:
        """Return our bootstrap on this machine's interpreter, or the `bootstrap` that a package brings."""
        interpreter = self._interpreters.of(runtime)
        if interpreter is None:
            return (f"{view.TASK_ROOT}/bootstrap",)
        if self._walls == "plain":
            program, folder = str(interpreter.executable), str(runtimes_dir() / runtime.language)
        else:
            program, folder = view.executable_inside(interpreter), view.BOOTSTRAP_ROOT
        return (program, f"{folder}/{_BOOTSTRAPS[runtime.language]}")

    def is_native(self, runtime: Runtime) -> bool:
        """Whether our own bootstrap runs this runtime's handlers: always, where there is one."""
        return runtime.native

    async def close(self) -> None:
        """End every sandbox, the launcher, and remove the control groups. Idempotent."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.cancel()
        await asyncio.gather(*(sandbox.close() for sandbox in tuple(self._sandboxes.values())), return_exceptions=True)
        await asyncio.to_thread(self._launchers.close)
        if self._cgroups is not None:
            await self._cgroups.close()
        if self._uids is not None:
            self._uids.close()
            self._uids = None
