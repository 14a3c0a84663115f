"""Execution environments and workers, as every role sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self


class EnvironmentState(StrEnum):
    """Where an environment is in its life. Allowed moves: `core.environment_states`."""

    STARTING = "starting"
    """A sandbox is being started or claimed."""
    INIT = "init"
    """The runtime loads the handler."""
    READY = "ready"
    """Idle, callable."""
    BUSY = "busy"
    """One invocation is in it."""
    FROZEN = "frozen"
    """Idle, callable, without CPU."""
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """One environment in the fleet's table; also a stem, whose `target` is empty."""

    id: str
    worker: str
    target: str = ""
    runtime: str
    state: EnvironmentState
    memory_mb: int
    started_at_ms: int
    """Liveness time of its start or claim."""
    container: str = ""
    """What the driver calls it: a container id, or `pid 123`."""
    idle_since_ms: int = 0
    """Liveness time of the end of its last call; 0 while it is not idle."""

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON."""
        # Every heartbeat has one for each environment, and copying deeply what is flat costs ten times as much.
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        return cls(**{**data, "state": EnvironmentState(data["state"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """What a worker says of itself with every heartbeat."""

    id: str
    pool: str = "default"
    driver: str
    capacity_mb: int
    """Memory that environments may be promised here, overcommit included."""
    architecture: str = "x86_64"
    runtimes: Mapping[str, str] = field(default_factory=dict)
    """Runtime name → "ready", "buildable" (image not built yet) or what is missing."""
    draining: bool = False
    starts_max: int = 8
    """Environments that may be on their way here at once: what it brings up at once, and a few that wait for that."""

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        return cls(**data)
