"""The gateway's own pages: health, metrics, the fleet. None of them is part of an AWS API."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from lambent_platform.contracts.environment import EnvironmentRecord
from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.contracts.names import split_target
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.gateway.metrics import GatewayMetrics
from lambent_platform.store.fleet import FleetStore
from lambent_platform.store.metrics import MetricsStore
from lambent_platform.store.redis import RedisStore

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Pages:
    """Handlers of `/healthz`, `/readyz`, `/metrics` and what is below `/_lambent/`."""

    def __init__(self, redis: RedisStore, fleet: FleetStore, snapshots: MetricsStore, metrics: GatewayMetrics) -> None:
        self._redis = redis
        self._fleet = fleet
        self._snapshots = snapshots
        self._metrics = metrics

    async def health(self, request: web.Request) -> web.StreamResponse:
        """200 while this process turns its loop."""
        return _json({"status": "ok"})

    async def ready(self, request: web.Request) -> web.StreamResponse:
        """200 where a call could run now: Redis answers, a scheduler leads, a worker takes calls; else 503 and why."""
        try:
            missing = [] if await self._fleet.leader("scheduler") else ["no scheduler leads"]
            workers = [worker for worker in await self._fleet.workers() if not worker.draining]
            if not any(state in ("ready", "buildable") for w in workers for state in w.runtimes.values()):
                missing.append("no worker can run a function")
        except StoreUnavailable as error:
            missing = [str(error)]
        if missing:
            return _json({"status": "not ready", "missing": missing}, status=503)
        return _json({"status": "ready"})

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Everything that is counted, in Prometheus's text format."""
        body = self._metrics.exposition(await self._snapshots.snapshots())
        return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})

    async def environments(self, request: web.Request) -> web.StreamResponse:
        """An array of `{function, version, state, worker, age_s, memory_mb, container}`, one for each environment.

        `function` is null for a stem.
        """
        now_ms = await self._redis.now_ms()
        workers = [worker.id for worker in await self._fleet.workers()]
        rows = [_row(one, now_ms) for one in await self._fleet.environments(workers)]
        return _json(sorted(rows, key=lambda row: (row["function"] or "", row["age_s"])))

    async def runtimes(self, request: web.Request) -> web.StreamResponse:
        """An object of runtime → `ready`, `buildable`, or what is missing: the best that any worker says."""
        rank = {"ready": 0, "buildable": 1}
        best: dict[str, str] = {}
        for worker in await self._fleet.workers():
            for name, state in worker.runtimes.items():
                if name not in best or rank.get(state, 2) < rank.get(best[name], 2):
                    best[name] = state
        return _json({name: best.get(name, "no worker offers it") for name in RUNTIMES})


def _row(one: EnvironmentRecord, now_ms: int) -> dict[str, Any]:
    ident, version = split_target(one.target)[:2] if one.target else ("", "")
    return {
        "function": ident.rsplit(":", 1)[-1] or None,
        "version": version or None,
        "state": one.state.value,
        "worker": one.worker,
        "age_s": max(0.0, round((now_ms - one.started_at_ms) / 1000, 1)),
        "memory_mb": one.memory_mb,
        "container": one.container,
    }


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
