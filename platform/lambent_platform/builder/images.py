"""Runtime images, built on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import docker
import docker.errors

from lambent_platform.builder.engine import open_engine
from lambent_platform.builder.log import BuildLog
from lambent_platform.builder.problems import BuildFailed, InfrastructureFailed
from lambent_platform.builder.stores import BlockingStores
from lambent_platform.contracts.build import BuildOrder
from lambent_platform.contracts.runtimes import RUNTIMES, Runtime
from lambent_platform.core.images import ImagePlan
from lambent_platform.core.install_failures import of_image

BUILD_SILENCE_S: Final = 600.0
"""How long a step of a build may be silent; the job's own time limit bounds the whole."""
LABEL_RUNTIME: Final = "lambent.runtime"

Plan = Callable[[Runtime], ImagePlan]


class ImageBuilder:
    """Builds the images of runtimes where the engine does not have them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def build(self, order: BuildOrder, stores: BlockingStores, log: BuildLog) -> str:
        """Do an image job; see `jobs.Work`."""
        return self.ensure(RUNTIMES[order.runtime], log)

    def ensure(self, runtime: Runtime, log: BuildLog) -> str:
        """Return the tag of a runtime's image, which the engine has then.

        Raises:
            BuildFailed: its Dockerfile cannot be built.
            InfrastructureFailed: a registry or the network was away.
            SandboxError: the engine was.
        """
        plan = self._plan(runtime)
        with open_engine(timeout_s=BUILD_SILENCE_S) as engine:
            try:
                engine.inspect_image(plan.tag)
            except docker.errors.ImageNotFound:
                log.line(f"Building the image {plan.tag} of {runtime.name}")
                _build(engine, plan, runtime, log)
        return plan.tag


def _build(engine: docker.APIClient, plan: ImagePlan, runtime: Runtime, log: BuildLog) -> None:
    """Run the engine's classic builder; what it leaves half-done it removes itself."""
    messages = engine.build(
        path=str(plan.context_dir),
        dockerfile=plan.dockerfile,
        tag=plan.tag,
        buildargs=dict(plan.buildargs),
        labels={LABEL_RUNTIME: runtime.name},
        rm=True,
        forcerm=True,
        decode=True,
    )
    for message in messages:
        _tell(message, runtime, log)


def _tell(message: dict[str, Any], runtime: Runtime, log: BuildLog) -> None:
    if "error" in message:
        found = of_image(str(message["error"]), log.tail())
        log.line(found.reason)
        reason = f"The image of {runtime.name} could not be built: {found.reason}"
        if found.permanent:
            raise BuildFailed(reason, "InvalidImage")
        raise InfrastructureFailed(reason)
    if "stream" in message:
        log.write(str(message["stream"]).encode())
    elif "status" in message and "progress" not in message:
        log.line(" ".join(str(message[key]) for key in ("id", "status") if key in message))
