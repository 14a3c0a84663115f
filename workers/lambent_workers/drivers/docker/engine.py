"""The Docker Engine, with a deadline on every call and one kind of error."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiodocker
import aiohttp

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.core.images import ImagePlan

CALL_TIMEOUT_S = 15.0
REMOVE_TIMEOUT_S = 20.0
BUILD_TIMEOUT_S = 600.0
_GONE, _CONFLICT = 404, 409


@dataclass(frozen=True, slots=True)
class Image:
    """What an image says of itself."""

    id: str
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()


@contextlib.asynccontextmanager
async def _asking(what: str, timeout_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise SandboxError(f"{what}: no answer from the Docker Engine within {timeout_s:g} s") from error
    except aiodocker.DockerError as error:
        raise SandboxError(f"{what}: {error.message}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise SandboxError(f"{what}: the Docker Engine cannot be reached: {error}") from error


class Engine:
    """The calls that the driver makes. Every one raises `SandboxError` and nothing else."""

    def __init__(self, docker: aiodocker.Docker) -> None:
        self._docker = docker

    @classmethod
    def connect(cls) -> Engine:
        """Find the engine as Docker's own clients do (`DOCKER_HOST`, the context, the usual sockets).

        Raises:
            SandboxError: no engine is configured and none of the usual sockets is there.
        """
        try:
            return cls(aiodocker.Docker())
        except (AssertionError, ValueError, OSError, aiodocker.DockerError) as error:
            raise SandboxError("no Docker Engine is configured, and none of the usual sockets is there") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._docker.close()

    async def info(self) -> dict[str, Any]:
        """What the engine says of itself."""
        async with _asking("asking the Docker Engine", CALL_TIMEOUT_S):
            return dict(await self._docker.system.info())

    async def image(self, tag: str) -> Image | None:
        """Look at an image; None where the engine does not have it."""
        async with _asking(f"looking at the image {tag}", CALL_TIMEOUT_S):
            try:
                found = await self._docker.images.inspect(tag)
            except aiodocker.DockerError as error:
                if error.status == _GONE:
                    return None
                raise
        config = found.get("Config") or {}
        pairs = (entry.partition("=") for entry in config.get("Env") or ())
        return Image(found["Id"], {name: value for name, _, value in pairs}, tuple(config.get("Entrypoint") or ()))

    async def build(self, plan: ImagePlan) -> None:
        """Build a small image; only the folder of its Dockerfile is sent."""
        folder = plan.dockerfile.split("/")[0]
        context = await asyncio.to_thread(_pack, plan, folder)
        async with _asking(f"building the image {plan.tag}", BUILD_TIMEOUT_S):
            await self._docker.images.build(
                fileobj=context,
                path_dockerfile=plan.dockerfile,
                tag=plan.tag,
                buildargs=plan.buildargs,
                forcerm=True,
                encoding="identity",
            )
        if await self.image(plan.tag) is None:
            raise SandboxError(f"the image {plan.tag} could not be built")

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container; returns its id."""
        async with _asking(f"creating {name}", CALL_TIMEOUT_S):
            container = await self._docker.containers.create(dict(config), name=name)
            return container.id

    async def start(self, container_id: str) -> None:
        """Start a created container."""
        async with _asking(f"starting {container_id[:12]}", CALL_TIMEOUT_S):
            await self._docker.containers.container(container_id).start()

    async def inspect(self, container_id: str) -> dict[str, Any] | None:
        """Look at a container; None where it is gone."""
        async with _asking(f"looking at {container_id[:12]}", CALL_TIMEOUT_S):
            try:
                return await self._docker.containers.container(container_id).show()
            except aiodocker.DockerError as error:
                if error.status == _GONE:
                    return None
                raise

    async def update(self, container_id: str, limits: Mapping[str, int]) -> None:
        """Change a running container's limits."""
        async with _asking(f"changing the limits of {container_id[:12]}", CALL_TIMEOUT_S):
            # aiodocker has no name for this call of the engine's
            await self._docker._query_json(f"containers/{container_id}/update", method="POST", data=dict(limits))

    async def pause(self, container_id: str) -> None:
        """Freeze a container."""
        async with _asking(f"pausing {container_id[:12]}", CALL_TIMEOUT_S):
            await self._docker.containers.container(container_id).pause()

    async def unpause(self, container_id: str) -> None:
        """Undo `pause`."""
        async with _asking(f"resuming {container_id[:12]}", CALL_TIMEOUT_S):
            await self._docker.containers.container(container_id).unpause()

    async def wait(self, container_id: str, timeout_s: float) -> int:
        """Wait until a container has ended; returns its exit status."""
        async with _asking(f"waiting for {container_id[:12]}", timeout_s):
            end = await self._docker.containers.container(container_id).wait()
            return int(end["StatusCode"])

    async def output(self, container_id: str) -> str:
        """Return what a container of ours with a log has printed."""
        async with _asking(f"reading {container_id[:12]}", CALL_TIMEOUT_S):
            return "".join(await self._docker.containers.container(container_id).log(stdout=True, stderr=True))

    async def remove(self, container_id: str) -> None:
        """Kill and remove a container; returns when it is gone, also where the engine removes it by itself."""
        async with _asking(f"removing {container_id[:12]}", REMOVE_TIMEOUT_S):
            wait_s = 0.01
            while True:
                try:
                    await self._docker.containers.container(container_id).delete(force=True, v=True)
                except aiodocker.DockerError as error:
                    if error.status == _GONE:
                        return
                    if error.status != _CONFLICT:
                        raise
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, 0.2)

    async def containers(self, label: str) -> list[str]:
        """Return the ids of all containers with a label, those that have ended too."""
        async with _asking("listing containers", CALL_TIMEOUT_S):
            found = await self._docker.containers.list(all=1, filters=f'{{"label": ["{label}"]}}')
            return [container.id for container in found]

    async def network_exists(self, name: str) -> bool:
        """Whether there is a network of exactly this name."""
        async with _asking(f"looking for the network {name}", CALL_TIMEOUT_S):
            found = await self._docker.networks.list(filters={"name": name})
            return any(network["Name"] == name for network in found)

    async def create_network(self, config: Mapping[str, Any]) -> None:
        """Create a network."""
        async with _asking(f"creating the network {config['Name']}", CALL_TIMEOUT_S):
            await self._docker.networks.create(dict(config))

    async def remove_networks(self, label: str) -> None:
        """Remove every network with a label."""
        async with _asking("removing networks", REMOVE_TIMEOUT_S):
            for network in await self._docker.networks.list(filters={"label": [label]}):
                with contextlib.suppress(aiodocker.DockerError):
                    await (await self._docker.networks.get(network["Id"])).delete()


def _pack(plan: ImagePlan, folder: str) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(plan.context_dir / folder, arcname=folder)
    packed.seek(0)
    return packed
