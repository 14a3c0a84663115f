"""Groups of schedules and their tags."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from lambent_platform.contracts.errors import ValidationFailed
from lambent_platform.contracts.schedules import DEFAULT_GROUP, GROUPS_MAX, TAGS_MAX
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.scheduler_api.access import (
    WRITE_TRIES,
    ScheduleServices,
    busy,
    conflict,
    make_token,
    new_group,
    not_found,
    quota_exceeded,
    read_page,
)


class GroupOperations:
    """Serves CreateScheduleGroup and its kin, and TagResource and its kin."""

    def __init__(self, services: ScheduleServices) -> None:
        self._services = services
        self._groups = services.groups

    @operation("CreateScheduleGroup")
    async def create_group(self, context: RequestContext, params: Params) -> Result:
        """Make a group; the same ClientToken again answers the same."""
        name, token = params["Name"], params.get("ClientToken", "")
        await self._services.group(context, DEFAULT_GROUP)
        groups = await self._groups.all(context.account, context.region)
        tags = _checked({tag["Key"]: tag["Value"] for tag in params.get("Tags", ())})
        group = new_group(context, name, now_ms=self._services.clock.now_ms()) | {"Tags": tags}
        if token:
            group["Token"] = hashlib.sha256(f"{token} {sorted(tags.items())}".encode()).hexdigest()
        found = groups.get(name)
        if found is not None and found.get("Token", "") == group.get("Token", "none"):
            return {"ScheduleGroupArn": found["Arn"]}
        if found is not None:
            raise conflict(f"Schedule group {name} already exists.")
        if len(groups) >= GROUPS_MAX:
            raise quota_exceeded(f"There are {GROUPS_MAX} schedule groups already.")
        if not await self._groups.write(context.account, context.region, name, None, group):
            raise conflict(f"Schedule group {name} already exists.")
        return {"ScheduleGroupArn": group["Arn"]}

    @operation("GetScheduleGroup")
    async def get_group(self, context: RequestContext, params: Params) -> Result:
        """Show a group."""
        return _shown(await self._services.group(context, params["Name"]))

    @operation("ListScheduleGroups")
    async def list_groups(self, context: RequestContext, params: Params) -> Result:
        """List groups by name."""
        await self._services.group(context, DEFAULT_GROUP)
        after, most = read_page(params)
        prefix = params.get("NamePrefix", "")
        groups = await self._groups.all(context.account, context.region)
        names = sorted(name for name in groups if name.startswith(prefix) and name > after)
        return {
            "ScheduleGroups": [_shown(groups[name]) for name in names[:most]],
            "NextToken": make_token(names[most - 1]) if len(names) > most else None,
        }

    @operation("DeleteScheduleGroup")
    async def delete_group(self, context: RequestContext, params: Params) -> Result:
        """Delete a group with its schedules: it is `DELETING` until the scheduler has done so."""
        name = params["Name"]
        if name == DEFAULT_GROUP:
            raise ValidationFailed("Deleting the default schedule group is not allowed.")

        def delete(group: dict[str, Any]) -> dict[str, Any]:
            if group["State"] == "DELETING":
                raise conflict(f"Schedule group {name} is being deleted.")
            return group | {"State": "DELETING"}

        await self._change(context, name, delete)
        return {}

    @operation("TagResource")
    async def tag(self, context: RequestContext, params: Params) -> Result:
        """Give a group tags."""
        new = {tag["Key"]: tag["Value"] for tag in params["Tags"]}
        await self._change(context, _name(params), lambda group: group | {"Tags": _checked({**group["Tags"], **new})})
        return {}

    @operation("UntagResource")
    async def untag(self, context: RequestContext, params: Params) -> Result:
        """Take tags from a group."""
        gone = set(params["TagKeys"])
        await self._change(
            context,
            _name(params),
            lambda group: group | {"Tags": {key: value for key, value in group["Tags"].items() if key not in gone}},
        )
        return {}

    @operation("ListTagsForResource")
    async def list_tags(self, context: RequestContext, params: Params) -> Result:
        """Show the tags of a group."""
        group = await self._services.group(context, _name(params))
        return {"Tags": [{"Key": key, "Value": value} for key, value in sorted(group["Tags"].items())]}

    async def _change(
        self, context: RequestContext, name: str, decide: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        for _ in range(WRITE_TRIES):
            before = await self._services.group(context, name)
            after = decide(before) | {"ModifiedMs": self._services.clock.now_ms()}
            if await self._groups.write(context.account, context.region, name, before, after):
                return
        raise busy()


def _name(params: Params) -> str:
    """The name of the group that an ARN names."""
    name = str(params["ResourceArn"]).rpartition("/")[2]
    if not name:
        raise not_found("Schedule group", name)
    return name


def _checked(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > TAGS_MAX:
        raise ValidationFailed(f"A schedule group can have at most {TAGS_MAX} tags.")
    if any(key.lower().startswith("aws:") for key in tags):
        raise ValidationFailed("Tag keys must not begin with aws:.")
    return tags


def _shown(group: dict[str, Any]) -> Result:
    return {
        "Arn": group["Arn"],
        "Name": group["Name"],
        "State": group["State"],
        "CreationDate": group["CreatedMs"] / 1000,
        "LastModificationDate": group["ModifiedMs"] / 1000,
    }
