"""What the operations of queues share: the store, and which queue a request means."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.contracts.queue_errors import MissingParameter, QueueDoesNotExist
from lambent_platform.contracts.queues import QueueRecord, QueueRef
from lambent_platform.gateway.aws.registry import Params, RequestContext
from lambent_platform.gateway.queue_api.metrics import QueueMetrics
from lambent_platform.gateway.queue_api.polling import Polling
from lambent_platform.store.queue_moves import MoveTaskStore
from lambent_platform.store.queues import QueueStore

URLS_KEPT: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueServices:
    """What operations of queues need."""

    store: QueueStore
    polling: Polling
    moves: MoveTaskStore
    metrics: QueueMetrics
    clock: EventTimer

    async def known(self, context: RequestContext, params: Params) -> QueueRecord:
        """Return the queue of `QueueUrl` as it was read last; the store's scripts check that it is current.

        Raises:
            MissingParameter, QueueDoesNotExist.
        """
        return await self.store.known(queue_ref(context, params))

    async def current(self, context: RequestContext, params: Params) -> QueueRecord:
        """Read the queue of `QueueUrl`.

        Raises:
            MissingParameter, QueueDoesNotExist.
        """
        return await self.store.current(queue_ref(context, params))


def queue_ref(context: RequestContext, params: Params) -> QueueRef:
    """Return which queue `QueueUrl` means: the last two parts of its path are account and name, whatever the host."""
    url = params.get("QueueUrl")
    if not url:
        raise MissingParameter.of("QueueUrl")
    ref = _parsed(url, context.account, context.region)
    if ref is None:
        raise QueueDoesNotExist
    return ref


@functools.lru_cache(maxsize=URLS_KEPT)
def _parsed(url: str, account: str, region: str) -> QueueRef | None:
    return QueueRef.parse(url, account=account, region=region)


def queue_url(context: RequestContext, ref: QueueRef) -> str:
    """Return a queue's URL at the host that the client knows."""
    return f"{context.base_url}/{ref.account}/{quote(ref.name)}"
