"""`lambent queues`: make them, send to them, look into them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click

from lambent.cli.options import Duration, Variable, endpoint_options, read_payload
from lambent.cli.output import print_table
from lambent.cli.session import with_services
from lambent.errors import ApiError
from lambent.services import Services

_MISSING: Final = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
_BATCH: Final = 10
_WAIT_S_MAX: Final = 20
_PAGE: Final = 1000
_COUNTS: Final = {
    "visible": "ApproximateNumberOfMessages",
    "in flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


@click.group()
def queues() -> None:
    """Queues: SQS's, on this platform."""


@queues.command()
@click.argument("prefix", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@endpoint_options
def ls(prefix: str | None, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """List the queues, with how much is in them."""

    async def read(services: Services) -> list[tuple[str, dict[str, str]]]:
        urls: list[str] = []
        token: str | None = None
        while True:
            page = await services.call("sqs", "ListQueues", QueueNamePrefix=prefix, MaxResults=_PAGE, NextToken=token)
            urls += page.get("QueueUrls", [])
            token = page.get("NextToken")
            if not token:
                break
        gate = asyncio.Semaphore(_BATCH)

        async def one(url: str) -> tuple[str, dict[str, str]] | None:
            async with gate:
                try:
                    return url, await _attributes(services, url)
                except ApiError as error:
                    # Deleted between the list and the look.
                    if error.code in _MISSING:
                        return None
                    raise

        found = await asyncio.gather(*map(one, urls))
        return sorted((each for each in found if each is not None), key=lambda each: _name(each[0]))

    found = with_services(endpoint, region, read)
    if as_json:
        rows = [{"name": _name(url), "url": url, "attributes": attributes} for url, attributes in found]
        click.echo(json.dumps(rows, indent=2))
        return
    if not found:
        click.echo("No queues. `lambent queues create NAME` makes one.", err=True)
        return
    print_table(
        ("name", *_COUNTS, "visibility", "dead letters go to"),
        [
            (
                _name(url),
                *(attributes.get(key, "0") for key in _COUNTS.values()),
                f"{attributes.get('VisibilityTimeout', '')} s",
                _dead_letters(attributes),
            )
            for url, attributes in found
        ],
        right=(*_COUNTS, "visibility"),
    )


@queues.command()
@click.argument("name")
@click.option("--fifo", is_flag=True, help="First in, first out, by groups; the name gets .fifo where it lacks it.")
@click.option("--deduplicate", is_flag=True, help="Of a FIFO queue: tell messages apart by their content.")
@click.option("--visibility", type=Duration(), help="How long a received message is hidden (30s).")
@click.option("--delay", type=Duration(), help="How long a sent message is hidden (0s).")
@click.option("--retention", type=Duration(), help="How long a message is kept (4d).")
@click.option("--dead-letter", "dead_letter", metavar="QUEUE", help="Where what is received too often goes.")
@click.option("--max-receives", type=int, default=5, show_default=True, help="How often that is.")
@click.option("--set", "more", type=Variable(), multiple=True, metavar="NAME=VALUE", help="Another attribute; repeat.")
@endpoint_options
def create(
    name: str,
    fifo: bool,
    deduplicate: bool,
    visibility: float | None,
    delay: float | None,
    retention: float | None,
    dead_letter: str | None,
    max_receives: int,
    more: tuple[tuple[str, str], ...],
    endpoint: str | None,
    region: str | None,
) -> None:
    """Make a queue, and print its URL."""
    attributes = dict(more)
    if fifo or name.endswith(".fifo"):
        name = name if name.endswith(".fifo") else f"{name}.fifo"
        attributes["FifoQueue"] = "true"
    if deduplicate:
        attributes["ContentBasedDeduplication"] = "true"
    spans = {"VisibilityTimeout": visibility, "DelaySeconds": delay, "MessageRetentionPeriod": retention}
    attributes |= {key: str(int(value)) for key, value in spans.items() if value is not None}

    async def make(services: Services) -> str:
        if dead_letter is not None:
            arn = (await _attributes(services, await _url(services, dead_letter)))["QueueArn"]
            policy = {"deadLetterTargetArn": arn, "maxReceiveCount": max_receives}
            attributes["RedrivePolicy"] = json.dumps(policy)
        return str((await services.call("sqs", "CreateQueue", QueueName=name, Attributes=attributes))["QueueUrl"])

    click.echo(with_services(endpoint, region, make))


@queues.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-f", "--force", is_flag=True, help="A queue that is not there is no error.")
@endpoint_options
def rm(names: tuple[str, ...], force: bool, endpoint: str | None, region: str | None) -> None:
    """Delete queues, with what is in them."""

    async def remove(services: Services) -> None:
        for name in names:
            try:
                await services.call("sqs", "DeleteQueue", QueueUrl=await _url(services, name))
            except ApiError as error:
                if not (force and error.code in _MISSING):
                    raise
            else:
                click.echo(f"{name} deleted", err=True)

    with_services(endpoint, region, remove)


@queues.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@endpoint_options
def show(name: str, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Show a queue's attributes, with how much is in it."""

    async def read(services: Services) -> dict[str, str]:
        return await _attributes(services, await _url(services, name))

    attributes = with_services(endpoint, region, read)
    if as_json:
        click.echo(json.dumps(attributes, indent=2))
        return
    print_table(("attribute", "value"), [(key, str(attributes[key])) for key in sorted(attributes)])


@queues.command()
@click.argument("name")
@click.option(
    "-d", "--data", metavar="TEXT|@FILE|-", required=True, help="The body: text, a file's, or standard input."
)
@click.option("--delay", type=Duration(), help="How long it is hidden.")
@click.option("--group", metavar="ID", help="Of a FIFO queue: the group that it is in order with.")
@click.option("--deduplication", metavar="ID", help="Of a FIFO queue: what tells it from others.")
@click.option("-a", "--attribute", type=Variable(), multiple=True, metavar="NAME=VALUE", help="Text attribute; repeat.")
@endpoint_options
def send(
    name: str,
    data: str,
    delay: float | None,
    group: str | None,
    deduplication: str | None,
    attribute: tuple[tuple[str, str], ...],
    endpoint: str | None,
    region: str | None,
) -> None:
    """Send a message, and print its id."""
    body = read_payload(data)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise click.BadParameter("a message's body is text in UTF-8", param_hint="--data") from error

    async def hand_over(services: Services) -> str:
        sent = await services.call(
            "sqs",
            "SendMessage",
            QueueUrl=await _url(services, name),
            MessageBody=text,
            DelaySeconds=None if delay is None else int(delay),
            MessageGroupId=group,
            MessageDeduplicationId=deduplication,
            MessageAttributes={key: {"DataType": "String", "StringValue": value} for key, value in attribute} or None,
        )
        return str(sent["MessageId"])

    click.echo(with_services(endpoint, region, hand_over))


@queues.command()
@click.argument("name")
@click.option("-n", "--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many at most.")
@click.option("--wait", "wait_s", type=Duration(), default=0, help="How long to wait for the first one, up to 20s.")
@click.option("--visibility", type=Duration(), help="How long they are hidden from others; else the queue's own time.")
@click.option("--delete", is_flag=True, help="Delete them: they are done.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array with everything about each.")
@endpoint_options
def receive(
    name: str,
    count: int,
    wait_s: float,
    visibility: float | None,
    delete: bool,
    as_json: bool,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Receive messages and print their bodies; without --delete they come back after the visibility timeout."""
    seconds = None if visibility is None else int(visibility)
    messages = _receive(endpoint, region, name, count, wait_s=wait_s, visibility_s=seconds, delete=delete)
    _print_messages(messages, as_json=as_json)


@queues.command()
@click.argument("name")
@click.option(
    "-n", "--count", type=click.IntRange(1, _BATCH), default=_BATCH, show_default=True, help="How many at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array with everything about each.")
@endpoint_options
def peek(name: str, count: int, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Show messages and leave them visible. It counts as a receive: SQS has no other way to look."""
    _print_messages(_receive(endpoint, region, name, count, visibility_s=0), as_json=as_json)


@queues.command()
@click.argument("name")
@endpoint_options
def purge(name: str, endpoint: str | None, region: str | None) -> None:
    """Delete all messages of a queue."""

    async def empty(services: Services) -> None:
        await services.call("sqs", "PurgeQueue", QueueUrl=await _url(services, name))

    with_services(endpoint, region, empty)
    click.echo(f"{name} is empty", err=True)


def _receive(
    endpoint: str | None,
    region: str | None,
    name: str,
    count: int,
    *,
    visibility_s: int | None,
    wait_s: float = 0,
    delete: bool = False,
) -> list[dict[str, Any]]:
    async def take(services: Services) -> list[dict[str, Any]]:
        url = await _url(services, name)
        found: list[dict[str, Any]] = []
        while len(found) < count:
            page = await services.call(
                "sqs",
                "ReceiveMessage",
                QueueUrl=url,
                MaxNumberOfMessages=min(_BATCH, count - len(found)),
                WaitTimeSeconds=min(int(wait_s), _WAIT_S_MAX) if not found else 0,
                VisibilityTimeout=visibility_s,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            messages: list[dict[str, Any]] = page.get("Messages", [])
            if not messages:
                break
            found += messages
            if delete:
                await _delete(services, url, messages)
            if visibility_s == 0:
                # Asked again, the same ones would come.
                break
        return found

    return with_services(endpoint, region, take)


async def _delete(services: Services, url: str, messages: Sequence[Mapping[str, Any]]) -> None:
    entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages)]
    answer = await services.call("sqs", "DeleteMessageBatch", QueueUrl=url, Entries=entries)
    for failed in answer.get("Failed", []):
        raise ApiError(str(failed.get("Message", "")), code=str(failed["Code"]), status=400)


def _print_messages(messages: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(list(messages), indent=2))
        return
    if not messages:
        click.echo("No messages.", err=True)
    for each in messages:
        attributes = each.get("Attributes", {})
        sent = datetime.fromtimestamp(int(attributes.get("SentTimestamp", 0)) / 1000).astimezone()
        group = f", group {attributes['MessageGroupId']}" if "MessageGroupId" in attributes else ""
        click.echo(
            f"{each['MessageId']}, sent {sent.isoformat(timespec='seconds')}, "
            f"received {attributes.get('ApproximateReceiveCount', '?')} times{group}",
            err=True,
        )
        click.echo(each["Body"])


async def _url(services: Services, name: str) -> str:
    """Return a queue's URL; `name` may be one already, or an ARN."""
    if "://" in name:
        return name
    found = await services.call("sqs", "GetQueueUrl", QueueName=name.rpartition(":")[2])
    return str(found["QueueUrl"])


async def _attributes(services: Services, url: str) -> dict[str, str]:
    answer = await services.call("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
    return dict(answer.get("Attributes", {}))


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _dead_letters(attributes: Mapping[str, str]) -> str:
    try:
        policy = json.loads(attributes.get("RedrivePolicy", "{}"))
    except ValueError:
        return ""
    arn = str(policy.get("deadLetterTargetArn", ""))
    return f"{arn.rpartition(':')[2]} after {policy.get('maxReceiveCount')}" if arn else ""
