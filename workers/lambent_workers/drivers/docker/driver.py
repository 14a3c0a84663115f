"""The Docker driver: hardened containers, each with one environment, and what an earlier run left of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.limits import MIB
from lambent_platform.contracts.runtimes import RUNTIMES, Runtime
from lambent_platform.core.images import ImagePlans
from lambent_workers.drivers.docker.cgroup import Cgroup
from lambent_workers.drivers.docker.container import container_config, limits
from lambent_workers.drivers.docker.control import Control, encode_limit
from lambent_workers.drivers.docker.engine import Engine, Image
from lambent_workers.drivers.docker.network import Network
from lambent_workers.drivers.docker.paths import EnginePaths
from lambent_workers.drivers.docker.reconcile import remove_containers
from lambent_workers.drivers.docker.relay import ApiRelay
from lambent_workers.drivers.docker.sandbox import DockerSandbox, Parts
from lambent_workers.drivers.docker.settings import DockerSettings
from lambent_workers.drivers.docker.sockets import OncePath, listen
from lambent_workers.drivers.port import DriverInfo, Sandbox, SandboxSpec

INIT_TIMEOUT_S = 15.0
_FOLDERS = ("task", "opt", "sock")
_AWS_ENTRYPOINT = ("/lambda-entrypoint.sh",)
_BOOTSTRAPS = {
    "python": ("python3", "/lambent/bootstrap.py"),
    "nodejs": ("node", "/lambent/bootstrap.mjs"),
    "provided": ("/var/task/bootstrap",),
}


class DockerDriver:
    """Sandboxes are containers of the engine that Docker's own clients would find."""

    name = "docker"

    def __init__(self, settings: DockerSettings, images: ImagePlans) -> None:
        self._settings = settings
        self._images = images
        self._known: dict[str, Image] = {}
        self._sandboxes: set[DockerSandbox] = set()
        self._engine: Engine | None = None
        self._network: Network | None = None
        self._paths = EnginePaths(None)
        self._direct_limits = False

    async def open(self) -> DriverInfo:
        """Find the engine, remove what an earlier run of this platform left, and put the network in place.

        Raises:
            SandboxError: no engine answers, or it does not remove what it was told to.
        """
        engine = Engine.connect()
        try:
            info = await engine.info()
            self._paths = await EnginePaths.find(engine)
            # systemd puts its own idea of a unit's limits back whenever it reloads, so there the engine is asked.
            self._direct_limits = info.get("CgroupDriver") == "cgroupfs"
            if self._settings.engine_runtime and self._settings.engine_runtime not in info.get("Runtimes", {}):
                raise SandboxError(f"the Docker Engine has no runtime {self._settings.engine_runtime!r}")
            await remove_containers(engine, self._settings.platform_id)
            network = Network(engine, self._settings, self._images.tools())
            await network.open()
        except BaseException:
            await engine.close()
            raise
        self._engine, self._network = engine, network
        return DriverInfo(self.name, await self._find_runtimes(engine), tuple(network.warnings))

    async def look(self) -> dict[str, str]:
        """Say again what `DriverInfo.runtimes` said at `open`: images are built while the worker runs.

        Raises:
            SandboxError: the engine is away, or the driver is not open.
        """
        if self._engine is None:
            raise SandboxError("the Docker driver is not open")
        return await self._find_runtimes(self._engine)

    async def _find_runtimes(self, engine: Engine) -> dict[str, str]:
        found = {}
        for runtime in RUNTIMES.values():
            image = await self._find_image(engine, runtime)
            found[runtime.name] = "ready" if image is not None else "buildable"
        return found

    async def _find_image(self, engine: Engine, runtime: Runtime) -> Image | None:
        tag = self._images.plan(runtime).tag
        image = self._known.get(tag) or await engine.image(tag)
        if image is not None:
            self._known[tag] = image
        return image

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Make one container and wait until its init has connected.

        Raises:
            SandboxError: see the port; also where the runtime's image is not built yet.
        """
        if self._engine is None or self._network is None:
            raise SandboxError("the Docker driver is not open")
        image = await self._find_image(self._engine, spec.runtime)
        if image is None:
            raise SandboxError(f"the image {self._images.plan(spec.runtime).tag} is not built")
        network = await self._network.mode()
        parts = Parts(host_dir=spec.host_dir, env=image.env)
        try:
            return await self._start(self._engine, spec, parts, network)
        except OSError as error:
            await asyncio.shield(parts.release(self._engine))
            raise SandboxError(f"a sandbox could not be made: {error}") from error
        except BaseException:
            await asyncio.shield(parts.release(self._engine))
            raise

    async def _start(self, engine: Engine, spec: SandboxSpec, parts: Parts, network: str) -> DockerSandbox:
        settings = self._settings
        sockets = _make_folders(spec.host_dir)
        loop = asyncio.get_running_loop()
        with OncePath(sockets, "init.sock") as control_path, OncePath(sockets, "channel.sock") as channel_path:
            # gVisor does not pass a container's descriptors out; there the output has a socket instead of a pipe.
            output_path = OncePath(sockets, "output.sock") if settings.engine_runtime else None
            try:
                runtime_socket = listen(sockets, "runtime.sock")
                parts.runtime_server = await loop.create_unix_server(spec.runtime_api, sock=runtime_socket)
                parts.api_relay = ApiRelay(settings.gateway_address)
                await parts.api_relay.open(listen(sockets, "api.sock"))
                await self._run_container(engine, spec, parts, network)
                control = Control(await control_path.accept(INIT_TIMEOUT_S), lambda: _was_killed(parts))
                parts.control = control
                parts.cgroup = Cgroup.of_process(control.peer_pid)
                channel = parts.channel = await channel_path.accept(INIT_TIMEOUT_S)
                if output_path is not None:
                    parts.output = await output_path.accept(INIT_TIMEOUT_S)
            finally:
                if output_path is not None:
                    output_path.close()
        await self._greet(control, parts)
        sandbox = DockerSandbox(
            engine,
            parts,
            control,
            channel,
            ephemeral_mb=spec.ephemeral_mb,
            share_mb=settings.runtime_share_mb,
            direct_limits=self._direct_limits,
            on_closed=self._sandboxes.discard,
        )
        if spec.cpu_boost:
            control.send(encode_limit(spec.memory_mb * MIB))
        else:
            await sandbox.configure(memory_mb=spec.memory_mb, ephemeral_mb=spec.ephemeral_mb)
        self._sandboxes.add(sandbox)
        return sandbox

    async def _run_container(self, engine: Engine, spec: SandboxSpec, parts: Parts, network: str) -> None:
        settings = self._settings
        tag = self._images.plan(spec.runtime).tag
        config = container_config(
            settings,
            image=tag,
            environment_id=spec.environment_id,
            # The engine's own work inside the new container is slow on a small function's share of a processor.
            sizes=limits(spec.memory_mb, spec.ephemeral_mb, settings.runtime_share_mb, boosted=True),
            ephemeral_mb=spec.ephemeral_mb,
            folder=self._paths.of(spec.host_dir),
            network=network,
        )
        try:
            parts.container_id = await engine.create(f"lambent-{settings.mark}-{spec.environment_id}", config)
        except SandboxError:
            self._known.pop(tag, None)  # it may have been removed since it was seen
            raise
        await engine.start(parts.container_id)

    async def _greet(self, control: Control, parts: Parts) -> None:
        try:
            async with asyncio.timeout(INIT_TIMEOUT_S):
                pipe = await control.hello
        except TimeoutError as error:
            raise SandboxError("init did not say a word in time") from error
        if pipe is not None:
            os.set_blocking(pipe, False)
            parts.output = pipe
        elif parts.output is None:
            raise SandboxError("the container's output cannot be read from here")

    def bootstrap_argv(self, runtime: Runtime, handler: str) -> Sequence[str]:
        """Return our bootstrap, the package's, or a mapped image's own entry point with the handler."""
        if self._images.is_mapped(runtime):
            known = self._known.get(self._images.plan(runtime).tag)
            return (*((known.entrypoint if known else ()) or _AWS_ENTRYPOINT), handler)
        return _BOOTSTRAPS[runtime.language]

    def is_native(self, runtime: Runtime) -> bool:
        """Whether our own bootstrap runs this runtime's handlers here."""
        return runtime.native and not self._images.is_mapped(runtime)

    async def close(self) -> None:
        """End every sandbox, remove the network and its filter, and leave the engine. Idempotent."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        try:
            await asyncio.gather(*(sandbox.close() for sandbox in tuple(self._sandboxes)), return_exceptions=True)
            await remove_containers(engine, self._settings.platform_id)
            if self._network is not None:
                await self._network.close()
        finally:
            await engine.close()


def _make_folders(host_dir: Path) -> Path:
    """Make an environment's folder, closed to everyone else, with what its container sees; returns the sockets'."""
    host_dir.mkdir(mode=0o700, parents=True)
    for name in _FOLDERS:
        folder = host_dir / name
        folder.mkdir()
        folder.chmod(0o755)
    return host_dir / "sock"


def _was_killed(parts: Parts) -> bool:
    usage = parts.cgroup.usage() if parts.cgroup is not None else None
    return usage is not None and usage.kills > 0
