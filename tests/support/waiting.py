"""Waiting for what a platform does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

PAUSE_S: Final = 0.05


def until(condition: Callable[[], Any], *, within_s: float = 30, what: str = "what is waited for") -> Any:
    """Wait until a condition is true; returns it, and fails where it does not come."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(PAUSE_S)
    return found
