"""What a version still needs before it can be called.

Pure: the version, the fleet and what is known of its builds in, the next step out. The texts of states are ours where
Lambda has no such state; the codes are the model's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from lambent_platform.contracts.build import BuildOrder, BuildRecord
from lambent_platform.contracts.environment import WorkerRecord
from lambent_platform.contracts.function import FunctionVersion

IMAGE_SEEN_MS: Final = 30_000
"""How long after an image was built a worker may take to say that it has it."""
REASON_CHARACTERS_MAX: Final = 1000

READY: Final = "ready"
BUILDABLE: Final = "buildable"


@dataclass(frozen=True, slots=True)
class Runnable:
    """Nothing is missing. `runnable_key` is set where a package was built."""

    runnable_key: str | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """A build must be ordered, or is under way."""

    order: BuildOrder


@dataclass(frozen=True, slots=True)
class Wait:
    """Something outside must happen first: a worker must join, or tell of an image."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It can never be called as it is."""

    reason: str
    code: str


Step = Runnable | Build | Wait | Failed


def image_order(runtime: str, tag: str) -> BuildOrder:
    """Order the image of a runtime, which goes by `tag`."""
    return BuildOrder(id=f"image-{_word(tag)}", kind="image", runtime=runtime)


def dependency_order(version: FunctionVersion) -> BuildOrder:
    """Order the dependencies of a version's package."""
    digest = PurePosixPath(version.code.source_key).stem
    return BuildOrder(
        id=f"dependencies-{digest}-{_word(version.runtime)}",
        kind="dependencies",
        runtime=version.runtime,
        source_key=version.code.source_key,
    )


def _word(text: str) -> str:
    """Letters, digits, dashes and underscores are all that a job's id may have."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


def next_step(
    version: FunctionVersion,
    workers: Sequence[WorkerRecord],
    *,
    image: BuildOrder,
    builds: dict[str, BuildRecord],
) -> Step:
    """Decide what brings a version nearer to being called.

    `image` is the order for its runtime's image, `builds` what is known of builds by their id.
    """
    pool = [worker for worker in workers if worker.pool == version.pool and not worker.draining]
    if not pool:
        return Wait()
    fitting = [worker for worker in pool if worker.architecture == version.architecture]
    if not fitting:
        return Failed(_no_architecture(version, pool), "InvalidConfiguration")
    standings = [worker.runtimes.get(version.runtime, "") for worker in fitting]
    if READY not in standings:
        if BUILDABLE not in standings:
            return Failed(_no_runtime(version, standings), "InvalidRuntime")
        return _image_step(image, builds.get(image.id))
    if not version.code.needs_build or version.code.hot_reload_path:
        return Runnable()
    order = dependency_order(version)
    known = builds.get(order.id)
    if known is not None and known.phase == "succeeded":
        return Runnable(known.result)
    if known is not None and known.phase == "failed":
        return Failed(known.reason, known.reason_code)
    return Build(order)


def _image_step(order: BuildOrder, known: BuildRecord | None) -> Step:
    if known is None or known.phase in ("queued", "running", "waiting"):
        return Build(order)
    if known.phase == "failed":
        return Failed(known.reason, known.reason_code)
    if known.read_at_ms - known.ended_at_ms < IMAGE_SEEN_MS:
        return Wait()
    return Failed(
        f"The image of {order.runtime} was built ({known.result}), but no worker has it: "
        "a builder must use the same container engine as the workers.",
        "InvalidImage",
    )


def _no_architecture(version: FunctionVersion, pool: Sequence[WorkerRecord]) -> str:
    found = ", ".join(sorted({worker.architecture for worker in pool}))
    return f"No worker of the pool '{version.pool}' has the architecture {version.architecture}; found: {found}."


def _no_runtime(version: FunctionVersion, standings: Sequence[str]) -> str:
    told = sorted({standing for standing in standings if standing})
    if not told:
        return f"No worker of the pool '{version.pool}' serves the runtime {version.runtime}."
    return f"The runtime {version.runtime} cannot be served: {'; '.join(told)}"[:REASON_CHARACTERS_MAX]


RETRY_DELAYS_S: Final = (1, 3, 10, 30, 60)
ATTEMPTS_MAX: Final = len(RETRY_DELAYS_S) + 1


def retry_delay_s(attempts: int) -> int | None:
    """Seconds until a build is tried again that infrastructure has failed `attempts` times; None: never."""
    return RETRY_DELAYS_S[attempts - 1] if attempts < ATTEMPTS_MAX else None
