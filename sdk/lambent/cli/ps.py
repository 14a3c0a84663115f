"""`lambent ps`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import click

from lambent.cli.options import endpoint_options
from lambent.cli.output import age_text, count_text, print_table
from lambent.records import Environment
from lambent.sync import Client

_NAMED_AT_REST = 20
"""How many functions at rest are named; of the others only the number is said."""


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; `function` is null for a stem.")
@endpoint_options
def ps(name: str | None, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Show execution environments, the stems that wait for any function, and the functions at rest."""
    with Client(endpoint, region=region) as client:
        if name is not None:
            client.function(name)
        running = [each for each in client.environments() if name is None or each.function == name]
        if as_json:
            click.echo(json.dumps([dataclasses.asdict(each) for each in running], indent=2))
            return
        names = [name] if name is not None else sorted(function.name for function in client.functions())
    environments = [each for each in running if each.function is not None]
    stems = [each for each in running if each.function is None]
    if environments:
        _print(environments)
    if stems:
        click.echo("\nStems:" if environments else "Stems:")
        _print(stems)
    at_rest = [each for each in names if each not in {environment.function for environment in environments}]
    if environments or stems:
        click.echo()
    for each in at_rest[:_NAMED_AT_REST]:
        click.echo(f"{each}: 0 environments")
    if len(at_rest) > _NAMED_AT_REST:
        click.echo(f"{len(at_rest) - _NAMED_AT_REST} more functions: 0 environments")
    counts = {"function": len(names), "environment": len(environments), "stem": len(stems)}
    click.echo(", ".join(count_text(number, noun) for noun, number in counts.items()))


def _print(running: Sequence[Environment]) -> None:
    columns = ("function", "version", "state", "worker", "age", "memory", "container")
    rows = [
        (
            each.function or "",
            each.version or "",
            each.state,
            each.worker,
            age_text(each.age_s),
            f"{each.memory_mb} MB",
            each.container,
        )
        for each in sorted(running, key=lambda each: (each.function or "", -each.age_s))
    ]
    # A stem has neither a function nor a version.
    first = 0 if any(each.function for each in running) else 2
    print_table(columns[first:], [row[first:] for row in rows], right=("age", "memory"))
