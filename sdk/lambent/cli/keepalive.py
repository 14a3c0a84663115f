"""`lambent keepalive`."""

from __future__ import annotations

import dataclasses
import json

import click

from lambent.cli.options import endpoint_options
from lambent.cli.output import age_text, count_text
from lambent.records import KeepAlive
from lambent.sync import Client


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object; `hit_rate` is between 0 and 1, or null.")
@endpoint_options
def keepalive(name: str, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Show how long a function is kept while it is idle, from what that follows, and how its calls fared."""
    with Client(endpoint, region=region) as client:
        found = client.keep_alive(name)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    click.echo(f"{found.function}: {window_text(found)}")
    click.echo(f"because   {reason_text(found)}")
    idle = "not known" if found.idle_s is None else f"{age_text(found.idle_s)} ago"
    click.echo(f"last call {idle}")
    rate = "none yet" if found.hit_rate is None else f"{found.hit_rate:.0%} found it ready"
    click.echo(f"returns   {rate} ({found.warm} warm, {found.cold} cold)")


def window_text(found: KeepAlive) -> str:
    """Say when an environment is kept."""
    if found.from_s > 0:
        return (
            f"kept for {age_text(found.linger_s)} after a call, "
            f"and again from {age_text(found.from_s)} to {age_text(found.until_s)} after it"
        )
    return f"kept for {age_text(found.until_s)} after a call"


def reason_text(found: KeepAlive) -> str:
    """Say what that follows from."""
    pauses = count_text(found.observations, "pause")
    return {
        "history": f"of its history: {pauses} between its calls",
        "default": f"too little is known of it yet: {pauses} between its calls",
    }.get(found.policy, "the platform keeps every function so long (--keep-alive fixed)")
