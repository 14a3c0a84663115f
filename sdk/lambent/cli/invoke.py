"""`lambent invoke`."""

from __future__ import annotations

import sys

import click

from lambent.cli.main import EXIT_FAILED
from lambent.cli.options import endpoint_options, read_payload
from lambent.cli.output import log_text
from lambent.sync import Client


@click.command()
@click.argument("name")
@click.option("-d", "--data", metavar="JSON|@FILE|-", help="The event: JSON, a file's content, or standard input.")
@click.option("--async", "asynchronous", is_flag=True, help="Hand the event over and print its request id.")
@click.option("--tail", "--log", "tail", is_flag=True, help="Print the end of its log on standard error.")
@click.option("--qualifier", metavar="VERSION|ALIAS", help="Call a version or an alias rather than the latest.")
@endpoint_options
def invoke(
    name: str,
    data: str | None,
    asynchronous: bool,
    tail: bool,
    qualifier: str | None,
    endpoint: str | None,
    region: str | None,
) -> int:
    """Call a function: its result goes to standard output, its failure makes the exit status 1."""
    payload = read_payload(data)
    with Client(endpoint, region=region) as client:
        if asynchronous:
            click.echo(client.invoke_async(name, raw=payload, qualifier=qualifier))
            return 0
        result = client.call(name, payload, qualifier=qualifier, log_tail=tail)
    if result.log:
        click.echo(log_text(result.log).rstrip("\n"), err=True)
    out = sys.stdout.buffer
    out.write(result.payload)
    if sys.stdout.isatty() or result.payload[-1:] not in (b"\n", b""):
        out.write(b"\n")
    out.flush()
    if not result.function_error:
        return 0
    click.echo(f"lambent: {name} failed: {result.error()}", err=True)
    return EXIT_FAILED
