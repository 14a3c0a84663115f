"""`AWS::Scheduler::ScheduleGroup`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from lambent.errors import DeployFailed, ResourceNotFound
from lambent.services import segment
from lambent.template.appliers.base import Applier, Target
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown

_NAME_CHARS_MAX: Final = 64
_POLL_S: Final = 0.2


class ScheduleGroupApplier(Applier):
    """Groups of schedules: a name and no settings that could change."""

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Its name."""
        name = properties.get("Name") or target.name(logical_id, _NAME_CHARS_MAX)
        return Desired({"Name": name}, {}, payload=target.tags(logical_id, properties.get("Tags")))

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read it; one that is being deleted counts as gone."""
        try:
            found = await target.services.rest("scheduler", "GET", self._path(identity))
        except ResourceNotFound:
            return None
        if found.get("State") == "DELETING":
            return None
        return Existing(dict(identity), {}, {"": identity["Name"], "Arn": found["Arn"]})

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Name and ARN are known beforehand."""
        name = desired.identity["Name"]
        arn = name if isinstance(name, Unknown) else target.arn("scheduler", f"schedule-group/{name}")
        return {"": name, "Arn": arn}

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Make it."""
        identity = {"Name": str(desired.identity["Name"])}
        tags = [{"Key": key, "Value": value} for key, value in desired.payload.items()]
        await target.services.rest("scheduler", "POST", self._path(identity), {"Tags": tags})
        found = await self.read(target, identity)
        if found is None:
            raise ResourceNotFound(f"Schedule group {identity['Name']} is gone again")
        return found

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Nothing of a group can change."""
        return existing

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it with its schedules, and wait until it is gone."""
        deadline = time.monotonic() + target.timeout_s
        try:
            await target.services.rest("scheduler", "DELETE", self._path(identity))
            while time.monotonic() < deadline:
                await target.services.rest("scheduler", "GET", self._path(identity))
                await asyncio.sleep(_POLL_S)
        except ResourceNotFound:
            return
        raise DeployFailed(f"the schedule group {identity['Name']} is still being deleted")

    def _path(self, identity: Mapping[str, str]) -> str:
        return f"/schedule-groups/{segment(identity['Name'])}"
