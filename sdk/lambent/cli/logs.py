"""`lambent logs`."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from lambent.cli.options import Duration, endpoint_options
from lambent.cli.output import log_text
from lambent.logs import ago_ms
from lambent.records import LogEvent
from lambent.sync import Client


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on and print lines as they come, until Ctrl-C.")
@click.option("--since", type=Duration(), default="10m", show_default=True, help="How far back: 90s, 10m, 2h, 1d.")
@click.option("-t", "--timestamps", is_flag=True, help="Put its time in front of every line.")
@click.option("--build", is_flag=True, help="Print the log of the last dependency build instead.")
@endpoint_options
def logs(
    name: str, follow: bool, since: float, timestamps: bool, build: bool, endpoint: str | None, region: str | None
) -> None:
    """Print a function's log, oldest line first."""
    with Client(endpoint, region=region) as client:
        if build:
            click.echo(client.build_log(name), nl=False)
            return
        # A name that does not exist would otherwise look like a function that said nothing.
        client.function(name)
        for event in client.logs(name, start_ms=ago_ms(since), follow=follow):
            click.echo(_line(event, timestamps))
            if follow:
                sys.stdout.flush()


def _line(event: LogEvent, timestamps: bool) -> str:
    message = log_text(event.message).rstrip("\n")
    if not timestamps:
        return message
    at = datetime.fromtimestamp(event.timestamp_ms / 1000).astimezone()
    return f"{at.isoformat(timespec='milliseconds')} {message}"
