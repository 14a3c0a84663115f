"""`AWS::Lambda::Alias`, also one that publishes: SAM's `AutoPublishAlias`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lambent.deployment import FunctionWatch, function_path
from lambent.errors import ResourceNotFound
from lambent.services import segment
from lambent.template.appliers.base import LATEST_CODE, Applier, Target, function_name, known
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown, is_deferred


class AliasApplier(Applier):
    """Aliases. One that publishes is current where its version's code and settings are those of `$LATEST`."""

    optional = frozenset({"Code", "FunctionVersion"})
    volatile = frozenset({"VersionArn"})

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Name, version or "whatever is deployed", weights."""
        settings: dict[str, Any] = {
            "Description": properties.get("Description", ""),
            "RoutingConfig": {
                each["FunctionVersion"]: float(each["FunctionWeight"])
                for each in known(properties.get("RoutingConfig", {})).get("AdditionalVersionWeights", [])
            },
        }
        if "Publish" in properties:
            settings["Code"] = properties["Publish"]
        else:
            settings["FunctionVersion"] = properties["FunctionVersion"]
        return Desired(
            {"FunctionName": function_name(properties["FunctionName"]), "Name": properties["Name"]}, settings
        )

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read the alias, and compare its version with `$LATEST`."""
        name = identity["FunctionName"]
        try:
            found = await target.services.rest("lambda", "GET", self._path(identity))
            version = await self._configuration(target, name, found["FunctionVersion"])
            latest = await self._configuration(target, name, "$LATEST")
        except ResourceNotFound:
            return None
        settings = {
            "Description": found.get("Description", ""),
            "RoutingConfig": found.get("RoutingConfig", {}).get("AdditionalVersionWeights", {}),
            "FunctionVersion": found["FunctionVersion"],
            "Code": LATEST_CODE if version == latest else f"version {found['FunctionVersion']}",
        }
        arn = found["AliasArn"]
        attributes = {
            "": arn,
            "AliasArn": arn,
            "VersionArn": target.arn("lambda", f"function:{name}:{found['FunctionVersion']}"),
        }
        return Existing(dict(identity), settings, attributes)

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Its ARN is known beforehand, its version's is not."""
        function, name = desired.identity["FunctionName"], desired.identity["Name"]
        if is_deferred([function, name]):
            return {"": Unknown("alias"), "AliasArn": Unknown("alias"), "VersionArn": Unknown("version")}
        arn = target.arn("lambda", f"function:{function}:{name}")
        return {"": arn, "AliasArn": arn, "VersionArn": Unknown(f"{function}'s version")}

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Publish where it is to, and name the version."""
        function = str(desired.identity["FunctionName"])
        body = {"Name": desired.identity["Name"], **await self._body(target, function, desired)}
        await target.services.rest("lambda", "POST", function_path(function) + "/aliases", body)
        return await self._read_back(target, desired)

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Publish where it is to, and point the alias there."""
        function = existing.identity["FunctionName"]
        await target.services.rest(
            "lambda", "PUT", self._path(existing.identity), await self._body(target, function, desired)
        )
        return await self._read_back(target, desired)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it; the versions stay until the function goes."""
        try:
            await target.services.rest("lambda", "DELETE", self._path(identity))
        except ResourceNotFound:
            return

    async def _body(self, target: Target, function: str, desired: Desired) -> dict[str, Any]:
        version = desired.settings.get("FunctionVersion")
        if version is None:
            published = await target.services.rest("lambda", "POST", function_path(function) + "/versions", {})
            version = published["Version"]
            await FunctionWatch(
                target.services.transport, f"{function}:{version}", target.tell, timeout_s=target.timeout_s
            ).finish()
        return {
            "FunctionVersion": version,
            "Description": desired.settings["Description"],
            "RoutingConfig": {"AdditionalVersionWeights": desired.settings["RoutingConfig"]},
        }

    async def _configuration(self, target: Target, name: str, version: str) -> dict[str, Any]:
        """Return what makes one version another than the next."""
        found = await target.services.rest(
            "lambda", "GET", function_path(name) + "/configuration", query={"Qualifier": version}
        )
        left_out = ("Version", "FunctionArn", "RevisionId", "LastModified", "MasterArn")
        return {
            key: value
            for key, value in found.items()
            if key not in left_out and not key.startswith(("State", "LastUpdate"))
        }

    async def _read_back(self, target: Target, desired: Desired) -> Existing:
        found = await self.read(target, {key: str(value) for key, value in desired.identity.items()})
        if found is None:
            raise ResourceNotFound(f"Alias not found: {desired.identity['Name']}")
        return found

    def _path(self, identity: Mapping[str, str]) -> str:
        return f"{function_path(identity['FunctionName'])}/aliases/{segment(identity['Name'])}"
