"""Requests that come while others are on their way, sent as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

BATCH_MAX: Final = 256


class Batcher(Generic[In, Out]):
    """Collects what is submitted while the batch before is on its way, and sends it as the next."""

    def __init__(self, send: Callable[[Sequence[In]], Awaitable[Sequence[Out]]]) -> None:
        self._send = send
        self._pending: list[tuple[In, asyncio.Future[Out]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def submit(self, item: In) -> Out:
        """Send an item with others; returns its own result, or raises what the send raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Out] = loop.create_future()
        self._pending.append((item, future))
        if self._sending is None:
            self._sending = loop.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending[:BATCH_MAX], self._pending[BATCH_MAX:]
                await self._submit(batch)
        finally:
            self._sending = None

    async def _submit(self, batch: list[tuple[In, asyncio.Future[Out]]]) -> None:
        try:
            results = await self._send([item for item, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
