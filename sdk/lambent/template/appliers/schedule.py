"""`AWS::Scheduler::Schedule`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from lambent.errors import ResourceNotFound, SpecError
from lambent.services import segment
from lambent.template.appliers.base import Applier, Target, known
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown

_NAME_CHARS_MAX: Final = 64
_DEFAULT_GROUP: Final = "default"
_RETRY: Final = {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}
"""Scheduler API reference, `RetryPolicy`."""
_PLAIN: Final[Mapping[str, Any]] = {
    "ScheduleExpression": "",
    "ScheduleExpressionTimezone": "UTC",
    "Description": "",
    "State": "ENABLED",
    "ActionAfterCompletion": "NONE",
}


class ScheduleApplier(Applier):
    """Schedules. They have no tags; what is theirs is known by the stack's record."""

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Everything with its default; times as seconds since 1970."""
        wanted = known(properties["Target"])
        window = known(properties["FlexibleTimeWindow"])
        settings: dict[str, Any] = {
            **{key: properties.get(key, default) for key, default in _PLAIN.items()},
            "FlexibleTimeWindow": window,
            "Target.Arn": wanted["Arn"],
            "Target.Input": wanted.get("Input", ""),
            "Target.RetryPolicy": {**_RETRY, **wanted.get("RetryPolicy", {})},
            "Target.DeadLetterConfig": wanted.get("DeadLetterConfig", {}),
            "Target.SqsParameters": wanted.get("SqsParameters", {}),
        }
        for key in ("StartDate", "EndDate"):
            if key in properties:
                settings[key] = _seconds(properties[key], f"{logical_id}: {key}")
        identity = {
            "GroupName": properties.get("GroupName", _DEFAULT_GROUP),
            "Name": properties.get("Name") or target.name(logical_id, _NAME_CHARS_MAX),
        }
        return Desired(identity, settings)

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read it."""
        try:
            found = await target.services.rest(
                "scheduler", "GET", self._path(identity), query={"groupName": identity["GroupName"]}
            )
        except ResourceNotFound:
            return None
        given = found.get("Target", {})
        settings: dict[str, Any] = {
            **{key: found.get(key, default) for key, default in _PLAIN.items()},
            "FlexibleTimeWindow": found.get("FlexibleTimeWindow", {"Mode": "OFF"}),
            "Target.Arn": given.get("Arn", ""),
            "Target.Input": given.get("Input", ""),
            "Target.RetryPolicy": {**_RETRY, **given.get("RetryPolicy", {})},
            "Target.DeadLetterConfig": given.get("DeadLetterConfig", {}),
            "Target.SqsParameters": given.get("SqsParameters", {}),
            **{key: int(found[key]) for key in ("StartDate", "EndDate") if found.get(key) is not None},
        }
        return Existing(dict(identity), settings, {"": identity["Name"], "Arn": found["Arn"]})

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Name and ARN are known beforehand."""
        group, name = desired.identity["GroupName"], desired.identity["Name"]
        if isinstance(group, Unknown) or isinstance(name, Unknown):
            return {"": name, "Arn": Unknown("the schedule's ARN")}
        return {"": name, "Arn": target.arn("scheduler", f"schedule/{group}/{name}")}

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Make it."""
        identity = {key: str(value) for key, value in desired.identity.items()}
        await target.services.rest("scheduler", "POST", self._path(identity), self._body(target, identity, desired))
        return await self._read_back(target, identity)

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Write all of it: `UpdateSchedule` gives what is left out its default."""
        identity = dict(existing.identity)
        await target.services.rest("scheduler", "PUT", self._path(identity), self._body(target, identity, desired))
        return await self._read_back(target, identity)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it."""
        try:
            await target.services.rest(
                "scheduler", "DELETE", self._path(identity), query={"groupName": identity["GroupName"]}
            )
        except ResourceNotFound:
            return

    async def _read_back(self, target: Target, identity: Mapping[str, str]) -> Existing:
        found = await self.read(target, identity)
        if found is None:
            raise ResourceNotFound(f"Schedule {identity['Name']} is gone again")
        return found

    def _path(self, identity: Mapping[str, str]) -> str:
        return f"/schedules/{segment(identity['Name'])}"

    def _body(self, target: Target, identity: Mapping[str, str], desired: Desired) -> dict[str, Any]:
        settings = desired.settings
        sent = {
            "Arn": settings["Target.Arn"],
            "RoleArn": target.arn("iam", f"role/{target.stack}").replace(f":{target.environment.region}:", "::"),
            "RetryPolicy": settings["Target.RetryPolicy"],
        }
        for key in ("Input", "DeadLetterConfig", "SqsParameters"):
            if settings[f"Target.{key}"]:
                sent[key] = settings[f"Target.{key}"]
        body = {key: settings[key] for key in _PLAIN if settings[key] != ""}
        body |= {key: settings[key] for key in ("StartDate", "EndDate") if key in settings}
        return {
            **body,
            "GroupName": identity["GroupName"],
            "FlexibleTimeWindow": settings["FlexibleTimeWindow"],
            "Target": sent,
        }


def _seconds(value: Any, what: str) -> Any:
    if isinstance(value, Unknown):
        return value
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise SpecError(f"{what} must be a time such as 2026-01-31T08:00:00Z, not {value!r}") from error
    if moment.tzinfo is None:
        moment = datetime.fromisoformat(f"{value}+00:00" if "T" in str(value) else f"{value}T00:00:00+00:00")
    return int(moment.timestamp())
