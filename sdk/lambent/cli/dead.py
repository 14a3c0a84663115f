"""`lambent dead`: what failed for good, of functions and of queues alike."""

from __future__ import annotations

import dataclasses
import json

import click

from lambent.cli.options import endpoint_options
from lambent.cli.output import bytes_text, count_text, print_table
from lambent.dead import DeadEvent, DeadMessage
from lambent.errors import ResourceNotFound
from lambent.sync import Client

_PREVIEW_CHARACTERS = 60
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_queue = click.option("--queue", "as_queue", is_flag=True, help="NAME is a queue, though a function is called so too.")


@click.group()
def dead() -> None:
    """Look at dead events of functions and at dead-letter queues, send them again, or remove them.

    NAME is a function's name, or a queue's name, ARN or URL.
    """


@dead.command("ls")
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Most messages of a queue.")
@_queue
@_json
@endpoint_options
def ls(name: str | None, limit: int, as_queue: bool, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """List what is dead: of NAME, or all functions and queues that have something."""
    with Client(endpoint, region=region) as client:
        if name is None:
            _list_all(client, as_json)
        elif _is_queue(client, name, as_queue):
            _list_messages(client.dead.messages(name, limit=limit), as_json)
        else:
            _list_events(client.dead.events(name), as_json)


def _list_all(client: Client, as_json: bool) -> None:
    functions, queues = client.dead.functions(), client.dead.queues()
    if as_json:
        data = {"functions": functions, "queues": [dataclasses.asdict(queue) for queue in queues]}
        click.echo(json.dumps(data, indent=2))
        return
    rows = [(name, "function", str(count), "") for name, count in functions.items()]
    rows += [(one.name, "queue", str(one.messages), ", ".join(one.sources)) for one in queues]
    if not rows:
        click.echo("Nothing is dead, and there is no dead-letter queue.", err=True)
        return
    print_table(("name", "kind", "dead", "of"), rows, right=("dead",))


def _list_events(events: list[DeadEvent], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(event) for event in events], indent=2))
        return
    if not events:
        click.echo("No dead events.", err=True)
        return
    print_table(
        ("id", "died", "attempts", "size", "reason", "payload"),
        [
            (
                event.id,
                event.died_at[:19].replace("T", " "),
                str(event.attempts),
                bytes_text(event.payload_bytes),
                event.reason,
                _preview(event.payload_preview),
            )
            for event in events
        ],
        right=("attempts", "size"),
    )


def _list_messages(messages: list[DeadMessage], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(message) for message in messages], indent=2))
        return
    if not messages:
        click.echo("No messages.", err=True)
        return
    print_table(
        ("id", "received", "size", "reason", "body"),
        [
            (
                message.id,
                message.attributes.get("ApproximateReceiveCount", ""),
                bytes_text(len(message.body.encode())),
                _preview(message.message_attributes.get("ErrorMessage", "")),
                _preview(message.body),
            )
            for message in messages
        ],
        right=("received", "size"),
    )


@dead.command()
@click.argument("name")
@click.argument("item", metavar="ID")
@_queue
@_json
@endpoint_options
def show(name: str, item: str, as_queue: bool, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Show one dead event or message of NAME with its whole payload."""
    with Client(endpoint, region=region) as client:
        if _is_queue(client, name, as_queue):
            found = next((one for one in client.dead.messages(name, limit=1000) if one.id == item), None)
            if found is None:
                raise ResourceNotFound(f"{name} has no message {item} among the first 1000.")
            data, payload = dataclasses.asdict(found), found.body
            del data["body"]
        else:
            event = client.dead.event(name, item)
            data, payload = dataclasses.asdict(event), event.payload or event.payload_preview
            del data["payload"], data["payload_preview"]
    if as_json:
        click.echo(json.dumps({**data, "payload": payload}, indent=2))
        return
    for key, value in data.items():
        text = ", ".join(f"{name}={one}" for name, one in value.items()) if isinstance(value, dict) else str(value)
        if text:
            click.echo(f"{key.replace('_', ' ')}: {text}", err=True)
    click.echo(payload)


@dead.command()
@click.argument("name")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--to", metavar="QUEUE", help="Move a queue's messages there instead of where they came from.")
@_queue
@endpoint_options
def redrive(
    name: str, ids: tuple[str, ...], to: str | None, as_queue: bool, endpoint: str | None, region: str | None
) -> int:
    """Send what is dead again: events as new ones with fresh attempts, messages back to their queue.

    Without IDs all that NAME has; messages of a queue are always moved all.
    """
    with Client(endpoint, region=region) as client:
        if _is_queue(client, name, as_queue):
            if ids:
                raise click.UsageError("messages of a queue are moved all at once, without ids")
            moved = client.dead.redrive_queue(name, to=to)
            click.echo(f"{count_text(moved, 'message')} moved", err=True)
            return 0
        if to is not None:
            raise click.UsageError("--to is for queues: a function's events go to the function")
        redriven = client.dead.redrive(name, ids or None)
    click.echo(f"{count_text(redriven.count, 'event')} sent again", err=True)
    for event_id, reason in redriven.failed.items():
        click.echo(f"{event_id} stays dead: {reason}", err=True)
    return 1 if redriven.failed else 0


@dead.command()
@click.argument("name")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_queue
@endpoint_options
def purge(name: str, ids: tuple[str, ...], yes: bool, as_queue: bool, endpoint: str | None, region: str | None) -> None:
    """Remove what is dead for good: the events with these IDs, or all that NAME has."""
    with Client(endpoint, region=region) as client:
        queue = _is_queue(client, name, as_queue)
        if queue and ids:
            raise click.UsageError("a queue is purged as a whole, without ids")
        if not yes and not ids:
            click.confirm(f"Remove all that is dead of {name}?", abort=True, err=True)
        if queue:
            client.dead.purge_queue(name)
            click.echo(f"{name} is purged", err=True)
        else:
            click.echo(f"{count_text(client.dead.purge(name, ids or None), 'event')} removed", err=True)


def _is_queue(client: Client, name: str, as_queue: bool) -> bool:
    """Whether NAME means a queue: said so, by its form, or because no function is called so."""
    if as_queue or "://" in name or name.startswith("arn:aws:sqs:"):
        return True
    if name in client.dead.functions():
        return False
    try:
        client.function(name)
    except ResourceNotFound:
        if client.dead.is_queue(name):
            return True
        raise ResourceNotFound(f"There is neither a function nor a queue {name}.") from None
    return False


def _preview(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PREVIEW_CHARACTERS else line[: _PREVIEW_CHARACTERS - 1] + "…"
