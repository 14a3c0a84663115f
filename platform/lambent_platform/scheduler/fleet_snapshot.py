"""The fleet as one pass of a loop sees it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from lambent_platform.contracts.environment import EnvironmentRecord, EnvironmentState
from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.names import split_target
from lambent_platform.core.capacity import WorkerLoad, choose_worker
from lambent_platform.core.eviction import Idle
from lambent_platform.store.fleet import FleetStore, StartOrder
from lambent_platform.store.invocations import start_order

STARTING: Final = frozenset({EnvironmentState.STARTING, EnvironmentState.INIT})
IDLE: Final = frozenset({EnvironmentState.READY, EnvironmentState.FROZEN})


@dataclass(slots=True)
class FleetSnapshot:
    """Workers and environments; what the pass orders is counted at once."""

    workers: list[WorkerLoad]
    environments: list[EnvironmentRecord]

    @classmethod
    async def read(cls, fleet: FleetStore) -> FleetSnapshot:
        """Read it.

        Raises:
            StoreUnavailable: Redis is away.
        """
        workers = await fleet.workers()
        environments = await fleet.environments([w.id for w in workers])
        used: Counter[str] = Counter()
        starting: Counter[str] = Counter()
        for one in environments:
            used[one.worker] += one.memory_mb
            starting[one.worker] += one.state in STARTING
        loads = [
            WorkerLoad(
                id=w.id,
                pool=w.pool,
                capacity_mb=w.capacity_mb,
                used_mb=used[w.id],
                architecture=w.architecture,
                runtimes=w.runtimes,
                draining=w.draining,
                starting=starting[w.id],
                starts_max=w.starts_max,
            )
            for w in workers
        ]
        return cls(loads, environments)

    def stems(self, runtime: str) -> frozenset[str]:
        """Workers that have a stem of this runtime."""
        return frozenset(e.worker for e in self.environments if not e.target and e.runtime == runtime)

    def count(self, target: str) -> tuple[int, int]:
        """(starting, running) environments of a target."""
        mine = [e.state in STARTING for e in self.environments if e.target == target]
        return sum(mine), len(mine) - sum(mine)

    def idle(self, target: str) -> list[Idle]:
        """Environments of other targets that wait for a call."""
        return [
            Idle(e.id, e.worker, e.memory_mb, e.idle_since_ms, e.target, split_target(e.target)[0])
            for e in self.environments
            if e.target and e.target != target and e.state in IDLE
        ]

    def forget(self, environment_ids: Sequence[str]) -> None:
        """Leave these out from now on."""
        self.environments = [e for e in self.environments if e.id not in environment_ids]

    def place(self, version: FunctionVersion, now_ms: int, *, last_call_ms: int = 0) -> StartOrder | None:
        """Place one environment; None where no worker has room.

        `last_call_ms` is given where nothing waits for it: when its function was last called.
        """
        worker = choose_worker(
            self.workers,
            memory_mb=version.memory_mb,
            runtime=version.runtime,
            pool=version.pool,
            architecture=version.architecture,
            with_stem=self.stems(version.runtime),
        )
        if worker is None:
            return None
        environment = EnvironmentRecord(
            id=uuid.uuid4().hex,
            worker=worker,
            target=version.target,
            runtime=version.runtime,
            state=EnvironmentState.STARTING,
            memory_mb=version.memory_mb,
            started_at_ms=now_ms,
        )
        self._take(environment)
        return StartOrder(environment, start_order(environment.id, version.to_dict(), last_call_ms=last_call_ms))

    def _take(self, record: EnvironmentRecord) -> None:
        self.environments.append(record)
        self.workers = [
            replace(w, used_mb=w.used_mb + record.memory_mb, starting=w.starting + 1) if w.id == record.worker else w
            for w in self.workers
        ]
