"""`AWS::ApiGatewayV2::Integration`, `Route`, `Stage` and `Deployment`: what is inside an API."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from lambent.errors import ApiError
from lambent.services import segment
from lambent.template.appliers.base import Applier, Target, known
from lambent.template.appliers.gateway_api import APIS, MISSING
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown, is_deferred

_TIMEOUT_MS: Final = {"1.0": 30_000, "2.0": 30_000}


class _PartApplier(Applier):
    """What all parts have in common: they live below an API, under an id of the platform's."""

    plural: ClassVar[str]
    id_name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    """Settings that are parameters of the API as they are, each with a small first letter there."""
    unique: ClassVar[tuple[str, ...]]
    """Settings by which one is found again whose id nobody saw."""
    fixed = frozenset({"ApiId"})

    @abstractmethod
    def attributes(self, ident: str) -> dict[str, str]:
        """What references to it give."""

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read it."""
        try:
            found = await target.services.rest("apigateway", "GET", self._path(identity))
        except ApiError as error:
            if error.code == MISSING:
                return None
            raise
        return self._existing(identity["ApiId"], found)

    async def find(self, target: Target, logical_id: str, desired: Desired) -> Existing | None:
        """Look for one that is like it, in what tells parts of an API from each other."""
        if is_deferred([desired.settings[key] for key in ("ApiId", *self.unique)]):
            return None
        ident = str(desired.settings["ApiId"])
        path = f"{APIS}/{segment(ident)}/{self.plural}"
        try:
            async for found in target.services.pages("apigateway", path, "items", ("nextToken", "nextToken")):
                existing = self._existing(ident, found)
                if all(existing.settings.get(key) == desired.settings[key] for key in self.unique):
                    return existing
        except ApiError as error:
            if error.code != MISSING:
                raise
        return None

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Its id is the platform's."""
        return dict.fromkeys(self.attributes(""), Unknown(f"the {self.id_name}"))

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Make it."""
        ident = str(desired.settings["ApiId"])
        path = f"{APIS}/{segment(ident)}/{self.plural}"
        return self._existing(ident, await target.services.rest("apigateway", "POST", path, self._body(desired)))

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Change it."""
        body = self._body(desired)
        found = await target.services.rest("apigateway", "PATCH", self._path(existing.identity), body)
        return self._existing(existing.identity["ApiId"], found)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it."""
        try:
            await target.services.rest("apigateway", "DELETE", self._path(identity))
        except ApiError as error:
            if error.code != MISSING:
                raise

    def _path(self, identity: Mapping[str, str]) -> str:
        return f"{APIS}/{segment(identity['ApiId'])}/{self.plural}/{segment(identity[self.id_name])}"

    def _body(self, desired: Desired) -> dict[str, Any]:
        return {
            key[0].lower() + key[1:]: desired.settings[key]
            for key in self.keys
            if key in desired.settings and desired.settings[key] is not None
        }

    def _existing(self, ident: str, found: Mapping[str, Any]) -> Existing:
        name = str(found[self.id_name[0].lower() + self.id_name[1:]])
        settings = {key: found.get(key[0].lower() + key[1:]) for key in self.keys}
        return Existing({"ApiId": ident, self.id_name: name}, {"ApiId": ident, **settings}, self.attributes(name))


class IntegrationApplier(_PartApplier):
    """What a route leads to: a function."""

    plural, id_name = "integrations", "IntegrationId"
    keys = (
        "IntegrationType", "IntegrationUri", "IntegrationMethod", "PayloadFormatVersion", "TimeoutInMillis",
        "Description", "ConnectionType",
    )  # fmt: skip
    unique = ("IntegrationUri", "PayloadFormatVersion")
    optional = frozenset({"TimeoutInMillis", "ConnectionType", "PayloadFormatVersion", "IntegrationMethod"})

    def attributes(self, ident: str) -> dict[str, str]:
        """Its id."""
        return {"": ident, "IntegrationId": ident}

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """As the template has it; what it is for is said in the description, so that it is found again."""
        settings = {"ApiId": properties["ApiId"]}
        settings |= {key: properties[key] for key in self.keys if key in properties}
        settings.setdefault("Description", f"{target.stack}/{logical_id}")
        settings.setdefault("IntegrationUri", "")
        return Desired({}, settings)

    async def find(self, target: Target, logical_id: str, desired: Desired) -> Existing | None:
        """By its description, which is its own."""
        if is_deferred(desired.settings["ApiId"]):
            return None
        ident = str(desired.settings["ApiId"])
        path = f"{APIS}/{segment(ident)}/{self.plural}"
        try:
            async for found in target.services.pages("apigateway", path, "items", ("nextToken", "nextToken")):
                if found.get("description") == desired.settings["Description"]:
                    return self._existing(ident, found)
        except ApiError as error:
            if error.code != MISSING:
                raise
        return None


class RouteApplier(_PartApplier):
    """Which requests lead to which integration."""

    plural, id_name = "routes", "RouteId"
    keys = ("RouteKey", "Target", "OperationName", "RouteResponseSelectionExpression")
    unique = ("RouteKey",)
    optional = frozenset({"OperationName", "RouteResponseSelectionExpression"})

    def attributes(self, ident: str) -> dict[str, str]:
        """Its id."""
        return {"": ident, "RouteId": ident}

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """As the template has it."""
        return Desired({}, {key: properties[key] for key in ("ApiId", *self.keys) if key in properties})


class StageApplier(_PartApplier):
    """Under which path an API is served."""

    plural, id_name = "stages", "StageName"
    keys = ("StageName", "AutoDeploy", "Description", "StageVariables", "DeploymentId")
    unique = ("StageName",)
    fixed = frozenset({"ApiId", "StageName"})
    optional = frozenset({"DeploymentId"})

    def attributes(self, ident: str) -> dict[str, str]:
        """Its name."""
        return {"": ident}

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """As the template has it; one without a deployment of its own deploys by itself."""
        settings = {
            "ApiId": properties["ApiId"],
            "StageName": properties["StageName"],
            "AutoDeploy": properties.get("AutoDeploy", "DeploymentId" not in properties),
            "Description": properties.get("Description", ""),
            "StageVariables": known(properties.get("StageVariables", {})),
        }
        if "DeploymentId" in properties:
            settings["DeploymentId"] = properties["DeploymentId"]
        return Desired({}, settings)

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Its name is known beforehand."""
        return {"": desired.settings["StageName"]}

    def _existing(self, ident: str, found: Mapping[str, Any]) -> Existing:
        existing = super()._existing(ident, found)
        defaults: dict[str, Any] = {"AutoDeploy": False, "Description": "", "StageVariables": {}}
        settings = {
            key: defaults.get(key, value) if value is None else value for key, value in existing.settings.items()
        }
        return Existing(existing.identity, settings, existing.attributes)


class DeploymentApplier(_PartApplier):
    """A state of an API that a stage without AutoDeploy serves."""

    plural, id_name = "deployments", "DeploymentId"
    keys = ("Description",)
    unique = ("Description",)

    def attributes(self, ident: str) -> dict[str, str]:
        """Its id."""
        return {"": ident, "DeploymentId": ident}

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Only what it is called."""
        text = properties.get("Description", f"{target.stack}/{logical_id}")
        return Desired({}, {"ApiId": properties["ApiId"], "Description": text})
