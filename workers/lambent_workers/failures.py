"""Lambda's own error objects for what a handler cannot report itself. Pure.

Source: replies recorded from AWS; the words of a dead process are those of Go's `os/exec`, which Lambda's agent uses.
"""

from __future__ import annotations

import signal
from typing import Final

import orjson

from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_workers.drivers.port import Exit

EXIT_ERROR: Final = "Runtime.ExitError"
ENTRYPOINT_ERROR: Final = "Runtime.InvalidEntrypoint"
UNHANDLED: Final = "Unhandled"
_NO_CALL: Final = "RequestId:  Error: "
_SIGNALS: Final = {
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGHUP: "hangup",
    signal.SIGILL: "illegal instruction",
    signal.SIGINT: "interrupt",
    signal.SIGKILL: "killed",
    signal.SIGPIPE: "broken pipe",
    signal.SIGQUIT: "quit",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGTERM: "terminated",
}


def timed_out(request_id: str, timeout_s: float) -> bytes:
    """Describe a call that reached its function's timeout."""
    message = f"RequestId: {request_id} Error: Task timed out after {timeout_s:.2f} seconds"
    return orjson.dumps({"errorType": "Sandbox.Timedout", "errorMessage": message})


def exited(request_id: str, end: Exit) -> bytes:
    """Describe a runtime's process that ended without an answer; before it had a call, `request_id` is empty."""
    message = f"RequestId: {request_id} Error: {exit_reason(end)}"
    return orjson.dumps({"errorType": EXIT_ERROR, "errorMessage": message})


def no_entrypoint(reason: str) -> bytes:
    """Describe a package whose `bootstrap` cannot be run, before it has a call."""
    return orjson.dumps({"errorType": ENTRYPOINT_ERROR, "errorMessage": f"{_NO_CALL}{reason}"})


def addressed(error: bytes, request_id: str) -> bytes:
    """Name the call that is answered with an error which one of the functions above described before it was known."""
    try:
        found = orjson.loads(error)
    except orjson.JSONDecodeError:
        return error
    message = found.get("errorMessage") if isinstance(found, dict) else None
    if not isinstance(message, str) or not message.startswith(_NO_CALL):
        return error
    return orjson.dumps(found | {"errorMessage": f"RequestId: {request_id} Error: {message.removeprefix(_NO_CALL)}"})


def exit_reason(end: Exit) -> str:
    """Say how a runtime's process ended. Out of memory is a kill, whichever of its processes it hit."""
    if end.out_of_memory:
        return "Runtime exited with error: signal: killed"
    if end.signal is not None:
        try:
            name = _SIGNALS.get(signal.Signals(end.signal)) or f"signal {end.signal}"
        except ValueError:
            name = f"signal {end.signal}"
        return f"Runtime exited with error: signal: {name}"
    if end.code:
        return f"Runtime exited with error: exit status {end.code}"
    return "Runtime exited without providing a reason"


def response_too_large(bytes_max: int = SYNC_PAYLOAD_BYTES) -> bytes:
    """Describe a result over the limit of a buffered reply, or of a streamed one."""
    message = f"Response payload size exceeded maximum allowed payload size ({bytes_max} bytes)."
    return orjson.dumps({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message})


def code_refused(reason: str) -> bytes:
    """Describe code that its function names but may not or cannot run from, as an init that failed."""
    return orjson.dumps({"errorType": "Runtime.CodeRefused", "errorMessage": reason, "requestId": "", "stackTrace": []})


def error_type_of(payload: bytes) -> str:
    """Read the type of an error object that a runtime sent; empty where it has none."""
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return ""
    kind = found.get("errorType") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else ""
