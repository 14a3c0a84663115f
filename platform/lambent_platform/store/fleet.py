"""Workers and gateways on Redis: who lives, what runs where, who leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lambent_platform.contracts.environment import EnvironmentRecord, WorkerRecord
from lambent_platform.contracts.events import Settlement
from lambent_platform.store.invocations import DEAD_LIMITS, Work, decode_work, encode_ending, retire_order
from lambent_platform.store.redis import RedisStore, translated

ORDER_GRACE_MS: Final = 30_000
"""How long an order to start may stay unread before a heartbeat without it means that it was lost."""


@dataclass(frozen=True, slots=True)
class StartOrder:
    """One environment to start: its record and the item for the worker's inbox."""

    record: EnvironmentRecord
    item: bytes


class FleetStore:
    """The fleet's half of Redis. A worker is known in every partition, its beat likewise."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._prefixes = redis.keys.prefixes

    async def heartbeat(
        self, record: WorkerRecord, environments: Sequence[EnvironmentRecord], *, now_ms: int, register: bool = False
    ) -> bool:
        """Say that a worker lives and what it has; False where it was given up and must end what it runs.

        `now_ms` is liveness time of the store (`RedisStore.now_ms`).
        """
        by_prefix: dict[str, list[EnvironmentRecord]] = {prefix: [] for prefix in self._prefixes}
        for environment in environments:
            ident = environment.target.rsplit(":", 2)[0] if environment.target else ""
            by_prefix[self._redis.keys.prefix(ident) if ident else self._redis.keys.home].append(environment)
        alive = True
        for prefix, mine in by_prefix.items():
            args: list[Any] = [record.id, orjson.dumps(record.to_dict()), now_ms, int(register), ORDER_GRACE_MS]
            for environment in mine:
                args += (environment.id, orjson.dumps(environment.to_dict()))
            alive = bool(await self._redis.run("heartbeat", prefix, args)) and alive
        return alive

    async def start(self, orders: Sequence[StartOrder]) -> list[bool]:
        """Order environments; False for each whose worker is not registered any more."""
        done = [False] * len(orders)
        groups: dict[str, list[int]] = {}
        for index, order in enumerate(orders):
            prefix = self._redis.keys.prefix(order.record.target.rsplit(":", 2)[0])
            groups.setdefault(prefix, []).append(index)
        for prefix, indices in groups.items():
            args: list[Any] = []
            for index in indices:
                order = orders[index]
                args += (order.record.worker, order.record.id, orjson.dumps(order.record.to_dict()), order.item)
            for index, said in zip(indices, await self._redis.run("start", prefix, args), strict=True):
                done[index] = bool(said)
        return done

    async def order_retirement(self, worker: str, environment_ids: Sequence[str]) -> None:
        """Ask a worker to end environments, where they are still idle when it reads this."""
        with translated():
            orders = [retire_order(one) for one in environment_ids]
            await self._redis.client.rpush(f"{self._redis.keys.home}inbox:{worker}", *orders)

    async def workers(self) -> list[WorkerRecord]:
        """Every registered worker."""
        with translated():
            found = await self._redis.client.hvals(f"{self._redis.keys.home}workers")
        return [WorkerRecord.from_dict(orjson.loads(json)) for json in found]

    async def environments(self, workers: Sequence[str]) -> list[EnvironmentRecord]:
        """Every environment and stem of these workers."""
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._prefixes:
                for worker in workers:
                    pipe.hvals(f"{prefix}envs:{worker}")
            found = await pipe.execute()
        return [EnvironmentRecord.from_dict(orjson.loads(json)) for rows in found for json in rows]

    async def silent_workers(self, *, before_ms: int) -> list[str]:
        """Workers whose last beat is older than this."""
        with translated():
            found = await self._redis.client.zrangebyscore(f"{self._redis.keys.home}beats", "-inf", before_ms)
        return [worker.decode() for worker in found]

    async def presume_dead(self, worker: str) -> None:
        """Let a worker count as silent from now on, though its lease still lasts: it is known to have ended."""
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._prefixes:
                pipe.zadd(f"{prefix}beats", {worker: 0}, xx=True)
            await pipe.execute()

    async def bury(
        self, worker: str, *, now_ms: int, lease_ms: int, code: str, message: str
    ) -> list[tuple[str, Work]] | None:
        """Take back all that a dead worker held; None where it lives. Returns the events that it was running.

        Each of those stays leased until `settle` ends it, so a scheduler that dies here leaves it to the next one.
        """
        events: list[tuple[str, Work]] = []
        for prefix in self._prefixes:
            rows = await self._redis.run("bury", prefix, [worker, now_ms, lease_ms, code, message])
            if rows is None:
                return None
            events += [(rows[at].decode(), decode_work(rows[at + 1])) for at in range(0, len(rows), 2)]
        return events

    async def settle(self, worker: str, event_id: str, ident: str, settlement: Settlement) -> bool:
        """End the lease of one event of a dead worker."""
        ending = encode_ending(settlement)
        args = [worker, event_id, settlement.action, settlement.due_ms, *ending, *DEAD_LIMITS]
        return bool(await self._redis.run("settle", self._redis.keys.prefix(ident), args))

    async def beat_gateway(self, gateway: str, *, now_ms: int) -> None:
        """Say that a gateway lives: only then are calls run for it and replies kept."""
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._prefixes:
                pipe.hset(f"{prefix}gateways", gateway, now_ms)
            await pipe.execute()

    async def forget_gateways(self, *, before_ms: int) -> list[str]:
        """Drop gateways that are silent since then, with their reply boxes."""
        with translated():
            beats = await self._redis.client.hgetall(f"{self._redis.keys.home}gateways")
            dead = [name.decode() for name, beat in beats.items() if int(beat) < before_ms]
            if dead:
                await self.forget_gateway(*dead)
        return dead

    async def forget_gateway(self, *gateways: str) -> None:
        """Drop these gateways and their boxes; the connections that they held stay, for whoever ends them."""
        with translated():
            pipe = self._redis.client.pipeline(transaction=False)
            for prefix in self._prefixes:
                pipe.hdel(f"{prefix}gateways", *gateways)
                boxes = [f"{prefix}{box}:{one}" for one in gateways for box in ("replies", "orders", "parts")]
                pipe.delete(*boxes)
            await pipe.execute()

    async def lead(self, role: str, holder: str, *, lease_ms: int) -> bool:
        """Take or renew the lease of a role; False where another holds it."""
        return bool(await self._redis.run("lead", self._redis.keys.home, [role, holder, lease_ms]))

    async def leader(self, role: str) -> str | None:
        """Who holds the lease of a role."""
        with translated():
            holder = await self._redis.client.get(f"{self._redis.keys.home}leader:{role}")
        return holder.decode() if holder else None

    async def resign(self, role: str, holder: str) -> None:
        """Give a role's lease back."""
        await self._redis.run("lead", self._redis.keys.home, [role, holder, 0])

    async def recount(self) -> None:
        """Make the counts of running calls true again."""
        for prefix in self._prefixes:
            await self._redis.run("recount", prefix, [])
