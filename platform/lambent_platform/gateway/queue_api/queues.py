"""Operations on queues themselves.

Source: SQS API reference.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.queue_errors import (
    PurgeQueueInProgress,
    QueueDoesNotExist,
    QueueNameExists,
    QueueParameterInvalid,
)
from lambent_platform.contracts.queues import QueueRecord, QueueRef, is_queue_name
from lambent_platform.core.queue_attributes import (
    changed_attributes,
    check_dead_letter_queue,
    check_name,
    difference,
    new_attributes,
    shown,
    tagged,
    wants_counts,
)
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.queue_api.access import QueueServices, queue_ref, queue_url

LIST_MAX: Final = 1000
CREATE_TRIES: Final = 5
PURGE_PAUSE_MS: Final = 60_000


class QueueOperations:
    """Serves the operations on queues, their attributes and tags."""

    def __init__(self, services: QueueServices) -> None:
        self._services = services
        self._store = services.store

    @operation("CreateQueue")
    async def create_queue(self, context: RequestContext, params: Params) -> Result:
        """Create a queue, or answer with the URL of the one that is there and just so."""
        name, given = params["QueueName"], params.get("Attributes", {})
        check_name(name, given)
        now_ms = self._services.clock.now_ms()
        tags = tagged({}, params["tags"]) if params.get("tags") else {}
        record = QueueRecord(
            account=context.account,
            region=context.region,
            name=name,
            attributes=new_attributes(given),
            tags=tags,
            created_at_ms=now_ms,
            modified_at_ms=now_ms,
        )
        await self._check_redrive(record)
        for _ in range(CREATE_TRIES):
            found = await self._store.find(record.account, record.region, name)
            if found is not None:
                wrong = difference(found, given)
                if wrong is not None:
                    raise QueueNameExists(
                        f"A queue already exists with the same name and a different value for attribute {wrong}"
                    )
                break
            if await self._store.create(record) is not None:
                break
        return {"QueueUrl": queue_url(context, record.ref)}

    @operation("DeleteQueue")
    async def delete_queue(self, context: RequestContext, params: Params) -> Result:
        """Delete a queue and all that is in it."""
        await self._store.drop(queue_ref(context, params))
        return {}

    @operation("GetQueueUrl")
    async def get_queue_url(self, context: RequestContext, params: Params) -> Result:
        """Answer with a queue's URL at the host that was asked."""
        name = params["QueueName"]
        account = params.get("QueueOwnerAWSAccountId") or context.account
        found = await self._store.find(account, context.region, name) if is_queue_name(name) else None
        if found is None:
            raise QueueDoesNotExist
        return {"QueueUrl": queue_url(context, found.ref)}

    @operation("ListQueues")
    async def list_queues(self, context: RequestContext, params: Params) -> Result:
        """List the URLs of queues by name."""
        names = await self._store.names(context.account, context.region, params.get("QueueNamePrefix", ""))
        page, token = _page(names, params)
        urls = [queue_url(context, QueueRef(context.account, context.region, name)) for name in page]
        return {"QueueUrls": urls or None, "NextToken": token}

    @operation("ListDeadLetterSourceQueues")
    async def list_dead_letter_source_queues(self, context: RequestContext, params: Params) -> Result:
        """List the queues whose dead letters come to this one."""
        queue = await self._services.current(context, params)
        page, token = _page([ref.name for ref in await self._store.sources(queue.ref)], params)
        urls = [queue_url(context, QueueRef(queue.account, queue.region, name)) for name in page]
        return {"queueUrls": urls, "NextToken": token}

    @operation("GetQueueAttributes")
    async def get_queue_attributes(self, context: RequestContext, params: Params) -> Result:
        """Show the attributes that were asked for."""
        queue, names = await self._services.current(context, params), params.get("AttributeNames", ())
        counts = None
        if wants_counts(names):
            counts = await self._store.counts(queue, now_ms=self._services.clock.now_ms())
        return {"Attributes": shown(queue, names, counts) or None}

    @operation("SetQueueAttributes")
    async def set_queue_attributes(self, context: RequestContext, params: Params) -> Result:
        """Change attributes; they count for what is received or sent from now on."""
        given, now_ms = params["Attributes"], self._services.clock.now_ms()
        ref = queue_ref(context, params)

        def change(old: QueueRecord) -> QueueRecord:
            attributes = changed_attributes(old.attributes, given, fifo=old.fifo)
            return replace(old, attributes=attributes, modified_at_ms=now_ms)

        if given.get("RedrivePolicy"):
            await self._check_redrive(change(await self._store.current(ref)))
        await self._store.update(ref, change)
        return {}

    @operation("PurgeQueue")
    async def purge_queue(self, context: RequestContext, params: Params) -> Result:
        """Delete all messages of a queue, at most once a minute."""
        ref = queue_ref(context, params)
        if not await self._store.purge(ref, now_ms=self._services.clock.now_ms(), pause_ms=PURGE_PAUSE_MS):
            raise PurgeQueueInProgress(f"Only one PurgeQueue operation on {ref.name} is allowed every 60 seconds.")
        return {}

    @operation("TagQueue")
    async def tag_queue(self, context: RequestContext, params: Params) -> Result:
        """Add tags."""
        given = params["Tags"]
        await self._store.update(queue_ref(context, params), lambda old: replace(old, tags=tagged(old.tags, given)))
        return {}

    @operation("UntagQueue")
    async def untag_queue(self, context: RequestContext, params: Params) -> Result:
        """Take tags away."""
        keys = set(params["TagKeys"])

        def change(old: QueueRecord) -> QueueRecord:
            return replace(old, tags={key: value for key, value in old.tags.items() if key not in keys})

        await self._store.update(queue_ref(context, params), change)
        return {}

    @operation("ListQueueTags")
    async def list_queue_tags(self, context: RequestContext, params: Params) -> Result:
        """Show all tags."""
        queue = await self._services.current(context, params)
        return {"Tags": dict(queue.tags) or None}

    async def _check_redrive(self, queue: QueueRecord) -> None:
        if queue.dead_letter_arn:
            check_dead_letter_queue(queue, await self._store.find_arn(queue.dead_letter_arn))


def _page(names: Sequence[str], params: Mapping[str, Any]) -> tuple[Sequence[str], str | None]:
    """Return one page of names in order, and the token of the next."""
    limit, token = params.get("MaxResults"), params.get("NextToken")
    if limit is not None and not 1 <= limit <= LIST_MAX:
        raise QueueParameterInvalid.of(limit, "MaxResults", f"MaxResults must be an integer between 1 and {LIST_MAX}.")
    if token:
        if limit is None:
            raise QueueParameterInvalid("MaxResults is a mandatory parameter when you provide a value for NextToken.")
        after = _read_token(token)
        names = [name for name in names if name > after]
    size = limit or LIST_MAX
    page = names[:size]
    # Without MaxResults there is one page and no more, as on SQS.
    more = limit is not None and len(names) > size
    return page, base64.urlsafe_b64encode(page[-1].encode()).decode() if more else None


def _read_token(token: str) -> str:
    try:
        name = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        name = ""
    if not is_queue_name(name):
        raise QueueParameterInvalid("Invalid or expired next token.")
    return name
