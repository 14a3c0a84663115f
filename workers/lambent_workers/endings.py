"""How a call can end in an environment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lambent_platform.contracts.invocation import StreamEnd
from lambent_platform.store.invocations import Work
from lambent_workers.failures import UNHANDLED


class Ending(StrEnum):
    """What became of a call, as metrics count it."""

    OK = "ok"
    FUNCTION_ERROR = "function_error"
    """The handler raised, or returned what cannot be a reply."""
    TIMEOUT = "timeout"
    CRASH = "crash"
    """The runtime's process ended in mid-call."""
    INIT_ERROR = "init_error"
    OOM = "oom"
    """It was ended for want of memory."""

    @property
    def status(self) -> str:
        """The word of the REPORT line, which has none for what the handler itself answered."""
        if self in (Ending.OK, Ending.FUNCTION_ERROR):
            return ""
        return "timeout" if self is Ending.TIMEOUT else "error"


@dataclass(frozen=True, slots=True)
class Ended:
    """How one event ended."""

    work: Work
    payload: bytes
    ending: Ending
    billed_ms: int
    keep: bool
    """Whether the environment can take another event."""
    stream: StreamEnd | None = None
    """Set where the function streamed."""

    @property
    def function_error(self) -> str:
        """What `X-Amz-Function-Error` says: `Unhandled`, or nothing."""
        return "" if self.ending is Ending.OK else UNHANDLED
