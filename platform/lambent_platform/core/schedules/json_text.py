"""JSON that clients send within texts: events, inputs."""

from __future__ import annotations

import json
import math
from typing import Any, Final

DEPTH_MAX: Final = 500
"""Levels of nesting: what is taken must be readable for everybody who handles it later."""


def read_json(text: str | bytes) -> Any:
    """Read a text as JSON says it, without Python's own additions to it.

    Raises:
        ValueError: it is no JSON, has a number that nothing can hold, or is nested too deeply.
    """
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level, depth = [found], 0
    while level:
        level = [each for one in level for each in _children(one)]
        depth += 1
        if depth > DEPTH_MAX:
            raise ValueError("it is nested too deeply")
    return found


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number
