"""What the worker and a runtime say to each other, whichever way they are connected."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as a runtime receives it."""

    request_id: str
    deadline_ms: int
    """When the call times out, milliseconds since the epoch."""
    arn: str
    trace_id: str
    client_context: str
    """JSON, or empty."""
    payload: bytes


class AnswerKind(Enum):
    """How a runtime ended an event."""

    RESULT = "result"
    ERROR = "error"
    FATAL = "fatal"
    """An error after which the runtime's process ends."""
    TOO_LARGE = "too large"
    """A result over the limit; the body is empty."""
    STREAMED = "streamed"
    """The end of a streamed result, whose parts came before; the body is empty."""


class RuntimeEvents(Protocol):
    """What an environment hears from its runtime. Called from the event loop, never after `RuntimeLink.close`."""

    def on_ready(self) -> None:
        """Hear that the handler is loaded: events may be delivered."""

    def on_init_failed(self, error: bytes) -> None:
        """Hear that the handler could not be loaded; `error` is Lambda's error object."""

    def on_answer(self, request_id: str, body: bytes, kind: AnswerKind) -> None:
        """Hear an answer, which may be late, repeated or for nothing that is in flight."""

    def on_stream(self, request_id: str, content_type: str) -> None:
        """Hear that the answer comes in parts; `on_answer` with STREAMED, or an error, ends it."""

    def on_part(self, request_id: str, data: bytes) -> None:
        """Hear one part."""

    def on_lost(self) -> None:
        """Hear that the runtime closed its connection for good, or does not speak its language."""


class RuntimeLink(Protocol):
    """A connection to one runtime."""

    taken: bool
    """Whether the last event delivered has left the worker: only then may it have been run."""

    def deliver(self, delivery: Delivery) -> None:
        """Give the runtime an event, as soon as it asks for one."""

    def drain(self) -> None:
        """Read what the runtime has already written: it may have answered just before it ended."""

    def pause(self) -> None:
        """Read nothing more of a stream for now, so that whoever writes it waits. Idempotent."""

    def resume(self) -> None:
        """Go on reading. Idempotent."""

    def close(self) -> None:
        """Hear nothing more. Idempotent."""
