"""The messages of the invocation path.

An inbox item is `environment id \\n header \\n payload`: the script that places a call writes the environment in
front of the bytes that the gateway made, and never looks into them. The header is one line of JSON; the payload is
the caller's own bytes, so nothing is parsed or copied twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson

Kind = Literal["sync", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One invocation on its way to an environment."""

    id: str
    """The request id, a UUID."""
    target: str
    kind: Kind = "sync"
    gateway: str = ""
    """Whose reply box the answer goes to (`sync` only)."""
    qualified_arn: str
    """The ARN that the caller named, with its qualifier: `context.invoked_function_arn`."""
    payload: bytes
    log_tail: bool = False
    client_context: str = ""
    """The decoded JSON of `X-Amz-Client-Context`."""
    trace_id: str = ""
    placed_at_ms: int = 0
    """When its gateway placed it, by the gateway's clock: for the measure of how long it waited, no decision."""
    streamed: bool = False
    """Whether its caller takes the reply as it comes (`sync` only): what the function streams goes to the caller's
    stream box, and the reply is its end."""
    attempt: int = 1
    """1 for the first run of an event."""

    def encode(self) -> bytes:
        """Header line and payload."""
        header = orjson.dumps(
            [self.id, self.target, self.kind, self.gateway, self.qualified_arn, self.log_tail,
             self.client_context, self.trace_id, self.placed_at_ms, self.streamed]
        )  # fmt: skip
        return header + b"\n" + self.payload

    @classmethod
    def decode(cls, data: bytes, *, attempt: int = 1) -> Invocation:
        """Undo `encode`."""
        line, _, payload = data.partition(b"\n")
        ident, target, kind, gateway, arn, tail, client_context, trace, placed_at_ms, streamed = orjson.loads(line)
        return cls(
            id=ident, target=target, kind=kind, gateway=gateway, qualified_arn=arn, payload=payload,
            log_tail=tail, client_context=client_context, trace_id=trace, placed_at_ms=placed_at_ms,
            streamed=streamed, attempt=attempt,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The end of a streamed reply: what had not been sent before it, so that a call ends in one step."""

    content_type: str
    offset: int = 0
    """Where in the stream `rest` begins: what came before it is in the caller's stream box, or was."""
    rest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The end of one synchronous invocation, as its gateway reads it from its reply box."""

    id: str
    payload: bytes
    function_error: str = ""
    """`Unhandled` where the handler, its init or its process failed; the payload is then Lambda's error object."""
    executed_version: str = ""
    log_tail: str = ""
    """Base64 of the last 4 KB of log, where it was asked for."""
    failure: str = ""
    """Set where the platform, not the function, failed: an error code of Lambda's API; the payload is a message."""
    streamed: StreamEnd | None = None
    """Set where the function streamed. The payload is then empty, or the error that the stream ended with; where the
    caller did not ask for a stream, it is all that was streamed."""

    def encode(self) -> bytes:
        """Header line, what is left of a stream, and payload."""
        header = [self.id, self.function_error, self.executed_version, self.log_tail, self.failure]
        end = self.streamed
        if end is None:
            return orjson.dumps(header) + b"\n" + self.payload
        return orjson.dumps([*header, end.content_type, end.offset, len(end.rest)]) + b"\n" + end.rest + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Reply:
        """Undo `encode`."""
        line, _, payload = data.partition(b"\n")
        ident, error, version, tail, failure, *stream = orjson.loads(line)
        end = None
        if stream:
            content_type, offset, size = stream
            end, payload = StreamEnd(content_type, offset, payload[:size]), payload[size:]
        return cls(
            id=ident, payload=payload, function_error=error, executed_version=version, log_tail=tail, failure=failure,
            streamed=end,
        )  # fmt: skip
