"""`AWS::Lambda::EventSourceMapping`: triggers of queues and streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from lambent.errors import ApiError, DeployFailed, ResourceNotFound
from lambent.services import segment
from lambent.template.appliers.base import Applier, Target, flat, known, owner_of, unflat
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown, is_deferred

MAPPINGS: Final = "/2015-03-31/event-source-mappings"
_POLL_S: Final = 0.1
_STEADY: Final = ("Enabled", "Disabled")
_ONLY_GIVEN: Final = (
    "MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "ParallelizationFactor", "BisectBatchOnFunctionError",
    "TumblingWindowInSeconds",
)  # fmt: skip
_AT_CREATION: Final = ("StartingPosition", "StartingPositionTimestamp")


class MappingApplier(Applier):
    """Mappings. Their ids are the platform's; one is found again by its source and its function."""

    fixed = frozenset({"EventSourceArn", *_AT_CREATION})
    optional = frozenset({"BatchSize", *_ONLY_GIVEN, *_AT_CREATION})

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Source, function, and how batches are made."""
        function = properties["FunctionName"]
        if isinstance(function, str) and not function.startswith("arn:"):
            function = target.arn("lambda", f"function:{function}")
        sides = known(properties.get("DestinationConfig", {}))
        settings: dict[str, Any] = {
            "EventSourceArn": properties["EventSourceArn"],
            "FunctionArn": function,
            "Enabled": properties.get("Enabled", True),
            "MaximumBatchingWindowInSeconds": properties.get("MaximumBatchingWindowInSeconds", 0),
            "FilterCriteria": [
                each["Pattern"] for each in known(properties.get("FilterCriteria", {})).get("Filters", [])
            ],
            "FunctionResponseTypes": known(properties.get("FunctionResponseTypes", [])),
            "MaximumConcurrency": known(properties.get("ScalingConfig", {})).get("MaximumConcurrency"),
            "OnFailure": sides.get("OnFailure", {}).get("Destination", ""),
            **{name: properties[name] for name in ("BatchSize", *_ONLY_GIVEN, *_AT_CREATION) if name in properties},
            **flat("Tags", target.tags(logical_id, known(properties.get("Tags")))),
        }
        return Desired({}, settings)

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read it, once it is in none of the states in between."""
        deadline = time.monotonic() + target.timeout_s
        while True:
            try:
                found = await target.services.rest("lambda", "GET", f"{MAPPINGS}/{segment(identity['UUID'])}")
            except ResourceNotFound:
                return None
            if found.get("State") in _STEADY:
                return await self._existing(target, found)
            if time.monotonic() > deadline:
                raise DeployFailed(f"the mapping {identity['UUID']} is still {found.get('State')}")
            await asyncio.sleep(_POLL_S)

    async def find(self, target: Target, logical_id: str, desired: Desired) -> Existing | None:
        """Look for one of this source and function: Lambda allows no second."""
        source, function = desired.settings["EventSourceArn"], desired.settings["FunctionArn"]
        if is_deferred([source, function]):
            return None
        listed = target.services.pages(
            "lambda", MAPPINGS, "EventSourceMappings", ("NextMarker", "Marker"), {"EventSourceArn": source}
        )
        async for each in listed:
            if each.get("FunctionArn") == function and each.get("State") != "Deleting":
                return await self.read(target, {"UUID": each["UUID"]})
        return None

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Everything about it is the platform's."""
        return dict.fromkeys(("", "Id", "EventSourceMappingArn"), Unknown("the mapping's id"))

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Make it, and wait until it is enabled or disabled."""
        body = {
            **_body(desired.settings),
            "EventSourceArn": desired.settings["EventSourceArn"],
            "Tags": unflat("Tags", desired.settings),
            **{name: desired.settings[name] for name in _AT_CREATION if name in desired.settings},
        }
        made = await target.services.rest("lambda", "POST", MAPPINGS, body)
        return await self._read_back(target, made["UUID"])

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Change it."""
        uuid = existing.identity["UUID"]
        if any(not key.startswith("Tags.") for key in changed):
            await target.services.rest("lambda", "PUT", f"{MAPPINGS}/{segment(uuid)}", _body(desired.settings))
        tags = {key.removeprefix("Tags.") for key in changed if key.startswith("Tags.")}
        wanted = unflat("Tags", desired.settings)
        path = f"/2017-03-31/tags/{segment(existing.attributes['EventSourceMappingArn'])}"
        if tags - set(wanted):
            query = "&".join(f"tagKeys={segment(key)}" for key in sorted(tags - set(wanted)))
            await target.services.rest("lambda", "DELETE", f"{path}?{query}")
        if tags & set(wanted):
            await target.services.rest(
                "lambda", "POST", path, {"Tags": {key: wanted[key] for key in tags & set(wanted)}}
            )
        return await self._read_back(target, uuid)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it, and wait until it is gone."""
        path = f"{MAPPINGS}/{segment(identity['UUID'])}"
        deadline = time.monotonic() + target.timeout_s
        try:
            await target.services.rest("lambda", "DELETE", path)
            while time.monotonic() < deadline:
                await target.services.rest("lambda", "GET", path)
                await asyncio.sleep(_POLL_S)
        except ResourceNotFound:
            return
        raise DeployFailed(f"the mapping {identity['UUID']} is still being deleted")

    async def _read_back(self, target: Target, uuid: str) -> Existing:
        found = await self.read(target, {"UUID": uuid})
        if found is None:
            raise ResourceNotFound(f"The mapping {uuid} is gone again")
        return found

    async def _existing(self, target: Target, found: Mapping[str, Any]) -> Existing:
        arn = str(found.get("EventSourceMappingArn") or target.arn("lambda", f"event-source-mapping:{found['UUID']}"))
        tags = await _tags(target, arn)
        settings: dict[str, Any] = {
            "EventSourceArn": found.get("EventSourceArn", ""),
            "FunctionArn": found.get("FunctionArn", ""),
            "Enabled": found.get("State") == "Enabled",
            "MaximumBatchingWindowInSeconds": found.get("MaximumBatchingWindowInSeconds", 0),
            "FilterCriteria": [each["Pattern"] for each in found.get("FilterCriteria", {}).get("Filters", [])],
            "FunctionResponseTypes": found.get("FunctionResponseTypes", []),
            "MaximumConcurrency": found.get("ScalingConfig", {}).get("MaximumConcurrency"),
            "OnFailure": found.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", ""),
            **{name: found.get(name) for name in ("BatchSize", *_ONLY_GIVEN, *_AT_CREATION)},
            **flat("Tags", tags),
        }
        attributes = {"": found["UUID"], "Id": found["UUID"], "EventSourceMappingArn": arn}
        return Existing({"UUID": found["UUID"]}, settings, attributes, owner_of(tags))


async def _tags(target: Target, arn: str) -> dict[str, str]:
    try:
        return dict((await target.services.rest("lambda", "GET", f"/2017-03-31/tags/{segment(arn)}")).get("Tags", {}))
    except ApiError as error:
        if error.status in (400, 404, 501):
            return {}
        raise


def _body(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what creating and updating have in common."""
    body: dict[str, Any] = {
        "FunctionName": settings["FunctionArn"],
        "Enabled": settings["Enabled"],
        "MaximumBatchingWindowInSeconds": settings["MaximumBatchingWindowInSeconds"],
        "FilterCriteria": {"Filters": [{"Pattern": each} for each in settings["FilterCriteria"]]},
        "FunctionResponseTypes": settings["FunctionResponseTypes"],
        **{name: settings[name] for name in ("BatchSize", *_ONLY_GIVEN) if name in settings},
    }
    concurrency = settings["MaximumConcurrency"]
    if ":sqs:" in str(settings["EventSourceArn"]):
        body["ScalingConfig"] = {} if concurrency is None else {"MaximumConcurrency": concurrency}
    if settings["OnFailure"]:
        body["DestinationConfig"] = {"OnFailure": {"Destination": settings["OnFailure"]}}
    return body
