"""`lambent invoke`."""

from __future__ import annotations

import sys

import click

from lambent.cli.main import EXIT_FAILED
from lambent.cli.options import endpoint_options, read_payload
from lambent.cli.output import log_text
from lambent.errors import FunctionError
from lambent.sync import Client


@click.command()
@click.argument("name")
@click.option("-d", "--data", metavar="JSON|@FILE|-", help="The event: JSON, a file's content, or standard input.")
@click.option("--async", "asynchronous", is_flag=True, help="Hand the event over and print its request id.")
@click.option("--stream", is_flag=True, help="Print what it answers while it comes.")
@click.option("--tail", "--log", "tail", is_flag=True, help="Print the end of its log on standard error.")
@click.option("--qualifier", metavar="VERSION|ALIAS", help="Call a version or an alias rather than the latest.")
@endpoint_options
def invoke(
    name: str,
    data: str | None,
    asynchronous: bool,
    stream: bool,
    tail: bool,
    qualifier: str | None,
    endpoint: str | None,
    region: str | None,
) -> int:
    """Call a function: its result goes to standard output, its failure makes the exit status 1."""
    if stream and asynchronous:
        raise click.UsageError("--stream and --async cannot go together")
    payload = read_payload(data)
    if stream:
        return _stream(name, payload, qualifier=qualifier, tail=tail, endpoint=endpoint, region=region)
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


def _stream(
    name: str, payload: bytes, *, qualifier: str | None, tail: bool, endpoint: str | None, region: str | None
) -> int:
    out = sys.stdout.buffer
    failure: FunctionError | None = None
    with Client(endpoint, region=region) as client:
        answer = client.invoke_stream(name, raw=payload, qualifier=qualifier, log_tail=tail)
        try:
            for part in answer:
                out.write(part)
                out.flush()
        except FunctionError as error:
            failure = error
    if answer.log:
        click.echo(log_text(answer.log).rstrip("\n"), err=True)
    if failure is None:
        return 0
    click.echo(f"lambent: {name} failed: {failure}", err=True)
    return EXIT_FAILED
