"""Moving the messages of a dead-letter queue: the scheduler does it, these operations begin, show and end it.

Source: SQS API reference, "StartMessageMoveTask" and its kin.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import orjson

from lambent_platform.contracts.queue_errors import MoveTaskNotFound, QueueParameterInvalid
from lambent_platform.contracts.queues import QueueRecord, QueueRef
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.queue_api.access import QueueServices
from lambent_platform.store.queue_moves import MoveTask, MoveTaskActive

PER_SECOND_MAX: Final = 500
RESULTS_MAX: Final = 10


class MoveTaskOperations:
    """Serves the operations on move tasks."""

    def __init__(self, services: QueueServices) -> None:
        self._services = services
        self._moves = services.moves

    @operation("StartMessageMoveTask")
    async def start_message_move_task(self, context: RequestContext, params: Params) -> Result:
        """Begin to move all messages of a dead-letter queue to one queue, or back to where they came from."""
        per_second = params.get("MaxNumberOfMessagesPerSecond")
        if per_second is not None and not 1 <= per_second <= PER_SECOND_MAX:
            reason = f"You must enter a positive integer value between 1 and {PER_SECOND_MAX}"
            raise QueueParameterInvalid.of(per_second, "MaxNumberOfMessagesPerSecond", reason)
        source = await self._queue(params["SourceArn"], "SourceArn")
        destination = params.get("DestinationArn", "")
        if destination:
            if destination == source.arn:
                raise QueueParameterInvalid("Source queue arn and destination queue arn cannot be the same.")
            if (await self._queue(destination, "DestinationArn")).fifo != source.fifo:
                raise QueueParameterInvalid("Source queue and destination queue must be of the same type.")
        if not await self._services.store.sources(source.ref):
            raise QueueParameterInvalid("Source queue must be configured as a Dead Letter Queue.")
        try:
            task = await self._moves.start(
                source, destination=destination, per_second=per_second or 0, now_ms=self._services.clock.now_ms()
            )
        except MoveTaskActive:
            raise QueueParameterInvalid(
                "There is already a task running. "
                "Only one active task is allowed for a source queue arn at a given time."
            ) from None
        if task is None:
            raise _missing("SourceArn")
        return {"TaskHandle": _handle(source.arn, task.id)}

    @operation("ListMessageMoveTasks")
    async def list_message_move_tasks(self, context: RequestContext, params: Params) -> Result:
        """Show the newest tasks of a queue."""
        limit = params.get("MaxResults", 1)
        if not 1 <= limit <= RESULTS_MAX:
            reason = f"MaxResults must be an integer between 1 and {RESULTS_MAX}."
            raise QueueParameterInvalid.of(limit, "MaxResults", reason)
        source = await self._queue(params["SourceArn"], "SourceArn")
        tasks = await self._moves.tasks(source.ref)
        return {"Results": [_entry(source, task) for task in tasks[:limit]]}

    @operation("CancelMessageMoveTask")
    async def cancel_message_move_task(self, context: RequestContext, params: Params) -> Result:
        """Have a task end before its next step."""
        handle = params["TaskHandle"]
        found = _read_handle(handle)
        if found is None:
            raise QueueParameterInvalid.of(handle[:1024], "TaskHandle", "The specified task handle is not valid.")
        moved = await self._moves.cancel(*found)
        if moved == -2:
            raise MoveTaskNotFound("Task does not exist.")
        if moved < 0:
            raise QueueParameterInvalid.of(handle, "TaskHandle", "Only active tasks can be cancelled.")
        return {"ApproximateNumberOfMessagesMoved": moved}

    async def _queue(self, arn: str, parameter: str) -> QueueRecord:
        if not arn.startswith("arn:") or QueueRef.parse(arn) is None:
            raise QueueParameterInvalid.of(arn[:256], parameter, "It must be the ARN of a queue.")
        found = await self._services.store.find_arn(arn)
        if found is None:
            raise _missing(parameter)
        return found


def _missing(parameter: str) -> MoveTaskNotFound:
    return MoveTaskNotFound(f"The resource that you specified for the {parameter} parameter doesn't exist.")


def _handle(arn: str, task_id: str) -> str:
    return base64.b64encode(orjson.dumps({"taskId": task_id, "sourceArn": arn})).decode()


def _read_handle(handle: str) -> tuple[QueueRef, str] | None:
    try:
        found = orjson.loads(base64.b64decode(handle, validate=True))
        ref, task_id = QueueRef.parse(found["sourceArn"]), found["taskId"]
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (ref, task_id) if ref is not None and isinstance(task_id, str) else None


def _entry(source: QueueRecord, task: MoveTask) -> dict[str, Any]:
    return {
        # Source: SQS API reference: a handle is shown of running tasks alone.
        "TaskHandle": _handle(source.arn, task.id) if task.status == "RUNNING" else None,
        "Status": task.status,
        "SourceArn": source.arn,
        "DestinationArn": task.destination or None,
        "MaxNumberOfMessagesPerSecond": task.per_second or None,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "FailureReason": task.reason or None,
        "StartedTimestamp": task.started_ms,
    }
