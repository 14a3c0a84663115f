"""`lambent operations`: which operations of AWS's APIs are served, and which answer 501."""

from __future__ import annotations

import json

import click

from lambent_platform.gateway.aws.catalog import ServiceCatalog, coverage
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.main.gateway import SERVED


@click.command()
@click.argument("service", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print {service: {served: [...], not_served: [...]}}.")
def operations(service: str | None, as_json: bool) -> None:
    """List the operations of each AWS service that this platform speaks, as their models name them."""
    table = served_operations()
    if service is not None:
        if service not in table:
            raise click.ClickException(f"{service} is not spoken here; there are {', '.join(table)}")
        table = {service: table[service]}
    if as_json:
        click.echo(json.dumps({name: {"served": yes, "not_served": no} for name, (yes, no) in table.items()}, indent=2))
        return
    for name, (yes, no) in table.items():
        click.echo(f"{name}: {len(yes)} of {len(yes) + len(no)} operations")
        for operation in yes:
            click.echo(f"  served      {operation}")
        for operation in no:
            click.echo(f"  not served  {operation}")


def served_operations() -> dict[str, tuple[list[str], list[str]]]:
    """Service → (operations served, operations that answer 501), each sorted."""
    registry = Registry()
    for service, implementations in SERVED.items():
        for implementation in implementations:
            # The marks are on the classes already: nothing has to be opened to list them.
            registry.serve(service, implementation)
    return coverage(ServiceCatalog(), registry)
