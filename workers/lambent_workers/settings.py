"""What a worker is told about itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lambent_platform.contracts.limits import STREAM_BYTES
from lambent_platform.core.keepalive import KeepAlive
from lambent_platform.core.retries import RETRY_DELAYS_S


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Settings of one worker."""

    worker_id: str
    pool: str = "default"
    capacity_mb: int
    """Memory that environments may be promised here, overcommit included."""
    architecture: str = "x86_64"
    environments_dir: Path
    """Where environments have their folders; a short path, since sockets lie in them."""
    keepalive: KeepAlive = field(default_factory=KeepAlive)
    start_parallelism: int = 4
    """Environments brought up at once."""
    drain_timeout_s: float = 6.0
    """At the end, how long running calls are given."""
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S
    """Between the attempts of an event."""
    stream_bytes_max: int = STREAM_BYTES
    """How much one call may stream."""
    reconcile_interval_s: float = 5.0
    """Between two looks for calls that were lost on their way here; one that is missed at both is taken back."""
    hot_reload_roots: Sequence[Path] = ()
    """Folders below which functions may run from a folder of this machine; empty: any that is not refused."""
    private_folders: Sequence[Path] = ()
    """Never a function's, nor what holds them: the platform's data and the object store's folder. What
    `environments_dir` lies in is one of them without being named."""
