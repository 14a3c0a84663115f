"""What failed for good: dead events of functions, and messages of dead-letter queues; seen, sent again, removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from lambent.errors import ApiError, ResourceNotFound
from lambent.services import Services
from lambent.transport import Transport

T = TypeVar("T")
_PATH: Final = "/_lambent/dead"
_PAGE: Final = 100
_RECEIVE: Final = 10
_HIDDEN_S: Final = 30
"""How long messages that are looked at are hidden from others, at the most: until all wanted ones were seen."""
_QUEUES_MAX: Final = 1_000
_MOVE_POLL_S: Final = 0.2
MOVE_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that ended without anybody to be told, or that nobody would take."""

    id: str
    """The request id of its invocation."""
    kind: str
    """`event`, or `delivery` where it ran well and only its destination could not be told."""
    reason: str
    error_type: str
    error_message: str
    attempts: int
    accepted_at: str
    """ISO 8601, as `died_at`."""
    died_at: str
    payload_bytes: int
    payload_preview: str
    payload: str | None = None
    """The whole of it, where a single event was asked for."""

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> DeadEvent:
        """Read the page's JSON."""
        names = cls.__dataclass_fields__
        return cls(**{name: value for name, value in data.items() if name in names})


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of events that were to be sent again."""

    count: int
    failed: Mapping[str, str] = field(default_factory=dict)
    """Those that stay dead: id → reason."""


@dataclass(frozen=True, slots=True)
class DeadLetterQueue:
    """A queue that is some other queue's, or some function's, dead-letter queue."""

    name: str
    arn: str
    messages: int
    sources: tuple[str, ...]
    """The names of queues and functions whose dead letters come here."""


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message in a queue."""

    id: str
    body: str
    attributes: Mapping[str, str]
    """SQS's own: `SentTimestamp`, `ApproximateReceiveCount` …"""
    message_attributes: Mapping[str, str]


class AsyncDead:
    """Dead events and dead letters.

        for event in await client.dead.events("flaky"):
            print(event.id, event.reason)
        await client.dead.redrive("flaky")

    Every method raises `ResourceNotFound` where there is no such function, event or queue.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._services = Services(transport)

    # Functions

    async def functions(self) -> dict[str, int]:
        """How many dead events each function has, of those that have any."""
        found = (await self._transport.request("GET", _PATH)).json()["functions"]
        return {str(one["name"]): int(one["count"]) for one in found}

    async def events(self, function: str) -> list[DeadEvent]:
        """A function's dead events without their payloads, the oldest first; the platform keeps no more than 1,000."""
        found: list[DeadEvent] = []
        query: dict[str, Any] = {"limit": _PAGE}
        while True:
            page = (await self._transport.request("GET", f"{_of(function)}?{urlencode(query)}")).json()
            found += [DeadEvent.from_api(one) for one in page["events"]]
            if page["next"] is None:
                return found
            query["after"] = page["next"]

    async def event(self, function: str, event_id: str) -> DeadEvent:
        """One dead event with its payload."""
        path = f"{_of(function)}/{quote(event_id, safe='')}"
        return DeadEvent.from_api((await self._transport.request("GET", path)).json())

    async def redrive(self, function: str, event_ids: Sequence[str] | None = None) -> Redriven:
        """Accept dead events again, all or those named: each becomes a new event with fresh attempts."""
        answer = await self._post(f"{_of(function)}/redrive", event_ids)
        return Redriven(int(answer["redriven"]), {one["id"]: one["reason"] for one in answer["failed"]})

    async def purge(self, function: str, event_ids: Sequence[str] | None = None) -> int:
        """Remove dead events for good, all or those named; returns how many there were."""
        return int((await self._post(f"{_of(function)}/purge", event_ids))["purged"])

    async def _post(self, path: str, event_ids: Sequence[str] | None) -> dict[str, Any]:
        body = {"all": True} if event_ids is None else {"ids": list(event_ids)}
        answer = await self._transport.request(
            "POST", path, headers={"Content-Type": "application/json"}, body=json.dumps(body).encode()
        )
        found: dict[str, Any] = answer.json()
        return found

    # Queues

    async def queues(self) -> list[DeadLetterQueue]:
        """The dead-letter queues of all queues and functions."""
        urls = await self._queue_urls()
        wanted = ["QueueArn", "RedrivePolicy", "ApproximateNumberOfMessages"]
        attributes = [
            (await self._sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=wanted)).get("Attributes", {})
            for url in urls
        ]
        sources: dict[str, list[str]] = {}
        for one in attributes:
            target = json.loads(one.get("RedrivePolicy") or "{}").get("deadLetterTargetArn")
            if target:
                sources.setdefault(target, []).append(_name(one["QueueArn"]))
        async for function in self._services.pages(
            "lambda", "/2015-03-31/functions", "Functions", ("NextMarker", "Marker")
        ):
            target = (function.get("DeadLetterConfig") or {}).get("TargetArn")
            if target:
                sources.setdefault(target, []).append(function["FunctionName"])
        return [
            DeadLetterQueue(
                _name(one["QueueArn"]),
                one["QueueArn"],
                int(one.get("ApproximateNumberOfMessages", 0)),
                tuple(sources[one["QueueArn"]]),
            )
            for one in attributes
            if one.get("QueueArn") in sources
        ]

    async def _queue_urls(self) -> list[str]:
        urls: list[str] = []
        token: str | None = None
        while len(urls) < _QUEUES_MAX:
            page = await self._sqs("ListQueues", MaxResults=_QUEUES_MAX, NextToken=token)
            urls += page.get("QueueUrls", ())
            token = page.get("NextToken")
            if not token:
                break
        return urls[:_QUEUES_MAX]

    async def messages(self, queue: str, *, limit: int = 50) -> list[DeadMessage]:
        """Look at up to `limit` messages of a queue, which stay in it; each look counts as a receive of them.

        `queue` is a name, an ARN or a URL. Meanwhile nobody else can receive them.
        """
        url = await self._queue_url(queue)
        found: dict[str, DeadMessage] = {}
        handles: list[str] = []
        try:
            while len(found) < limit:
                page = await self._sqs(
                    "ReceiveMessage",
                    QueueUrl=url,
                    MaxNumberOfMessages=min(_RECEIVE, limit - len(found)),
                    VisibilityTimeout=_HIDDEN_S,
                    MessageSystemAttributeNames=["All"],
                    MessageAttributeNames=["All"],
                )
                received = page.get("Messages", ())
                handles += [one["ReceiptHandle"] for one in received]
                new = {one["MessageId"]: _message(one) for one in received}
                if not new.keys() - found.keys():
                    break
                found |= new
        finally:
            await self._show_again(url, handles)
        return list(found.values())

    async def _show_again(self, url: str, handles: Sequence[str]) -> None:
        for at in range(0, len(handles), _RECEIVE):
            entries = [
                {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for n, handle in enumerate(handles[at : at + _RECEIVE])
            ]
            await self._sqs("ChangeMessageVisibilityBatch", QueueUrl=url, Entries=entries)

    async def redrive_queue(self, queue: str, *, to: str | None = None, timeout_s: float = MOVE_TIMEOUT_S) -> int:
        """Move all messages of a dead-letter queue back to where they came from, or to the queue `to`.

        Returns how many were moved, once all are.

        Raises:
            ApiError: the platform refuses, or the task failed. TimeoutError: it goes on, but took too long.
        """
        source = await self._queue_arn(queue)
        destination = await self._queue_arn(to) if to is not None else None
        started = await self._sqs("StartMessageMoveTask", SourceArn=source, DestinationArn=destination)
        async with asyncio.timeout(timeout_s):
            while True:
                tasks = await self._sqs("ListMessageMoveTasks", SourceArn=source, MaxResults=1)
                task: dict[str, Any] = next(iter(tasks.get("Results", ())), {})
                if task.get("TaskHandle", started["TaskHandle"]) != started["TaskHandle"]:
                    raise ApiError("another task has begun to move the messages", code="TaskReplaced", status=409)
                if task.get("Status") not in (None, "RUNNING", "CANCELLING"):
                    break
                await asyncio.sleep(_MOVE_POLL_S)
        if task["Status"] != "COMPLETED":
            reason = task.get("FailureReason") or f"it ended as {task['Status']}"
            raise ApiError(f"not all messages could be moved: {reason}", code="MoveTaskFailed", status=400)
        return int(task.get("ApproximateNumberOfMessagesMoved", 0))

    async def purge_queue(self, queue: str) -> None:
        """Remove all messages of a queue for good."""
        await self._sqs("PurgeQueue", QueueUrl=await self._queue_url(queue))

    async def is_queue(self, name: str) -> bool:
        """Whether there is a queue of this name, ARN or URL."""
        try:
            await self._queue_arn(name)
        except ResourceNotFound:
            return False
        return True

    async def _queue_url(self, queue: str) -> str:
        if "://" in queue:
            return queue
        try:
            return str((await self._sqs("GetQueueUrl", QueueName=_name(queue)))["QueueUrl"])
        except ApiError as error:
            raise _not_found(queue, error) from error

    async def _queue_arn(self, queue: str) -> str:
        url = await self._queue_url(queue)
        try:
            answer = await self._sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=["QueueArn"])
        except ApiError as error:
            raise _not_found(queue, error) from error
        return str(answer["Attributes"]["QueueArn"])

    async def _sqs(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._services.call("sqs", operation, **parameters)


class Dead:
    """`AsyncDead` for code that is not asynchronous; methods and errors are the same."""

    def __init__(self, dead: AsyncDead, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._dead = dead
        self._run = run

    def functions(self) -> dict[str, int]:
        """See `AsyncDead.functions`."""
        return self._done(self._dead.functions())

    def events(self, function: str) -> list[DeadEvent]:
        """See `AsyncDead.events`."""
        return self._done(self._dead.events(function))

    def event(self, function: str, event_id: str) -> DeadEvent:
        """See `AsyncDead.event`."""
        return self._done(self._dead.event(function, event_id))

    def redrive(self, function: str, event_ids: Sequence[str] | None = None) -> Redriven:
        """See `AsyncDead.redrive`."""
        return self._done(self._dead.redrive(function, event_ids))

    def purge(self, function: str, event_ids: Sequence[str] | None = None) -> int:
        """See `AsyncDead.purge`."""
        return self._done(self._dead.purge(function, event_ids))

    def queues(self) -> list[DeadLetterQueue]:
        """See `AsyncDead.queues`."""
        return self._done(self._dead.queues())

    def messages(self, queue: str, *, limit: int = 50) -> list[DeadMessage]:
        """See `AsyncDead.messages`."""
        return self._done(self._dead.messages(queue, limit=limit))

    def redrive_queue(self, queue: str, *, to: str | None = None, timeout_s: float = MOVE_TIMEOUT_S) -> int:
        """See `AsyncDead.redrive_queue`."""
        return self._done(self._dead.redrive_queue(queue, to=to, timeout_s=timeout_s))

    def purge_queue(self, queue: str) -> None:
        """See `AsyncDead.purge_queue`."""
        self._done(self._dead.purge_queue(queue))

    def is_queue(self, name: str) -> bool:
        """See `AsyncDead.is_queue`."""
        return self._done(self._dead.is_queue(name))

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        result: T = self._run(work)
        return result


def _of(function: str) -> str:
    return f"{_PATH}/{quote(function, safe='')}"


def _name(text: str) -> str:
    return text.rsplit(":", 1)[-1]


def _message(data: Mapping[str, Any]) -> DeadMessage:
    attributes = data.get("MessageAttributes") or {}
    return DeadMessage(
        id=data["MessageId"],
        body=data["Body"],
        attributes=data.get("Attributes") or {},
        message_attributes={
            name: one.get("StringValue") or f"({one.get('DataType')})" for name, one in attributes.items()
        },
    )


def _not_found(queue: str, error: ApiError) -> ApiError:
    missing = error.code.rsplit(".", 1)[-1] in ("QueueDoesNotExist", "NonExistentQueue")
    return ResourceNotFound(f"Queue not found: {queue}") if missing else error
