"""`AWS::Lambda::Version`: a version that is published once; another logical id publishes the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lambent.deployment import FunctionWatch, function_path
from lambent.errors import ResourceNotFound
from lambent.template.appliers.base import Applier, Target, function_name
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown


class VersionApplier(Applier):
    """Published versions."""

    fixed = frozenset({"FunctionName"})

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Only the function counts: a version never changes."""
        payload = {key: properties[key] for key in ("Description", "CodeSha256") if key in properties}
        return Desired({}, {"FunctionName": function_name(properties["FunctionName"])}, payload=payload)

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read it."""
        name, version = identity["FunctionName"], identity["Version"]
        try:
            found = await target.services.rest(
                "lambda", "GET", function_path(name) + "/configuration", query={"Qualifier": version}
            )
        except ResourceNotFound:
            return None
        arn = found["FunctionArn"]
        return Existing(
            dict(identity), {"FunctionName": name}, {"": arn, "FunctionArn": arn, "Version": found["Version"]}
        )

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Its number is the platform's."""
        return dict.fromkeys(("", "FunctionArn", "Version"), Unknown("the version's number"))

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Publish."""
        name = str(desired.settings["FunctionName"])
        found = await target.services.rest("lambda", "POST", function_path(name) + "/versions", desired.payload)
        identity = {"FunctionName": name, "Version": found["Version"]}
        await FunctionWatch(
            target.services.transport, f"{name}:{found['Version']}", target.tell, timeout_s=target.timeout_s
        ).finish()
        made = await self.read(target, identity)
        if made is None:
            raise ResourceNotFound(f"Version not found: {name}:{found['Version']}")
        return made

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Nothing of a version can change."""
        return existing

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it, unless its function is gone."""
        try:
            await target.services.rest(
                "lambda", "DELETE", function_path(identity["FunctionName"]), query={"Qualifier": identity["Version"]}
            )
        except ResourceNotFound:
            return
