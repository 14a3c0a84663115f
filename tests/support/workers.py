"""Workers as placement and eviction see them, for tables of cases."""

from __future__ import annotations

from lambent_platform.core.capacity import WorkerLoad


def worker(name: str, **changes: object) -> WorkerLoad:
    """Make a worker with 1 GB free."""
    values: dict[str, object] = {
        "id": name,
        "pool": "default",
        "capacity_mb": 1024,
        "used_mb": 0,
        "architecture": "x86_64",
        "runtimes": {"python3.13": "ready"},
        **changes,
    }
    return WorkerLoad(**values)  # type: ignore[arg-type]
