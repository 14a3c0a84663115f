"""`lambent triggers`: what calls functions by itself, queues and streams."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import click

from lambent.cli.options import Duration, endpoint_options
from lambent.cli.output import print_table
from lambent.cli.session import with_services
from lambent.deployment import function_path
from lambent.errors import ResourceNotFound
from lambent.services import Services, segment

_MAPPINGS: Final = "/2015-03-31/event-source-mappings"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@click.group()
def triggers() -> None:
    """Triggers: event source mappings, from queues and Redis streams to functions.

    A trigger is named by its id, or by its function where that has one trigger alone.
    """


@triggers.command()
@click.argument("function", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, as Lambda's API describes them.")
@endpoint_options
def ls(function: str | None, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """List the triggers, of all functions or of one."""

    async def read(services: Services) -> list[dict[str, Any]]:
        if function is not None:
            await services.rest("lambda", "GET", function_path(function) + "/configuration")
        return await _all(services, function)

    found = with_services(endpoint, region, read)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("No triggers. `lambent triggers create FUNCTION --queue NAME` makes one.", err=True)
        return
    print_table(
        ("function", "source", "batch", "state", "last result", "id"),
        [
            (
                _function(each),
                _source(each),
                str(each.get("BatchSize", "")),
                str(each.get("State", "")),
                str(each.get("LastProcessingResult", "")),
                str(each["UUID"]),
            )
            for each in sorted(found, key=lambda each: (_function(each), _source(each)))
        ],
        right=("batch",),
    )


@triggers.command()
@click.argument("function")
@click.option("--queue", metavar="NAME|ARN", help="The queue that feeds it.")
@click.option("--stream", metavar="KEY|ARN", help="The Redis stream that feeds it.")
@click.option("--batch-size", type=int, metavar="N", help="Most messages of one call (10; of a stream 100).")
@click.option("--window", type=Duration(), help="How long a batch is waited for until it is full (0s).")
@click.option("--filter", "filters", multiple=True, metavar="JSON", help="An event pattern; repeat: any of them.")
@click.option("--report-failures", is_flag=True, help="The function says which of a batch failed.")
@click.option("--max-concurrency", type=int, metavar="N", help="Most calls at once, 2 to 1000.")
@click.option("--from", "start", type=click.Choice(["latest", "trim_horizon"]), default="trim_horizon",
              show_default=True, help="Where a stream is begun.")  # fmt: skip
@click.option("--bisect", is_flag=True, help="Of a stream: halve a batch that fails.")
@click.option("--max-retries", type=int, metavar="N", help="Of a stream: how often a batch is tried again.")
@click.option("--dead-letter", metavar="ARN", help="Of a stream: where what fails for good goes.")
@click.option("--disabled", is_flag=True, help="Make it, and let it wait.")
@endpoint_options
def create(
    function: str,
    queue: str | None,
    stream: str | None,
    batch_size: int | None,
    window: float | None,
    filters: tuple[str, ...],
    report_failures: bool,
    max_concurrency: int | None,
    start: str,
    bisect: bool,
    max_retries: int | None,
    dead_letter: str | None,
    disabled: bool,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Let a queue or a stream call FUNCTION, and print the trigger's id."""
    if (queue is None) == (stream is None):
        raise click.UsageError("name what feeds it: either --queue or --stream")
    body: dict[str, Any] = {"FunctionName": function, "Enabled": not disabled}
    if batch_size is not None:
        body["BatchSize"] = batch_size
    if window is not None:
        body["MaximumBatchingWindowInSeconds"] = int(window)
    if filters:
        body["FilterCriteria"] = {"Filters": [{"Pattern": each} for each in filters]}
    if report_failures:
        body["FunctionResponseTypes"] = ["ReportBatchItemFailures"]
    if max_concurrency is not None:
        body["ScalingConfig"] = {"MaximumConcurrency": max_concurrency}
    if stream is not None:
        body["StartingPosition"] = start.upper()
        body["BisectBatchOnFunctionError"] = bisect or None
        body["MaximumRetryAttempts"] = max_retries
        body["DestinationConfig"] = {"OnFailure": {"Destination": dead_letter}} if dead_letter else None
    elif bisect or max_retries is not None or dead_letter is not None:
        raise click.UsageError("--bisect, --max-retries and --dead-letter are for streams: a queue has its own")

    async def make(services: Services) -> str:
        given = str(queue if queue is not None else stream)
        if not given.startswith("arn:"):
            place = f"{services.region}:{await services.account()}"
            given = f"arn:aws:sqs:{place}:{given}" if queue else f"arn:aws:redis-streams:{place}:stream/{given}"
        sent = {"EventSourceArn": given, **{key: value for key, value in body.items() if value is not None}}
        return str((await services.rest("lambda", "POST", _MAPPINGS, sent))["UUID"])

    click.echo(with_services(endpoint, region, make))


@triggers.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, as Lambda's API describes it.")
@endpoint_options
def show(name: str, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Show everything about a trigger, with what became of the last batch."""
    found = with_services(endpoint, region, lambda services: _find(services, name))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in sorted(found.items())]
    print_table(("field", "value"), rows)


@triggers.command()
@click.argument("name")
@endpoint_options
def enable(name: str, endpoint: str | None, region: str | None) -> None:
    """Let a trigger call its function."""
    _switch(name, True, endpoint, region)


@triggers.command()
@click.argument("name")
@endpoint_options
def disable(name: str, endpoint: str | None, region: str | None) -> None:
    """Let a trigger wait; what is sent meanwhile stays where it is."""
    _switch(name, False, endpoint, region)


@triggers.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@endpoint_options
def rm(names: tuple[str, ...], endpoint: str | None, region: str | None) -> None:
    """Delete triggers; queues, streams and functions stay."""

    async def remove(services: Services) -> None:
        for name in names:
            uuid = (await _find(services, name))["UUID"]
            await services.rest("lambda", "DELETE", f"{_MAPPINGS}/{segment(uuid)}")
            click.echo(f"{uuid} deleted", err=True)

    with_services(endpoint, region, remove)


def _switch(name: str, enabled: bool, endpoint: str | None, region: str | None) -> None:
    async def change(services: Services) -> dict[str, Any]:
        uuid = (await _find(services, name))["UUID"]
        return await services.rest("lambda", "PUT", f"{_MAPPINGS}/{segment(uuid)}", {"Enabled": enabled})

    changed = with_services(endpoint, region, change)
    click.echo(f"{changed['UUID']} is {str(changed.get('State', '')).lower()}", err=True)


async def _all(services: Services, function: str | None = None) -> list[dict[str, Any]]:
    query = {} if function is None else {"FunctionName": function}
    pages = services.pages("lambda", _MAPPINGS, "EventSourceMappings", ("NextMarker", "Marker"), query)
    return [each async for each in pages]


async def _find(services: Services, name: str) -> dict[str, Any]:
    """Return a trigger by its id, or by the function that has it alone."""
    if _UUID.fullmatch(name):
        return await services.rest("lambda", "GET", f"{_MAPPINGS}/{name}")
    found = await _all(services, name)
    if not found:
        raise ResourceNotFound(f"{name} has no trigger, and is no trigger's id")
    if len(found) > 1:
        ids = ", ".join(f"{each['UUID']} ({_source(each)})" for each in found)
        raise click.UsageError(f"{name} has {len(found)} triggers, name one by its id: {ids}")
    return found[0]


def _function(mapping: Mapping[str, Any]) -> str:
    return str(mapping.get("FunctionArn", "")).partition(":function:")[2]


def _source(mapping: Mapping[str, Any]) -> str:
    """Return a source as people call it: `queue jobs`, `stream orders`."""
    arn = str(mapping.get("EventSourceArn", ""))
    kind, _, name = arn.partition(":stream/")
    if name:
        return f"stream {name}" if ":redis-streams:" in kind else arn
    return f"queue {arn.rpartition(':')[2]}" if ":sqs:" in arn else arn
