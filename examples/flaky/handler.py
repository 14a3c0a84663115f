"""Fail on the first attempt at each event, and succeed on the next.

A retry comes with the request id of the event that it retries, so that is what is remembered; in /tmp, which an
environment keeps from one invocation to the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class WarehouseUnavailable(Exception):
    """What we depend on does not answer."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    order = event.get("order", "?")
    attempt = count_attempt(Path("/tmp/attempts"), context.aws_request_id)
    if attempt == 1:
        print(f"attempt {attempt}: order {order}: the warehouse does not answer")
        raise WarehouseUnavailable(f"order {order} could not be stored")
    print(f"attempt {attempt}: order {order}: stored")
    return {"order": order, "attempt": attempt}


def count_attempt(folder: Path, request_id: str) -> int:
    folder.mkdir(exist_ok=True)
    file = folder / request_id
    attempt = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(attempt))
    return attempt
