"""The query protocol of a service whose model speaks json by now: SQS, as SDKs of before 2023 and curl speak it.

Its model has kept which lists and maps are flat, but not how their elements are called, nor the older codes of its
errors. Both are here.

Source: SQS API reference, "Making Query API requests" and the error sections of each operation.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryNames:
    """How the query protocol calls what the model calls otherwise."""

    namespace: str
    elements: Mapping[str, str]
    """Shape of a list → name of its elements."""
    entries: Mapping[str, tuple[str, str]]
    """Shape of a map → names of key and value."""
    members: Mapping[str, str]
    """Member that is a map → name of its entries."""
    codes: Mapping[str, str]
    """Error code of the model → the older one, where they differ."""

    def described(self, description: dict[str, Any]) -> dict[str, Any]:
        """Return a service description in which everything is called as the query protocol does."""
        changed = copy.deepcopy(description)
        shapes = changed["shapes"]
        for name, element in self.elements.items():
            shapes[name]["member"]["locationName"] = element
        for name, (key, value) in self.entries.items():
            shapes[name]["key"]["locationName"], shapes[name]["value"]["locationName"] = key, value
        for shape in shapes.values():
            for name, member in shape.get("members", {}).items():
                if name in self.members:
                    member["locationName"] = self.members[name]
        for name, operation in changed["operations"].items():
            if "output" in operation:
                operation["output"]["resultWrapper"] = f"{name}Result"
        changed["metadata"]["xmlNamespace"] = self.namespace
        return changed

    def code(self, code: str) -> str:
        """Return the older code of an error."""
        return self.codes.get(code, code)


_ITSELF: Final = (
    "SendMessageBatchRequestEntry",
    "SendMessageBatchResultEntry",
    "DeleteMessageBatchRequestEntry",
    "DeleteMessageBatchResultEntry",
    "ChangeMessageVisibilityBatchRequestEntry",
    "ChangeMessageVisibilityBatchResultEntry",
    "BatchResultErrorEntry",
    "ListMessageMoveTasksResultEntry",
)
_PREFIXED: Final = (
    "QueueDeletedRecently",
    "PurgeQueueInProgress",
    "UnsupportedOperation",
    "BatchEntryIdsNotDistinct",
    "BatchRequestTooLong",
    "EmptyBatchRequest",
    "InvalidBatchEntryId",
    "TooManyEntriesInBatchRequest",
    "MessageNotInflight",
)
_PREFIX: Final = "AWS.SimpleQueueService."

SQS: Final = QueryNames(
    namespace="http://queue.amazonaws.com/doc/2012-11-05/",
    elements={
        **{f"{name}List": name for name in _ITSELF},
        "AttributeNameList": "AttributeName",
        "MessageSystemAttributeList": "MessageSystemAttributeName",
        "MessageAttributeNameList": "MessageAttributeName",
        "MessageList": "Message",
        "QueueUrlList": "QueueUrl",
        "TagKeyList": "TagKey",
        "AWSAccountIdList": "AWSAccountId",
        "ActionNameList": "ActionName",
        "StringList": "StringListValue",
        "BinaryList": "BinaryListValue",
    },
    entries={
        "QueueAttributeMap": ("Name", "Value"),
        "MessageBodyAttributeMap": ("Name", "Value"),
        "MessageBodySystemAttributeMap": ("Name", "Value"),
        "MessageSystemAttributeMap": ("Name", "Value"),
        "TagMap": ("Key", "Value"),
    },
    members={
        "Attributes": "Attribute",
        "MessageAttributes": "MessageAttribute",
        "MessageSystemAttributes": "MessageSystemAttribute",
        "Tags": "Tag",
        "tags": "Tag",
    },
    codes={
        **{name: _PREFIX + name for name in _PREFIXED},
        "QueueDoesNotExist": f"{_PREFIX}NonExistentQueue",
        "QueueNameExists": "QueueAlreadyExists",
    },
)
