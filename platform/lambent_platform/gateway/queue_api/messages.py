"""Operations on messages: send, receive, delete, change visibility, one or ten at a time.

Source: SQS API reference. An entry of a batch that cannot be served is answered in `Failed`, the others are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from lambent_platform.contracts.errors import ApiError
from lambent_platform.contracts.queue_errors import InvalidAttributeName, MissingParameter
from lambent_platform.contracts.queues import Message, NewMessage, QueueRecord, Sent
from lambent_platform.core.lineage import rooted
from lambent_platform.core.queue_message_rules import (
    check_batch_bytes,
    check_entries,
    check_message,
    check_receive,
    check_visibility,
    chosen,
    system_values,
)
from lambent_platform.core.queue_messages import TRACE_HEADER, md5_of_attributes
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.queue_api.access import QueueServices

SYSTEM_NAMES: Final = frozenset(
    {
        "All",
        "SenderId",
        "SentTimestamp",
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
        "SequenceNumber",
        "MessageDeduplicationId",
        "MessageGroupId",
        "AWSTraceHeader",
        "DeadLetterQueueSourceArn",
    }
)
Refusal = ApiError | None


class MessageOperations:
    """Serves the operations on messages."""

    def __init__(self, services: QueueServices) -> None:
        self._services = services
        self._store = services.store
        self._metrics = services.metrics

    @operation("SendMessage")
    async def send_message(self, context: RequestContext, params: Params) -> Result:
        """Send one message."""
        queue = await self._services.known(context, params)
        message = _new_message(params, context)
        try:
            check_message(queue, message)
        except ApiError:
            # Perhaps the queue takes it by now.
            queue = await self._services.current(context, params)
            check_message(queue, message)
        (sent,) = await self._store.send(queue, [message], now_ms=self._services.clock.now_ms())
        self._metrics.sent.inc()
        return _sent(sent, params)

    @operation("SendMessageBatch")
    async def send_message_batch(self, context: RequestContext, params: Params) -> Result:
        """Send up to ten messages."""
        queue, entries = await self._services.known(context, params), params["Entries"]
        check_entries(entries, "SendMessageBatchRequestEntry")
        good, failed = _checked(queue, entries, context)
        if failed:
            # Perhaps the queue takes them by now.
            queue = await self._services.current(context, params)
            good, failed = _checked(queue, entries, context)
        now_ms = self._services.clock.now_ms()
        sent = await self._store.send(queue, list(good.values()), now_ms=now_ms) if good else []
        self._metrics.sent.inc(len(sent))
        given = {entry["Id"]: entry for entry in entries}
        successful = [{"Id": name, **_sent(one, given[name])} for name, one in zip(good, sent, strict=True)]
        return _batch_result(successful, failed)

    @operation("ReceiveMessage")
    async def receive_message(self, context: RequestContext, params: Params) -> Result:
        """Receive up to ten messages, waiting for the first as the request says, or the queue."""
        queue = await self._services.known(context, params)
        count, wait_s = params.get("MaxNumberOfMessages", 1), params.get("WaitTimeSeconds")
        visibility_s, attempt_id = params.get("VisibilityTimeout"), params.get("ReceiveRequestAttemptId")
        check_receive(queue, count=count, wait_s=wait_s, visibility_s=visibility_s, attempt_id=attempt_id)
        names = [*params.get("AttributeNames", ()), *params.get("MessageSystemAttributeNames", ())]
        for name in names:
            if name not in SYSTEM_NAMES:
                raise InvalidAttributeName.of(name)
        messages = await self._services.polling.receive(
            queue,
            count=count,
            wait_s=queue.wait_s if wait_s is None else wait_s,
            visibility_s=visibility_s,
            attempt_id=attempt_id or "",
            gone=context.gone,
        )
        self._metrics.received.inc(len(messages))
        wanted = params.get("MessageAttributeNames", ())
        return {"Messages": [_received(message, names, wanted) for message in messages] or None}

    @operation("DeleteMessage")
    async def delete_message(self, context: RequestContext, params: Params) -> Result:
        """Delete one received message."""
        queue = await self._services.known(context, params)
        handles = [params["ReceiptHandle"]]
        (refusal,) = await self._store.delete(queue, handles, now_ms=self._services.clock.now_ms())
        if refusal is not None:
            raise refusal
        self._metrics.deleted.inc()
        return {}

    @operation("DeleteMessageBatch")
    async def delete_message_batch(self, context: RequestContext, params: Params) -> Result:
        """Delete up to ten received messages."""
        queue = await self._services.known(context, params)
        entries = params["Entries"]
        check_entries(entries, "DeleteMessageBatchRequestEntry")
        _check_handles(entries, "DeleteMessageBatchRequestEntry")
        handles = [entry["ReceiptHandle"] for entry in entries]
        answers = await self._store.delete(queue, handles, now_ms=self._services.clock.now_ms())
        self._metrics.deleted.inc(answers.count(None))
        return _answered(entries, answers)

    @operation("ChangeMessageVisibility")
    async def change_message_visibility(self, context: RequestContext, params: Params) -> Result:
        """Let one received message be invisible for another time, from now."""
        check_visibility(params["VisibilityTimeout"])
        queue = await self._services.known(context, params)
        changes = [(params["ReceiptHandle"], params["VisibilityTimeout"])]
        (refusal,) = await self._store.change_visibility(queue, changes, now_ms=self._services.clock.now_ms())
        if refusal is not None:
            raise refusal
        return {}

    @operation("ChangeMessageVisibilityBatch")
    async def change_message_visibility_batch(self, context: RequestContext, params: Params) -> Result:
        """Let up to ten received messages be invisible for another time, from now."""
        queue = await self._services.known(context, params)
        entries = params["Entries"]
        kind = "ChangeMessageVisibilityBatchRequestEntry"
        check_entries(entries, kind)
        _check_handles(entries, kind)
        refused: dict[int, ApiError] = {}
        for at, entry in enumerate(entries):
            try:
                if "VisibilityTimeout" not in entry:
                    raise MissingParameter.of(f"{kind}.{at + 1}.VisibilityTimeout")
                check_visibility(entry["VisibilityTimeout"])
            except ApiError as error:
                refused[at] = error
        changes = [(e["ReceiptHandle"], e["VisibilityTimeout"]) for at, e in enumerate(entries) if at not in refused]
        answers = iter(await self._store.change_visibility(queue, changes, now_ms=self._services.clock.now_ms()))
        return _answered(entries, [refused[at] if at in refused else next(answers) for at in range(len(entries))])


def _checked(
    queue: QueueRecord, entries: Sequence[Params], context: RequestContext
) -> tuple[dict[str, NewMessage], dict[str, ApiError]]:
    """Return the messages of a batch by their id, and what is wrong with the others.

    Raises:
        MissingParameter, BatchRequestTooLong: something is wrong with the batch.
    """
    good: dict[str, NewMessage] = {}
    failed: dict[str, ApiError] = {}
    size = 0
    for at, entry in enumerate(entries, start=1):
        if "MessageBody" not in entry:
            raise MissingParameter.of(f"SendMessageBatchRequestEntry.{at}.MessageBody")
        try:
            message = _new_message(entry, context)
            size += check_message(queue, message)
            good[entry["Id"]] = message
        except ApiError as error:
            size += len(entry["MessageBody"].encode())
            failed[entry["Id"]] = error
    check_batch_bytes(size)
    return good, failed


def _new_message(params: Params, context: RequestContext) -> NewMessage:
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        if params.get(name) == "":
            raise MissingParameter.of(name)
    system = system_values(params.get("MessageSystemAttributes", {}))
    if TRACE_HEADER not in system and (header := rooted(context.headers.get("x-amzn-trace-id", ""))):
        # SDKs inside functions send it: by it a loop through this queue is seen (core/lineage.py).
        system = {TRACE_HEADER: header}
    return NewMessage(
        body=params["MessageBody"],
        message_attributes=params.get("MessageAttributes", {}),
        system_attributes=system,
        delay_s=params.get("DelaySeconds"),
        group_id=params.get("MessageGroupId", ""),
        deduplication_id=params.get("MessageDeduplicationId", ""),
    )


def _sent(sent: Sent, params: Params) -> dict[str, Any]:
    # The MD5 is of what the sender gave: the header of its request is not that.
    system_md5 = sent.md5_of_system_attributes if params.get("MessageSystemAttributes") else ""
    return {
        "MessageId": sent.id,
        "MD5OfMessageBody": sent.md5_of_body,
        "MD5OfMessageAttributes": sent.md5_of_message_attributes or None,
        "MD5OfMessageSystemAttributes": system_md5 or None,
        "SequenceNumber": sent.sequence_number or None,
    }


def _received(message: Message, names: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
    attributes = message.attributes
    if "All" not in names:
        attributes = {name: attributes[name] for name in names if name in attributes}
    shown = chosen(wanted, message.message_attributes)
    whole = len(shown) == len(message.message_attributes)
    md5 = message.md5_of_message_attributes if whole else md5_of_attributes(shown)
    return {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": message.md5_of_body,
        "Body": message.body,
        "Attributes": attributes or None,
        "MD5OfMessageAttributes": md5 or None,
        "MessageAttributes": shown or None,
    }


def _check_handles(entries: Sequence[Params], kind: str) -> None:
    for at, entry in enumerate(entries, start=1):
        if not entry.get("ReceiptHandle"):
            raise MissingParameter.of(f"{kind}.{at}.ReceiptHandle")


def _answered(entries: Sequence[Params], answers: Sequence[Refusal]) -> Result:
    both = list(zip(entries, answers, strict=True))
    failed = {entry["Id"]: answer for entry, answer in both if answer is not None}
    return _batch_result([{"Id": entry["Id"]} for entry, answer in both if answer is None], failed)


def _batch_result(successful: Sequence[Params], failed: dict[str, ApiError]) -> Result:
    return {
        "Successful": list(successful),
        "Failed": [
            {"Id": entry_id, "SenderFault": error.status < 500, "Code": error.code, "Message": error.message}
            for entry_id, error in failed.items()
        ],
    }
