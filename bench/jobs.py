"""The no-op of the peers, in a module of its own, where their workers can import it."""

from __future__ import annotations

from typing import Any


def noop(number: int) -> int:
    """What RQ runs."""
    return number


async def noop_async(_: dict[str, Any], number: int) -> int:
    """What arq runs."""
    return number
