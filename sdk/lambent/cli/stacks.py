"""`lambent stacks` and `lambent destroy`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import click

from lambent.cli.options import endpoint_options
from lambent.cli.output import print_table
from lambent.cli.steps import StepLines, confirmed, print_plan
from lambent.connection import Connection
from lambent.errors import ResourceNotFound, SpecError
from lambent.services import Services
from lambent.stacks import default_stack_name
from lambent.template.deploying import Progressing, StackRemoval
from lambent.template.plan import Plan
from lambent.template.record import StackRecord
from lambent.template.record_keeping import RecordKeeper
from lambent.template.stack import FILE_NAMES, STACK_NAME, Environment
from lambent.transport import Transport


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an array, or with NAME an object.")
@endpoint_options
def stacks(name: str | None, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """List the stacks that were deployed from templates; with NAME, its resources and outputs."""

    async def read() -> list[StackRecord]:
        async with Transport(Connection.find(endpoint=endpoint, region=region)) as transport:
            keeper = RecordKeeper(transport)
            names = [_named(name)] if name is not None else await keeper.names()
            found = [await keeper.load(each) for each in names]
            return [each for each in found if each is not None]

    records = asyncio.run(read())
    if name is not None:
        if not records:
            raise _none(name)
        _print_one(records[0], as_json=as_json)
        return
    if as_json:
        click.echo(json.dumps([_summary(each) for each in records], indent=2))
        return
    if not records:
        click.echo("No stacks. `lambent deploy` makes one of a template.yaml.", err=True)
        return
    print_table(
        ("name", "resources", "state"),
        [(each.name, str(len(each.resources)), _state(each)) for each in records],
        right=("resources",),
    )


@click.command()
@click.argument("name", required=False)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would be removed, and stop.")
@endpoint_options
def destroy(name: str | None, yes: bool, only_plan: bool, endpoint: str | None, region: str | None) -> None:
    """Remove a stack with everything that it made; without NAME, the one that this folder deploys to."""
    stack = _named(name or default_stack_name(Path(FILE_NAMES[0])))
    connection = Connection.find(endpoint=endpoint, region=region)

    transport = Transport(connection)
    services = Services(transport)

    async def make_plan() -> tuple[StackRemoval, Plan | None]:
        async with transport:
            environment = Environment(stack, await services.account(), services.region)
            removal = StackRemoval(services, environment, progress=Progressing(StepLines().show))
            return removal, await removal.plan()

    async def carry_out() -> None:
        async with transport:
            await removal.apply()

    removal, plan = asyncio.run(make_plan())
    if plan is None:
        raise _none(stack)
    print_plan(plan, f"Stack {stack}, at {connection.endpoint} ({connection.region}):", frozenset())
    if only_plan:
        return
    if not confirmed(f"Remove {stack}?", yes=yes):
        click.echo("Nothing was changed.", err=True)
        return
    asyncio.run(carry_out())
    click.echo(f"{stack} is removed", err=True)


def _named(name: str) -> str:
    if STACK_NAME.fullmatch(name) is None:
        raise SpecError(f"{name!r} is no name of a stack (a letter, then letters, digits and -, at most 128)")
    return name


def _none(name: str) -> ResourceNotFound:
    return ResourceNotFound(f"Stack not found: {name}")


def _state(record: StackRecord) -> str:
    return "deployed" if record.complete else "incomplete: deploy it again"


def _summary(record: StackRecord) -> dict[str, object]:
    return {"name": record.name, "resources": len(record.resources), "complete": record.complete}


def _print_one(record: StackRecord, *, as_json: bool) -> None:
    resources = list(record.resources.values())
    if as_json:
        data = {
            **_summary(record),
            "resources": [dataclasses.asdict(each) for each in resources],
            "outputs": record.outputs,
        }
        click.echo(json.dumps(data, indent=2))
        return
    print_table(
        ("resource", "type", "name", "state"),
        [(each.logical_id, each.type, each.name, each.state) for each in (*resources, *record.leaving)],
    )
    for key, value in record.outputs.items():
        click.echo(f"{key} = {value}")
