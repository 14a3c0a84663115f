"""What is looked up before a source may be mapped to a function; one check for each kind of `core/mapping_sources.py`.

Source: what Lambda replies; Lambda Developer Guide, "Creating and configuring an Amazon SQS event source mapping".
"""

from __future__ import annotations

from typing import Protocol

from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.mappings import MappingRecord
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.configuration import invalid
from lambent_platform.store.functions import FunctionStore
from lambent_platform.store.queues import QueueStore


class SourceCheck(Protocol):
    """Says whether a source exists and goes together with the function."""

    async def __call__(self, record: MappingRecord, version: FunctionVersion, /) -> None:
        """Raise InvalidParameterValue where it does not."""


class QueueCheck:
    """A queue exists, and hides what was received from it for as long as the function may take."""

    def __init__(self, queues: QueueStore) -> None:
        self._queues = queues

    async def __call__(self, record: MappingRecord, version: FunctionVersion, /) -> None:
        """Raise InvalidParameterValue where it does not."""
        queue = await self._queues.find_arn(record.source_arn)
        if queue is None:
            raise invalid(
                "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
                "SQS Error Message: The specified queue does not exist."
            )
        if queue.visibility_timeout_s < version.timeout_s:
            raise invalid(
                f"Queue visibility timeout: {queue.visibility_timeout_s} seconds is less than "
                f"Function timeout: {version.timeout_s} seconds"
            )


class StreamCheck:
    """Where it is told of entries that are given up, that is there. The stream itself may come later."""

    def __init__(self, queues: QueueStore, functions: FunctionStore) -> None:
        self._queues = queues
        self._functions = functions

    async def __call__(self, record: MappingRecord, version: FunctionVersion, /) -> None:
        """Raise InvalidParameterValue where it is not."""
        arn = record.on_failure_arn
        if ":sqs:" in arn and await self._queues.find_arn(arn) is None:
            raise invalid(f"The on-failure destination {arn} does not exist.")
        ref = FunctionRef.parse(arn) if ":function:" in arn else None
        if ref is not None and await self._functions.load(ref.ident) is None:
            raise invalid(f"The on-failure destination {arn} does not exist.")
