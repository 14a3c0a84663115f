"""The queue service of one gateway: its store, its long polls, and what serves its operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from lambent_platform.contracts.clock import EventTimer
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.queue_api import QUEUE_OPERATIONS, QueueServices
from lambent_platform.gateway.queue_api.metrics import QueueMetrics
from lambent_platform.gateway.queue_api.polling import Polling
from lambent_platform.store.arrivals import Arrivals
from lambent_platform.store.queue_moves import MoveTaskStore
from lambent_platform.store.queues import QueueStore
from lambent_platform.store.redis import RedisStore


class QueueService:
    """Serves queues. `process` is this gateway's unique name."""

    def __init__(
        self, redis: RedisStore, store: QueueStore, clock: EventTimer, *, process: str, metrics: CollectorRegistry
    ) -> None:
        self._arrivals = Arrivals(redis, process)
        self.polling = Polling(store, self._arrivals, clock)
        self._services = QueueServices(
            store=store,
            polling=self.polling,
            moves=MoveTaskStore(redis, store),
            metrics=QueueMetrics(metrics),
            clock=clock,
        )

    def serve(self, registry: Registry) -> None:
        """Register all operations."""
        for operations in QUEUE_OPERATIONS:
            registry.serve("sqs", operations(self._services))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Wake who waits, for the length of the block."""
        async with self._arrivals.running():
            yield
