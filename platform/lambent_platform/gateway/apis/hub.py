"""All connections that this gateway holds, and the way to those that others hold.

A post for a connection of another gateway goes into that one's box on Redis and is done there or not at all within
`ORDER_WAIT_S`; how it ended comes back through the box of the gateway that asked. A connection is known on Redis
before its client is, and until `$disconnect` was told: whoever finds its gateway dead can still tell it.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from aiohttp import WSCloseCode

from lambent_platform.contracts.connections import Order, OrderDone, OrderEnd, OrderKind, decode_item
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.gateway.apis.sockets import Socket
from lambent_platform.store.connections import ConnectionStore

ORDER_WAIT_S: Final = 5.0
BOX_WAIT_S: Final = 1.0
BOX_ITEMS: Final = 256
COMPARE_S: Final = 10.0
LEAVE_S: Final = 2.0

log = structlog.get_logger("gateway")


class Hub:
    """Connections by id."""

    def __init__(self, store: ConnectionStore, *, gateway_id: str) -> None:
        self.store = store
        self.gateway_id = gateway_id
        self.leaving = False
        """Whether this gateway ends: its connections are then left to whoever cleans up after it."""
        self._held: dict[str, Socket] = {}
        self._empty = asyncio.Event()
        self._asked: dict[str, asyncio.Future[OrderDone]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, socket: Socket) -> None:
        """Take a connection in."""
        self._held[socket.record.id] = socket
        self._empty.clear()

    def remove(self, socket: Socket) -> None:
        """Let a connection go."""
        self._held.pop(socket.record.id, None)
        if not self._held:
            self._empty.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do what other gateways ask for, for the length of the block."""
        tasks = [asyncio.create_task(self._take(prefix)) for prefix in self.store.partitions]
        tasks.append(asyncio.create_task(self._compare()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def leave(self) -> None:
        """Close all connections, since this gateway ends; their functions are told by whoever cleans up after it."""
        self.leaving = True
        for socket in list(self._held.values()):
            socket.end(WSCloseCode.GOING_AWAY)
        if self._held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._empty.wait()

    async def ask(self, kind: OrderKind, connection_id: str, payload: bytes = b"") -> OrderDone:
        """Do something with a connection, whichever gateway holds it.

        Raises:
            StoreUnavailable: Redis is away.
        """
        order = Order(
            id=str(uuid.uuid4()), kind=kind, connection_id=connection_id, asker=self.gateway_id, payload=payload
        )
        if connection_id in self._held:
            return self._carry_out(order)
        done: asyncio.Future[OrderDone] = asyncio.get_running_loop().create_future()
        self._asked[order.id] = done
        try:
            sent = await self.store.order(order, wait_ms=int(ORDER_WAIT_S * 1000))
            if sent != "sent":
                return OrderDone(id=order.id, end="gone" if sent == "gone" else "slow", facts={})
            async with asyncio.timeout(ORDER_WAIT_S):
                return await done
        except TimeoutError:
            return OrderDone(id=order.id, end="slow", facts={})
        finally:
            del self._asked[order.id]

    def _carry_out(self, order: Order) -> OrderDone:
        socket = self._held.get(order.connection_id)
        end: OrderEnd = "gone"
        facts: dict[str, Any] = {}
        if socket is not None and order.kind == "post":
            end = socket.offer(order.payload)
        elif socket is not None and order.kind == "get":
            end, facts = "ok", socket.facts()
        elif socket is not None:
            end = "ok"
            socket.end(WSCloseCode.OK)
        return OrderDone(id=order.id, end=end, facts=facts)

    async def _take(self, prefix: str) -> None:
        failures = 0
        while True:
            try:
                items = await self.store.take(prefix, self.gateway_id, wait_s=BOX_WAIT_S, count=BOX_ITEMS)
                ended = [one for item in items if (one := self._read(item)) is not None]
                if ended:
                    await self.store.answer(prefix, ended)
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                log.warning("redis is away", loop="connections", error=str(error))
                await asyncio.sleep(min(0.1 * 2**failures, 2.0))

    def _read(self, item: bytes) -> tuple[str, OrderDone] | None:
        found = decode_item(item)
        if isinstance(found, Order):
            return found.asker, self._carry_out(found)
        waiting = self._asked.get(found.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(found)
        return None

    async def _compare(self) -> None:
        """Close what Redis does not know any more: this gateway was silent for so long that it was given up."""
        while True:
            await asyncio.sleep(COMPARE_S)
            mine = dict(self._held)
            try:
                known = {
                    one
                    for prefix in self.store.partitions
                    for one in (await self.store.held(prefix, self.gateway_id) if mine else ())
                }
            except StoreUnavailable:
                continue
            for connection_id, socket in mine.items():
                if connection_id not in known:
                    socket.end(WSCloseCode.GOING_AWAY)
