"""The leader's part that polls: a dispatcher of its own, news of arrivals, and the supervisor of all mappings."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from lambent_platform.dispatch.dispatcher import Dispatcher
from lambent_platform.scheduler.pollers.metrics import PollerMetrics
from lambent_platform.scheduler.pollers.supervisor import MappingSupervisor
from lambent_platform.store.arrivals import Arrivals
from lambent_platform.store.metrics import MetricsStore, published
from lambent_platform.store.streams import StreamStore

AGAIN_S: Final = 1.0


class Pollers:
    """One scheduler's pollers; they run while it leads."""

    def __init__(
        self,
        instance: str,
        supervisor: MappingSupervisor,
        dispatcher: Dispatcher,
        arrivals: Arrivals,
        metrics: PollerMetrics,
        snapshots: MetricsStore,
        streams: StreamStore,
    ) -> None:
        self._instance = f"pollers:{instance}"
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._arrivals = arrivals
        self._metrics = metrics
        self._snapshots = snapshots
        self._streams = streams
        metrics.watch_polling(lambda: supervisor.polling)

    async def step(self) -> None:
        """Poll every enabled mapping until cancelled: a loop's step that lasts as long as the lease."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._streams.close)
            await stack.enter_async_context(self._dispatcher.running())
            await stack.enter_async_context(self._arrivals.running())
            await stack.enter_async_context(published(self._snapshots, self._instance, self._metrics.text))
            await self._supervisor.run()
