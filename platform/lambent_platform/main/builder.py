"""Wiring of the builder role."""

from __future__ import annotations

import functools
import sys

import click
import structlog

from lambent_platform.builder.dependencies import DependencyBuilder
from lambent_platform.builder.docker_sandbox import DockerInstallSandbox
from lambent_platform.builder.images import ImageBuilder
from lambent_platform.builder.jobs import Work
from lambent_platform.builder.log import BuildLog
from lambent_platform.builder.stores import open_stores
from lambent_platform.builder.worker import run_builder
from lambent_platform.contracts.build import BuildKind, InstallSandbox
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.contracts.runtimes import Runtime
from lambent_platform.core.images import ImagePlans
from lambent_platform.main import logging
from lambent_platform.main.engine import chosen_sandbox
from lambent_platform.main.folders import FolderError, platform_id
from lambent_platform.main.options import LOGGING, STORES, with_settings
from lambent_platform.main.role import EXIT_SETTINGS, CannotStart, touch
from lambent_platform.main.settings import Settings
from lambent_platform.main.stores import open_objects
from lambent_workers.drivers.process.install import ProcessInstallSandbox
from lambent_workers.images import runtimes_dir

LINGER_S = 5
"""A deployment is an image, then dependencies, then often another deployment: a burst waits for the next job."""
_INSTALLS = ("install_timeout_s", "install_memory_mb", "install_disk_mb")


@click.command()
@with_settings(*STORES, "sandbox", "docker_runtime", "runtime_images", *_INSTALLS, "alive_file", *LOGGING)
@click.option("--burst", is_flag=True, help="End when no job waits any more.")
def builder(settings: Settings, burst: bool) -> None:
    """Run a builder alone: runtime images and dependency installs. Any number of them may share one Redis."""
    logging.configure(settings, role="builder")
    try:
        run(settings, burst=burst)
    except (CannotStart, FolderError) as error:
        sys.stderr.write(f"lambent builder: {error}\n")
        sys.exit(EXIT_SETTINGS)
    except StoreUnavailable as error:
        structlog.get_logger("builder").error("redis is away", reason=str(error))
        sys.exit(1)


def run(settings: Settings, *, burst: bool) -> None:
    """Build until told to end. Blocking, and in the main thread: every build is a fork of this process."""
    if not settings.redis:
        raise CannotStart("a role alone needs --redis URL (or LAMBENT_REDIS); `lambent up` brings its own")
    sandbox, images = _tools(settings)
    dependencies = DependencyBuilder(
        sandbox,
        work_dir=settings.data_dir / "builds",
        ensure=_nothing if images is None else images.ensure,
        memory_mb=settings.install_memory_mb,
        disk_mb=settings.install_disk_mb,
        timeout_s=settings.install_timeout_s,
    )
    work: dict[BuildKind, Work] = {"dependencies": dependencies.build}
    if images is not None:
        work["image"] = images.build
    run_builder(
        jobs_redis=settings.of_jobs_redis(),
        open_stores=functools.partial(
            open_stores, settings.redis, functools.partial(open_objects, settings), partitions=settings.partitions
        ),
        work=work,
        sandbox=sandbox,
        burst=burst,
        linger_s=LINGER_S,
        on_beat=functools.partial(touch, settings),
    )


def _tools(settings: Settings) -> tuple[InstallSandbox, ImageBuilder | None]:
    """Where installs run, and who builds images: nobody where functions are processes."""
    ident = platform_id(settings.data_dir)
    if chosen_sandbox(settings) == "process":
        return ProcessInstallSandbox(platform_id=ident, state_dir=settings.data_dir / "installs"), None
    plans = ImagePlans(runtimes_dir(), settings.runtime_images)
    sandbox = DockerInstallSandbox(
        platform_id=ident, image_tag=lambda runtime: plans.plan(runtime).tag, oci_runtime=settings.docker_runtime
    )
    return sandbox, ImageBuilder(plans.plan)


def _nothing(runtime: Runtime, log: BuildLog) -> None:
    """Interpreters of the machine are there, or the sandbox says that they are not."""
