"""`lambent schedules`: EventBridge Scheduler's schedules, and the older rules that have a schedule."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import click

from lambent.cli.options import endpoint_options
from lambent.cli.output import print_table
from lambent.cli.session import with_services
from lambent.errors import ApiError, ResourceNotFound
from lambent.services import Services, segment

_GROUP: Final = "default"
_ROLE: Final = "arn:aws:iam::{account}:role/lambent"
"""The API insists on a role; the platform has nothing that it could allow."""


@click.group()
def schedules() -> None:
    """Schedules: functions and queues that the clock calls.

    Names of rules (`events`, which SAM's Schedule makes) work as those of schedules do.
    """


@schedules.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@endpoint_options
def ls(as_json: bool, endpoint: str | None, region: str | None) -> None:
    """List the schedules, and the rules that have one, with when each is due next."""
    found = with_services(endpoint, region, _all)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("No schedules. `lambent schedules create NAME 'rate(5 minutes)' --function F` makes one.", err=True)
        return
    print_table(
        ("name", "kind", "expression", "zone", "state", "next", "target"),
        [
            (
                each["name"] if each["group"] == _GROUP else f"{each['group']}/{each['name']}",
                each["kind"],
                each["expression"],
                each["zone"],
                each["state"].lower(),
                each["next"],
                _short(each["target"]),
            )
            for each in found
        ],
    )


@schedules.command()
@click.argument("name")
@click.argument("expression")
@click.option("--function", metavar="NAME|ARN", help="The function that is called.")
@click.option("--queue", metavar="NAME|ARN", help="The queue that is sent to.")
@click.option("-i", "--input", "text", metavar="JSON", help="What it gets; else what Scheduler sends by itself.")
@click.option("--zone", metavar="NAME", help="The time zone of the expression, such as Europe/Berlin (UTC).")
@click.option("--flexible", "window", type=int, metavar="MINUTES", help="Any time within so many minutes will do.")
@click.option("--once", is_flag=True, help="Delete it after its last time.")
@click.option("--disabled", is_flag=True, help="Make it, and let it wait.")
@endpoint_options
def create(
    name: str,
    expression: str,
    function: str | None,
    queue: str | None,
    text: str | None,
    zone: str | None,
    window: int | None,
    once: bool,
    disabled: bool,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Make a schedule: EXPRESSION is `rate(5 minutes)`, `cron(0 3 * * ? *)` or `at(2030-01-31T08:00:00)`."""
    if (function is None) == (queue is None):
        raise click.UsageError("name its target: either --function or --queue")

    async def make(services: Services) -> str:
        account = await services.account()
        given = str(function if function is not None else queue)
        if not given.startswith("arn:"):
            place = f"{services.region}:{account}"
            given = f"arn:aws:lambda:{place}:function:{given}" if function else f"arn:aws:sqs:{place}:{given}"
        target = {"Arn": given, "RoleArn": _ROLE.format(account=account)}
        if text is not None:
            target["Input"] = text
        body: dict[str, Any] = {
            "ScheduleExpression": expression,
            "ScheduleExpressionTimezone": zone or "UTC",
            "State": "DISABLED" if disabled else "ENABLED",
            "FlexibleTimeWindow": (
                {"Mode": "OFF"} if window is None else {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": window}
            ),
            "ActionAfterCompletion": "DELETE" if once else "NONE",
            "Target": target,
        }
        return str((await services.rest("scheduler", "POST", f"/schedules/{segment(name)}", body))["ScheduleArn"])

    click.echo(with_services(endpoint, region, make))


@schedules.command()
@click.argument("name")
@click.option("--group", default=_GROUP, show_default=True, help="The group that it is in.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, as its API describes it.")
@endpoint_options
def show(name: str, group: str, as_json: bool, endpoint: str | None, region: str | None) -> None:
    """Show everything about a schedule or a rule, with when it is due next."""

    async def read(services: Services) -> dict[str, Any]:
        found = await _get(services, name, group)
        return found | {"Next": await _next(services, name, found.get("GroupName"))}

    found = with_services(endpoint, region, read)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in sorted(found.items())]
    print_table(("field", "value"), rows)


@schedules.command()
@click.argument("name")
@click.option("--group", default=_GROUP, show_default=True, help="The group that it is in.")
@endpoint_options
def enable(name: str, group: str, endpoint: str | None, region: str | None) -> None:
    """Let a schedule or a rule act."""
    _switch(name, group, "ENABLED", endpoint, region)


@schedules.command()
@click.argument("name")
@click.option("--group", default=_GROUP, show_default=True, help="The group that it is in.")
@endpoint_options
def disable(name: str, group: str, endpoint: str | None, region: str | None) -> None:
    """Let a schedule or a rule rest; times that pass meanwhile are not made up for."""
    _switch(name, group, "DISABLED", endpoint, region)


@schedules.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--group", default=_GROUP, show_default=True, help="The group that they are in.")
@endpoint_options
def rm(names: tuple[str, ...], group: str, endpoint: str | None, region: str | None) -> None:
    """Delete schedules or rules."""

    async def remove(services: Services) -> None:
        for name in names:
            found = await _get(services, name, group)
            if "GroupName" in found:
                await services.rest("scheduler", "DELETE", f"/schedules/{segment(name)}", query={"groupName": group})
            else:
                targets = [each["Id"] for each in found.get("Targets", [])]
                if targets:
                    await services.call("events", "RemoveTargets", Rule=name, Ids=targets)
                await services.call("events", "DeleteRule", Name=name)
            click.echo(f"{name} deleted", err=True)

    with_services(endpoint, region, remove)


def _switch(name: str, group: str, state: str, endpoint: str | None, region: str | None) -> None:
    async def change(services: Services) -> None:
        found = await _get(services, name, group)
        if "GroupName" not in found:
            operation = "EnableRule" if state == "ENABLED" else "DisableRule"
            await services.call("events", operation, Name=name)
            return
        # UpdateSchedule gives what is left out its default: everything is sent again.
        read_only = ("Arn", "Name", "CreationDate", "LastModificationDate")
        body = {key: value for key, value in found.items() if key not in read_only} | {"State": state}
        await services.rest("scheduler", "PUT", f"/schedules/{segment(name)}", body)

    with_services(endpoint, region, change)
    click.echo(f"{name} is {state.lower()}", err=True)


async def _all(services: Services) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    async for each in services.pages("scheduler", "/schedules", "Schedules", ("NextToken", "NextToken")):
        whole = await services.rest(
            "scheduler", "GET", f"/schedules/{segment(each['Name'])}", query={"groupName": each["GroupName"]}
        )
        found.append(
            {
                "name": each["Name"],
                "group": each["GroupName"],
                "kind": "schedule",
                "expression": whole["ScheduleExpression"],
                "zone": whole.get("ScheduleExpressionTimezone", "UTC"),
                "state": each["State"],
                "next": _first(await _next(services, each["Name"], each["GroupName"])),
                "target": each["Target"]["Arn"],
            }
        )
    token: str | None = None
    while True:
        page = await services.call("events", "ListRules", NextToken=token)
        for rule in page.get("Rules", []):
            if "ScheduleExpression" not in rule:
                continue
            targets = await services.call("events", "ListTargetsByRule", Rule=rule["Name"])
            found.append(
                {
                    "name": rule["Name"],
                    "group": _GROUP,
                    "kind": "rule",
                    "expression": rule["ScheduleExpression"],
                    "zone": "UTC",
                    "state": rule["State"],
                    "next": _first(await _next(services, rule["Name"], None)),
                    "target": ", ".join(each["Arn"] for each in targets.get("Targets", [])),
                }
            )
        token = page.get("NextToken")
        if not token:
            return sorted(found, key=lambda each: (each["group"], each["name"]))


async def _get(services: Services, name: str, group: str) -> dict[str, Any]:
    """Return a schedule, or the rule of this name; a schedule has a GroupName."""
    try:
        return await services.rest("scheduler", "GET", f"/schedules/{segment(name)}", query={"groupName": group})
    except ResourceNotFound as missing:
        if group != _GROUP:
            raise
        try:
            rule = await services.call("events", "DescribeRule", Name=name)
        except ApiError as error:
            if error.code == "ResourceNotFoundException":
                raise missing from error
            raise
        return rule | {"Targets": (await services.call("events", "ListTargetsByRule", Rule=name)).get("Targets", [])}


async def _next(services: Services, name: str, group: str | None) -> list[str]:
    """Return when a schedule, or without a group a rule, is due next, as UTC; the platform's own page says it."""
    place = f"rules/{segment(name)}" if group is None else f"schedules/{segment(group)}/{segment(name)}"
    try:
        answer = (await services.transport.request("GET", f"/_lambent/{place}/next")).json()
    except ResourceNotFound:
        # It has fired for the last time, or was deleted, in the meantime.
        return []
    moments = [datetime.fromtimestamp(each / 1000, UTC) for each in answer["next_ms"]]
    return [moment.isoformat(timespec="seconds").replace("+00:00", "Z") for moment in moments]


def _first(moments: list[str]) -> str:
    return moments[0] if moments else ""


def _short(target: str) -> str:
    """Return targets as people call them: `function f`, `queue q`."""

    def one(arn: str) -> str:
        if ":function:" in arn:
            return f"function {arn.partition(':function:')[2]}"
        return f"queue {arn.rpartition(':')[2]}" if ":sqs:" in arn else arn

    return ", ".join(one(each) for each in target.split(", ") if each)
