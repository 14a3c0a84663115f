"""`lambent clock`."""

from __future__ import annotations

import json

import click

from lambent.cli.options import endpoint_options
from lambent.cli.output import age_text
from lambent.clock import ClockTime
from lambent.sync import Client

_Place = tuple[str | None, str | None]
"""Endpoint and region as they were given before the subcommand's name."""
_json = click.option("--json", "as_json", is_flag=True, help="Print {clock, now, offset_ms}.")


@click.group(invoke_without_command=True)
@_json
@endpoint_options
@click.pass_context
def clock(ctx: click.Context, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Show the platform's event time, on which retries, schedules, delays and visibility timeouts go.

    A platform started with `lambent up --clock virtual` has one that can be moved ahead.
    """
    ctx.obj = (endpoint, region)
    if ctx.invoked_subcommand is None:
        with Client(endpoint, region=region) as client:
            _print(client.clock.now(), as_json)


@clock.command()
@click.argument("by", metavar="SPAN")
@_json
@endpoint_options
@click.pass_obj
def advance(before: _Place, by: str, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Move it ahead by SPAN: 90s, 2h, 1h30m (ms, s, m, h, d). What becomes due by that begins at once."""
    with Client(endpoint or before[0], region=region or before[1]) as client:
        _print(client.clock.advance(by), as_json)


@clock.command("set")
@click.argument("to", metavar="TIME")
@_json
@endpoint_options
@click.pass_obj
def set_(before: _Place, to: str, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Move it ahead to TIME: 2027-03-28T00:59:00Z; without a zone it is UTC."""
    with Client(endpoint or before[0], region=region or before[1]) as client:
        _print(client.clock.set(to), as_json)


def _print(time: ClockTime, as_json: bool) -> None:
    now = time.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    kind = "virtual" if time.virtual else "real"
    if as_json:
        offset_ms = round(time.offset.total_seconds() * 1000)
        click.echo(json.dumps({"clock": kind, "now": now, "offset_ms": offset_ms}))
    elif time.virtual:
        click.echo(f"{now}  (virtual, {age_text(time.offset.total_seconds())} ahead)")
    else:
        click.echo(f"{now}  (real)")
