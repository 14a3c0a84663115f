"""Connections of WebSocket APIs on Redis: which gateway holds which, and what it is told to do with them.

A connection's id is made so that it belongs to the partition of its API: one look finds it by its id alone.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from lambent_platform.contracts.connections import ConnectionRecord, Order, OrderDone
from lambent_platform.store.redis import RedisStore, translated

BOX_ITEMS_MAX: Final = 10_000
ID_BYTES: Final = 11
HOLDER_SILENCE_MS: Final = 6_000
"""A gateway that has not said for this long that it lives is not told anything; its connections may live, though."""

Sent = Literal["sent", "gone", "full"]


class ConnectionStore:
    """Connections by id. Every method raises `StoreUnavailable` where Redis is away."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._keys = redis.keys
        self.partitions = redis.keys.prefixes

    def new_id(self, api_id: str) -> str:
        """Make a random id that belongs to the partition of its API, in the form that API Gateway's have."""
        wanted = self._keys.prefix(api_id)
        while True:
            made = base64.urlsafe_b64encode(secrets.token_bytes(ID_BYTES)).decode()
            if self._keys.prefix(made) == wanted:
                return made

    async def open(self, record: ConnectionRecord, gateway: str) -> bool:
        """Note down that a gateway holds a connection; False where the gateway itself is not known to live."""
        args = [record.id, gateway, record.encode()]
        return bool(await self._redis.run("connection_open", self._keys.prefix(record.id), args))

    async def close(self, connection_id: str, gateway: str) -> bool:
        """Forget a connection of a gateway; False where it was forgotten before."""
        args = [connection_id, gateway]
        return bool(await self._redis.run("connection_close", self._keys.prefix(connection_id), args))

    async def order(self, order: Order, *, wait_ms: int) -> Sent:
        """Tell the gateway that holds a connection to do something with it, within `wait_ms` or not at all.

        `full` is for now: its box is, or it does not answer; `gone` is for good.
        """
        args = [order.connection_id, order.encode(), wait_ms, BOX_ITEMS_MAX, HOLDER_SILENCE_MS]
        said: bytes = await self._redis.run("connection_order", self._keys.prefix(order.connection_id), args)
        sent: Mapping[bytes, Sent] = {b"sent": "sent", b"full": "full"}
        return sent.get(said, "gone")

    async def answer(self, prefix: str, ended: Sequence[tuple[str, OrderDone]]) -> None:
        """Tell gateways how their orders ended, on the partition that these came from."""
        args: list[str | bytes | int] = [BOX_ITEMS_MAX]
        for asker, done in ended:
            args += (asker, done.encode())
        await self._redis.run("connection_answer", prefix, args)

    async def take(self, prefix: str, gateway: str, *, wait_s: float, count: int) -> list[bytes]:
        """Take items out of a gateway's box on one partition, waiting for the first; orders past their time are not.

        What is left of each is for `contracts.connections.decode_item`.
        """
        items = await self._redis.drain(f"{prefix}orders:{gateway}", wait_s=wait_s, count=count)
        if not items:
            return []
        now_ms = await self._redis.now_ms()
        split = (item.partition(b"\n") for item in items)
        return [rest for until, _, rest in split if int(until) > now_ms]

    async def held(self, prefix: str, gateway: str) -> set[str]:
        """Return the ids of the connections that a gateway holds on one partition."""
        with translated():
            return {one.decode() for one in await self._redis.client.smembers(f"{prefix}sockets:{gateway}")}

    async def orphans(self, *, limit: int) -> list[tuple[str, str, ConnectionRecord | None]]:
        """Return up to `limit` connections, on each partition, whose gateway is gone: gateway, id and record."""
        found = []
        for prefix in self.partitions:
            with translated():
                rows = await self._redis.run("connection_orphans", prefix, [limit])
            for gateway, connection_id, record in zip(rows[0::3], rows[1::3], rows[2::3], strict=True):
                decoded = ConnectionRecord.decode(record) if record else None
                found.append((gateway.decode(), connection_id.decode(), decoded))
        return found
