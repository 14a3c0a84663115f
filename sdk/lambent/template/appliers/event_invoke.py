"""`AWS::Lambda::EventInvokeConfig`: what becomes of asynchronous invocations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lambent.errors import ResourceNotFound
from lambent.services import segment
from lambent.template.appliers.base import Applier, Target, function_name, known
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown
from lambent_platform.contracts.limits import ASYNC_MAX_AGE_S_DEFAULT, ASYNC_RETRIES_DEFAULT

_PREFIX: Final = "/2019-09-25/functions"


class EventInvokeApplier(Applier):
    """Retries, ages and destinations of asynchronous invocations."""

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Everything with its default."""
        sides = known(properties.get("DestinationConfig", {}))
        settings = {
            "MaximumEventAgeInSeconds": properties.get("MaximumEventAgeInSeconds", ASYNC_MAX_AGE_S_DEFAULT),
            "MaximumRetryAttempts": properties.get("MaximumRetryAttempts", ASYNC_RETRIES_DEFAULT),
            **{side: sides.get(side, {}).get("Destination", "") for side in ("OnSuccess", "OnFailure")},
        }
        return Desired(
            {"FunctionName": function_name(properties["FunctionName"]), "Qualifier": properties["Qualifier"]}, settings
        )

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read it."""
        try:
            found = await target.services.rest(
                "lambda", "GET", self._path(identity), query={"Qualifier": identity["Qualifier"]}
            )
        except ResourceNotFound:
            return None
        return self._existing(identity, found)

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Only its own name."""
        name = desired.identity["FunctionName"]
        return {"": name if isinstance(name, Unknown) else f"{name}/{desired.identity['Qualifier']}"}

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Put it."""
        return await self._put(target, {key: str(value) for key, value in desired.identity.items()}, desired)

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Put it again."""
        return await self._put(target, existing.identity, desired)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Go back to the defaults."""
        try:
            await target.services.rest(
                "lambda", "DELETE", self._path(identity), query={"Qualifier": identity["Qualifier"]}
            )
        except ResourceNotFound:
            return

    async def _put(self, target: Target, identity: Mapping[str, str], desired: Desired) -> Existing:
        settings = desired.settings
        sides = {side: {"Destination": settings[side]} for side in ("OnSuccess", "OnFailure") if settings[side]}
        body = {
            "MaximumEventAgeInSeconds": settings["MaximumEventAgeInSeconds"],
            "MaximumRetryAttempts": settings["MaximumRetryAttempts"],
            "DestinationConfig": sides,
        }
        found = await target.services.rest(
            "lambda", "PUT", self._path(identity), body, query={"Qualifier": identity["Qualifier"]}
        )
        return self._existing(identity, found)

    def _path(self, identity: Mapping[str, str]) -> str:
        return f"{_PREFIX}/{segment(identity['FunctionName'])}/event-invoke-config"

    def _existing(self, identity: Mapping[str, str], found: Mapping[str, Any]) -> Existing:
        sides = found.get("DestinationConfig", {})
        settings = {
            "MaximumEventAgeInSeconds": found.get("MaximumEventAgeInSeconds", ASYNC_MAX_AGE_S_DEFAULT),
            "MaximumRetryAttempts": found.get("MaximumRetryAttempts", ASYNC_RETRIES_DEFAULT),
            **{side: sides.get(side, {}).get("Destination", "") for side in ("OnSuccess", "OnFailure")},
        }
        return Existing(dict(identity), settings, {"": f"{identity['FunctionName']}/{identity['Qualifier']}"})
