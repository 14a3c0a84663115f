"""`lambent ls`, `lambent rm` and `lambent url`."""

from __future__ import annotations

import dataclasses
import json

import click

from lambent.cli.options import endpoint_options
from lambent.cli.output import bytes_text, print_table
from lambent.errors import ResourceNotFound
from lambent.sync import Client


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@endpoint_options
def ls(as_json: bool, endpoint: str | None, region: str | None) -> None:
    """List the functions."""
    with Client(endpoint, region=region) as client:
        functions = sorted(client.functions(), key=lambda function: function.name)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(function) for function in functions], indent=2))
        return
    if not functions:
        click.echo("No functions. `lambent init` makes one, `lambent deploy` brings it here.", err=True)
        return
    print_table(
        ("name", "runtime", "handler", "memory", "timeout", "code", "modified"),
        [
            (
                function.name,
                function.runtime,
                function.handler,
                f"{function.memory_mb} MB",
                f"{function.timeout_s} s",
                bytes_text(function.code_bytes),
                function.last_modified[:19].replace("T", " "),
            )
            for function in functions
        ],
        right=("memory", "timeout", "code"),
    )


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-f", "--force", is_flag=True, help="A function that is not there is no error.")
@endpoint_options
def rm(names: tuple[str, ...], force: bool, endpoint: str | None, region: str | None) -> None:
    """Delete functions, with all their versions."""
    with Client(endpoint, region=region) as client:
        for name in names:
            try:
                client.delete(name)
            except ResourceNotFound:
                if not force:
                    raise
            else:
                click.echo(f"{name} deleted", err=True)


@click.command()
@click.argument("name")
@click.option("--create", is_flag=True, help="Give it a URL, open to all, if it has none.")
@click.option(
    "--stream/--buffered", default=None, help="Let it pass on what the function streams, or wait for all of it."
)
@click.option("--path", is_flag=True, help="Print the form below the endpoint, for clients without wildcard names.")
@click.option("--delete", is_flag=True, help="Take its URL away.")
@endpoint_options
def url(
    name: str,
    create: bool,
    stream: bool | None,
    path: bool,
    delete: bool,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Print a function's URL."""
    if create and delete:
        raise click.UsageError("--create and --delete cannot go together")
    with Client(endpoint, region=region) as client:
        if delete:
            client.delete_url(name)
            click.echo(f"{name} has no URL any more", err=True)
            return
        address = client.url(name, create=create, stream=stream)
        click.echo(client.path_url(name) if path else address)
