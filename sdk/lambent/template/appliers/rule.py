"""`AWS::Events::Rule` with a schedule or a pattern, and its targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lambent.errors import ApiError
from lambent.template.appliers.base import Applier, Target, flat, known, owner_of, unflat
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown

_NAME_CHARS_MAX: Final = 64
_TEXTS: Final = ("ScheduleExpression", "EventPattern", "Description")
_MISSING: Final = "ResourceNotFoundException"


class RuleApplier(Applier):
    """Rules, with their targets as settings of their own."""

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Schedule, pattern, state, targets and tags."""
        targets = {each["Id"]: known(each) for each in properties.get("Targets", [])}
        settings = {
            **{name: properties.get(name, "") for name in _TEXTS},
            "State": properties.get("State", "ENABLED"),
            **flat("Targets", targets),
            **flat("Tags", target.tags(logical_id, known(properties.get("Tags")))),
        }
        return Desired({"Name": properties.get("Name") or target.name(logical_id, _NAME_CHARS_MAX)}, settings)

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read the rule, its targets and its tags."""
        name = identity["Name"]
        try:
            found = await target.services.call("events", "DescribeRule", Name=name)
        except ApiError as error:
            if error.code == _MISSING:
                return None
            raise
        targets: dict[str, Any] = {}
        token: str | None = None
        while True:
            page = await target.services.call("events", "ListTargetsByRule", Rule=name, NextToken=token)
            targets |= {each["Id"]: each for each in page.get("Targets", [])}
            token = page.get("NextToken")
            if not token:
                break
        listed = await target.services.call("events", "ListTagsForResource", ResourceARN=found["Arn"])
        tags = {each["Key"]: each["Value"] for each in listed.get("Tags", [])}
        settings = {
            **{name: found.get(name, "") for name in _TEXTS},
            "State": found.get("State", "ENABLED"),
            **flat("Targets", targets),
            **flat("Tags", tags),
        }
        return Existing({"Name": name}, settings, {"": name, "Arn": found["Arn"]}, owner_of(tags))

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Name and ARN are known beforehand."""
        name = desired.identity["Name"]
        return {"": name, "Arn": name if isinstance(name, Unknown) else target.arn("events", f"rule/{name}")}

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Put rule and targets."""
        name = str(desired.identity["Name"])
        tags = [{"Key": key, "Value": value} for key, value in unflat("Tags", desired.settings).items()]
        await target.services.call("events", "PutRule", **self._rule(name, desired), Tags=tags)
        await self._put_targets(target, name, list(unflat("Targets", desired.settings).values()))
        return await self._read_back(target, name)

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Put what differs, take away targets and tags that are no longer wanted."""
        name, arn = existing.identity["Name"], existing.attributes["Arn"]
        if changed & {*_TEXTS, "State"}:
            await target.services.call("events", "PutRule", **self._rule(name, desired))
        targets, tags = unflat("Targets", desired.settings), unflat("Tags", desired.settings)
        touched = {key.removeprefix("Targets.") for key in changed if key.startswith("Targets.")}
        await self._put_targets(target, name, [targets[key] for key in sorted(touched & set(targets))])
        if touched - set(targets):
            await target.services.call("events", "RemoveTargets", Rule=name, Ids=sorted(touched - set(targets)))
        named = {key.removeprefix("Tags.") for key in changed if key.startswith("Tags.")}
        if named - set(tags):
            await target.services.call("events", "UntagResource", ResourceARN=arn, TagKeys=sorted(named - set(tags)))
        if named & set(tags):
            given = [{"Key": key, "Value": tags[key]} for key in sorted(named & set(tags))]
            await target.services.call("events", "TagResource", ResourceARN=arn, Tags=given)
        return await self._read_back(target, name)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Take its targets away, then the rule."""
        found = await self.read(target, identity)
        if found is None:
            return
        targets = sorted(unflat("Targets", found.settings))
        if targets:
            await target.services.call("events", "RemoveTargets", Rule=identity["Name"], Ids=targets)
        await target.services.call("events", "DeleteRule", Name=identity["Name"])

    def _rule(self, name: str, desired: Desired) -> dict[str, Any]:
        settings = desired.settings
        return {"Name": name, **{key: settings[key] for key in (*_TEXTS, "State") if settings[key]}}

    async def _put_targets(self, target: Target, name: str, targets: list[Any]) -> None:
        if not targets:
            return
        answer = await target.services.call("events", "PutTargets", Rule=name, Targets=targets)
        for failed in answer.get("FailedEntries", []):
            raise ApiError(str(failed.get("ErrorMessage")), code=str(failed.get("ErrorCode")), status=400)

    async def _read_back(self, target: Target, name: str) -> Existing:
        found = await self.read(target, {"Name": name})
        if found is None:
            raise ApiError(f"Rule {name} is gone again", code=_MISSING, status=400)
        return found
