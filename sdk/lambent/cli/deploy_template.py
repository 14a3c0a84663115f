"""`lambent deploy` of a SAM template."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from lambent.cli.steps import StepLines, confirmed, print_plan
from lambent.connection import Connection
from lambent.deployment import OnProgress
from lambent.errors import LambentError
from lambent.services import Services
from lambent.stacks import default_stack_name
from lambent.template.deploying import Progressing, StackDeployment
from lambent.template.plan import Plan
from lambent.template.samconfig import read_samconfig
from lambent.template.stack import Environment, Stack, load_stack
from lambent.transport import Transport

_AWS_HOST: Final = re.compile(r"(http|ws)s?://([a-z0-9]+)\.execute-api\.([a-z0-9-]+)\.amazonaws\.com")
_ANY_HOST: Final = re.compile(
    r"(http|ws)s?://([a-z0-9]+)\.execute-api\.[a-z0-9-]+\.(?:amazonaws\.com|localhost(?::\d+)?)"
)


def deploy_template(
    file: Path,
    *,
    stack_name: str | None,
    sam_environment: str,
    parameters: Mapping[str, str],
    only_plan: bool,
    yes: bool,
    adopt: bool,
    as_json: bool,
    wait_s: float,
    verbose: bool,
    endpoint: str | None,
    region: str | None,
    on_progress: OnProgress,
) -> None:
    """Plan, ask, deploy, print the outputs."""
    config = read_samconfig(file.parent, sam_environment)
    name = stack_name or default_stack_name(file, config)
    connection = Connection.find(endpoint=endpoint, region=region)

    transport = Transport(connection)
    services = Services(transport)

    async def make_plan() -> tuple[StackDeployment, Stack, Plan]:
        async with transport:
            environment = Environment(name, await services.account(), services.region)
            stack = load_stack(file, environment, {**config.parameters, **parameters})
            progress = Progressing(StepLines().show, on_progress)
            deployment = StackDeployment(services, stack, adopt=adopt, timeout_s=wait_s, progress=progress)
            return deployment, stack, await deployment.plan()

    async def carry_out() -> dict[str, str]:
        async with transport:
            return await deployment.apply(plan)

    # Two loops: nothing of the first one waits, and no connection grows old, while a person thinks.
    deployment, stack, plan = asyncio.run(make_plan())
    title = f"Stack {name} from {file}, at {connection.endpoint} ({connection.region}):"
    print_plan(plan, title, stack.secrets, verbose=verbose, quiet=as_json)
    if only_plan:
        return
    if plan.changes_anything and not confirmed("Deploy it?", yes=yes):
        click.echo("Nothing was changed.", err=True)
        return
    try:
        outputs = asyncio.run(carry_out())
    except LambentError:
        click.echo("It stopped: what was done is kept, and the next deployment goes on from there.", err=True)
        raise
    if plan.changes_anything:
        click.echo(f"{name} is deployed", err=True)
    _print_outputs(outputs, connection.endpoint, stack.secrets, as_json=as_json)


def _print_outputs(outputs: Mapping[str, str], endpoint: str, secrets: frozenset[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dict(outputs), indent=2))
        return
    for name, value in outputs.items():
        for secret in secrets:
            value = value.replace(secret, "****")
        click.echo(f"{name} = {value}")
        local, path = here(value, endpoint), by_path(value, endpoint)
        if local != value:
            click.echo(f"  here: {local}")
        if path is not None:
            click.echo(f"  also at {path}")


def here(value: str, endpoint: str) -> str:
    """Return an output with AWS's hosts of APIs as they are called here."""
    scheme, _, place = endpoint.partition("://")
    port = place.rpartition(":")[2] if ":" in place else ""
    secure = scheme == "https"

    def local(match: re.Match[str]) -> str:
        kind = match[1] + ("s" if secure else "")
        return f"{kind}://{match[2]}.execute-api.{match[3]}.localhost" + (f":{port}" if port else "")

    return _AWS_HOST.sub(local, value)


def by_path(value: str, endpoint: str) -> str | None:
    """Return the first address of an API in an output as clients reach it that resolve no names below localhost."""
    match = _ANY_HOST.search(value)
    return None if match is None or match[1] == "ws" else f"{endpoint}/_api/{match[2]}{value[match.end() :]}"
