"""The lines that the platform itself writes into a function's log, and the rule of what is billed.

Source: the format of Lambda's own log lines, as the AWS Lambda Developer Guide shows them ("Sending Python function
logs to CloudWatch Logs"). Fields are separated by tabs; a REPORT line without a status ends in a tab.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime


def billed_ms(duration_ms: float, init_ms: float = 0.0) -> int:
    """Return what is billed for one call: its duration with the init that came before it, in whole ms, rounded up.

    Both are taken as precise as the REPORT line shows them, so that what is billed can be checked against it.
    """
    return max(1, math.ceil(round(round(duration_ms, 2) + round(init_ms, 2), 2)))


def init_start_line(language: str, version: str) -> str:
    """Return the line before an environment's init, such as `INIT_START Runtime Version: python:3.13`."""
    return f"INIT_START Runtime Version: {language}:{version}"


def init_report_line(*, init_ms: float, status: str, error_type: str = "") -> str:
    """Return the line after an init that failed or ran out of time (`status` is `error` or `timeout`)."""
    line = f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: init\tStatus: {status}"
    return f"{line}\tError Type: {error_type}" if error_type else line


def start_line(request_id: str, version: str) -> str:
    """Return the line before a call."""
    return f"START RequestId: {request_id} Version: {version}"


def end_line(request_id: str) -> str:
    """Return the line after a call."""
    return f"END RequestId: {request_id}"


def timeout_line(request_id: str, timeout_s: float, now_ms: int) -> str:
    """Return the line about a call that reached its function's timeout; `now_ms` is since the epoch."""
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03d}Z"
    return f"{stamp} {request_id} Task timed out after {timeout_s:.2f} seconds"


def report_line(
    request_id: str,
    *,
    duration_ms: float,
    memory_size_mb: int,
    memory_used_mb: int,
    init_ms: float | None = None,
    status: str = "",
    error_type: str = "",
) -> str:
    """Return the REPORT line of one call.

    `init_ms` is given for the first call of an environment only. `status` is empty, `timeout` or `error`;
    `error_type` goes with `error` and is the platform's own type (`Runtime.ExitError`), not a handler's exception.
    """
    fields = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {duration_ms:.2f} ms",
        f"Billed Duration: {billed_ms(duration_ms, init_ms or 0.0)} ms",
        f"Memory Size: {memory_size_mb} MB",
        f"Max Memory Used: {memory_used_mb} MB",
    ]
    if init_ms is not None:
        fields.append(f"Init Duration: {init_ms:.2f} ms")
    fields.append(f"Status: {status}" if status else "")
    if error_type:
        fields.append(f"Error Type: {error_type}")
    return "\t".join(fields)
