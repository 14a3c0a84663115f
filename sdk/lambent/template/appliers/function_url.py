"""`AWS::Lambda::Url`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lambent.deployment import function_path
from lambent.errors import ResourceNotFound
from lambent.template.appliers.base import Applier, Target, function_name, known
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown

_URLS: Final = "/2021-10-31/functions"
_LATEST: Final = "$LATEST"


class FunctionUrlApplier(Applier):
    """URLs of functions."""

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Who may call, how it answers, and what browsers may do."""
        identity = {
            "FunctionName": function_name(properties["TargetFunctionArn"]),
            "Qualifier": properties.get("Qualifier", _LATEST),
        }
        settings = {
            "AuthType": properties["AuthType"],
            "InvokeMode": properties.get("InvokeMode", "BUFFERED"),
            "Cors": known(properties.get("Cors", {})),
        }
        return Desired(identity, settings)

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read it."""
        try:
            found = await target.services.rest("lambda", "GET", self._path(identity), query=self._query(identity))
        except ResourceNotFound:
            return None
        return self._existing(identity, found)

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Its id is the platform's."""
        name = desired.identity["FunctionName"]
        arn = name if isinstance(name, Unknown) else target.arn("lambda", f"function:{name}")
        return {"": arn, "FunctionArn": arn, "FunctionUrl": Unknown(f"{name}'s URL")}

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Make it."""
        identity = {key: str(value) for key, value in desired.identity.items()}
        found = await target.services.rest(
            "lambda", "POST", self._path(identity), self._body(desired), query=self._query(identity)
        )
        return self._existing(identity, found)

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Change it."""
        found = await target.services.rest(
            "lambda", "PUT", self._path(existing.identity), self._body(desired), query=self._query(existing.identity)
        )
        return self._existing(existing.identity, found)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Take it away."""
        try:
            await target.services.rest("lambda", "DELETE", self._path(identity), query=self._query(identity))
        except ResourceNotFound:
            return

    def _path(self, identity: Mapping[str, str]) -> str:
        return function_path(identity["FunctionName"], prefix=_URLS) + "/url"

    def _query(self, identity: Mapping[str, str]) -> dict[str, Any]:
        return {"Qualifier": None if identity["Qualifier"] == _LATEST else identity["Qualifier"]}

    def _body(self, desired: Desired) -> dict[str, Any]:
        return {key: desired.settings[key] for key in ("AuthType", "InvokeMode", "Cors")}

    def _existing(self, identity: Mapping[str, str], found: Mapping[str, Any]) -> Existing:
        settings = {
            "AuthType": found["AuthType"],
            "InvokeMode": found.get("InvokeMode", "BUFFERED"),
            "Cors": found.get("Cors", {}),
        }
        arn = found["FunctionArn"]
        return Existing(dict(identity), settings, {"": arn, "FunctionArn": arn, "FunctionUrl": found["FunctionUrl"]})
