"""`lambent runtimes`: what functions can be written in on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import click

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.images import ImagePlans
from lambent_platform.main.engine import chosen_sandbox, engine_answers
from lambent_platform.main.options import with_settings
from lambent_platform.main.settings import Settings
from lambent_workers.drivers.docker.engine import Engine
from lambent_workers.drivers.process.interpreters import Interpreters
from lambent_workers.images import runtimes_dir


@click.command()
@with_settings("sandbox", "runtime_images")
@click.option("--json", "as_json", is_flag=True, help="Print {runtime: {docker: …, process: …}}.")
def runtimes(settings: Settings, as_json: bool) -> None:
    """List the runtimes, and whether this machine has them in containers and as processes.

    `ready`: there now; `buildable`: its image is built when a function first wants it. No platform need run.
    """
    docker, process = asyncio.run(find(settings))
    if as_json:
        table = {name: {"docker": docker[name], "process": process[name]} for name in RUNTIMES}
        click.echo(json.dumps(table, indent=2))
        return
    widths = [max(map(len, column)) + 2 for column in (RUNTIMES, docker.values())]
    for name, in_docker, as_process in [("", "docker", "process"), *((n, docker[n], process[n]) for n in RUNTIMES)]:
        click.echo(f"{name:{widths[0]}}{in_docker:{widths[1]}}{as_process}")
    click.echo(f"\n`lambent up` would take --sandbox {chosen_sandbox(settings)}.")


async def find(settings: Settings) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """For each runtime, how it stands with containers and with processes."""
    interpreters = await Interpreters.find()
    process = {name: interpreters.describe(runtime) for name, runtime in RUNTIMES.items()}
    if not engine_answers():
        return dict.fromkeys(RUNTIMES, "no Docker Engine answers"), process
    plans = ImagePlans(runtimes_dir(), settings.runtime_images)
    engine = Engine.connect()
    try:
        docker = {
            name: "ready" if await engine.image(plans.plan(runtime).tag) else "buildable"
            for name, runtime in RUNTIMES.items()
        }
    except SandboxError as error:
        docker = dict.fromkeys(RUNTIMES, str(error))
    finally:
        await engine.close()
    return docker, process
