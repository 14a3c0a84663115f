"""`AWS::SQS::Queue`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from lambent.errors import ApiError
from lambent.template.appliers.base import Applier, Target, flat, json_value, known, owner_of, unflat
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown

_NAME_CHARS_MAX: Final = 80
_MISSING: Final = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
_NUMBERS: Final[Mapping[str, int]] = {
    "VisibilityTimeout": 30,
    "DelaySeconds": 0,
    "MaximumMessageSize": 1_048_576,
    "MessageRetentionPeriod": 345_600,
    "ReceiveMessageWaitTimeSeconds": 0,
}
"""Attributes with the values that a queue has without them (SQS API reference, `CreateQueue`)."""
_FIFO: Final[Mapping[str, str]] = {
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
_POLICIES: Final = ("RedrivePolicy", "RedriveAllowPolicy")


class QueueApplier(Applier):
    """Queues, by their names; every attribute has its default where the template has none."""

    fixed = frozenset({"FifoQueue"})

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Name, attributes and tags."""
        fifo = bool(properties.get("FifoQueue", False))
        settings: dict[str, Any] = {name: properties.get(name, default) for name, default in _NUMBERS.items()}
        settings["FifoQueue"] = fifo
        if fifo:
            settings["ContentBasedDeduplication"] = "true" if properties.get("ContentBasedDeduplication") else "false"
            for name in ("DeduplicationScope", "FifoThroughputLimit"):
                settings[name] = properties.get(name, _FIFO[name])
        for name in _POLICIES:
            settings[name] = _policy(json_value(properties.get(name, {})))
        settings |= flat("Tags", target.tags(logical_id, known(properties.get("Tags"))))
        name = properties.get("QueueName") or target.name(logical_id, _NAME_CHARS_MAX, ".fifo" if fifo else "")
        return Desired({"QueueName": name}, settings)

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read attributes and tags."""
        name = identity["QueueName"]
        try:
            url = str((await target.services.call("sqs", "GetQueueUrl", QueueName=name))["QueueUrl"])
            found = await target.services.call("sqs", "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
            tags = (await target.services.call("sqs", "ListQueueTags", QueueUrl=url)).get("Tags", {})
        except ApiError as error:
            if error.code in _MISSING:
                return None
            raise
        attributes = found["Attributes"]
        fifo = attributes.get("FifoQueue") == "true"
        settings: dict[str, Any] = {name: int(attributes.get(name, default)) for name, default in _NUMBERS.items()}
        settings["FifoQueue"] = fifo
        if fifo:
            settings |= {name: attributes.get(name, default) for name, default in _FIFO.items()}
        for policy in _POLICIES:
            settings[policy] = _policy(json_value(attributes.get(policy, "{}")))
        settings |= flat("Tags", tags)
        values = {"": url, "QueueUrl": url, "QueueName": name, "Arn": attributes["QueueArn"]}
        return Existing({"QueueName": name}, settings, values, owner_of(tags))

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Name, ARN and URL are known beforehand."""
        name = desired.identity["QueueName"]
        if isinstance(name, Unknown):
            return dict.fromkeys(("", "QueueUrl", "QueueName", "Arn"), name)
        url = f"{target.services.endpoint}/{target.environment.account}/{name}"
        return {"": url, "QueueUrl": url, "QueueName": name, "Arn": target.arn("sqs", name)}

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Make it with all its attributes."""
        settings = desired.settings
        attributes = _attributes(settings, frozenset(settings), created=True)
        if settings["FifoQueue"]:
            attributes["FifoQueue"] = "true"
        await target.services.call(
            "sqs",
            "CreateQueue",
            QueueName=desired.identity["QueueName"],
            Attributes=attributes,
            tags=unflat("Tags", settings),
        )
        return await self._read_back(target, desired)

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Set the attributes and tags that differ."""
        url = existing.attributes["QueueUrl"]
        attributes = _attributes(desired.settings, changed)
        if attributes:
            await target.services.call("sqs", "SetQueueAttributes", QueueUrl=url, Attributes=attributes)
        wanted = unflat("Tags", desired.settings)
        names = {key.removeprefix("Tags.") for key in changed if key.startswith("Tags.")}
        if names - set(wanted):
            await target.services.call("sqs", "UntagQueue", QueueUrl=url, TagKeys=sorted(names - set(wanted)))
        if names & set(wanted):
            tags = {key: wanted[key] for key in sorted(names & set(wanted))}
            await target.services.call("sqs", "TagQueue", QueueUrl=url, Tags=tags)
        return await self._read_back(target, desired)

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it with what is in it."""
        try:
            found = await target.services.call("sqs", "GetQueueUrl", QueueName=identity["QueueName"])
            await target.services.call("sqs", "DeleteQueue", QueueUrl=found["QueueUrl"])
        except ApiError as error:
            if error.code not in _MISSING:
                raise

    async def _read_back(self, target: Target, desired: Desired) -> Existing:
        found = await self.read(target, {"QueueName": str(desired.identity["QueueName"])})
        if found is None:
            raise ApiError(f"{desired.identity['QueueName']} is gone again", code="QueueDoesNotExist", status=400)
        return found


def _policy(value: Any) -> Any:
    """Return a policy with its numbers as numbers, in whichever form they were given."""
    if isinstance(value, Mapping) and "maxReceiveCount" in value:
        count = value["maxReceiveCount"]
        return {**value, "maxReceiveCount": int(count) if str(count).isdecimal() else count}
    return value


def _attributes(settings: Mapping[str, Any], names: frozenset[str], *, created: bool = False) -> dict[str, str]:
    found: dict[str, str] = {name: str(settings[name]) for name in _NUMBERS if name in names}
    if settings["FifoQueue"]:
        found |= {name: str(settings[name]) for name in _FIFO if name in names}
    for name in _POLICIES:
        if name in names and (settings[name] or not created):
            found[name] = json.dumps(settings[name]) if settings[name] else ""
    return found
