"""Spans of time as people write them: `90s`, `1h30m`, `250ms`, `1d12h`."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LENGTH_MAX: Final = 64


def parse_duration_ms(text: str) -> int:
    """Return a span in milliseconds, rounded; its parts are added up (`1h30m`).

    Raises:
        ValueError: it is none; one line that says what one looks like.
    """
    compact = text.strip().replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or len(compact) > _LENGTH_MAX or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text[:_LENGTH_MAX]!r} is not a span of time such as 250ms, 90s, 2h or 1h30m")
    return round(sum(float(number) * _UNIT_MS[unit] for number, unit in parts))
