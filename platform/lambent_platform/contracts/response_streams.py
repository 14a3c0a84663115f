"""The messages of streamed replies, between a worker and the gateway whose client reads.

A chunk is `header \\n bytes` in the gateway's stream box. Its offset makes it harmless to send it twice, and tells the
gateway where one is missing: a client never gets a stream with a hole. Credit goes back through the worker's inbox; it
says how much has been taken in all, so that a lost or repeated word of it does no harm either.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of a streamed reply."""

    id: str
    """Of the call."""
    worker: str
    """Who sends it, and waits for credit."""
    offset: int
    """How many bytes of the stream came before it."""
    content_type: str = ""
    data: bytes

    def encode(self) -> bytes:
        """Header line and bytes."""
        return orjson.dumps([self.id, self.worker, self.offset, self.content_type]) + b"\n" + self.data

    @classmethod
    def decode(cls, data: bytes) -> Chunk:
        """Undo `encode`."""
        line, _, rest = data.partition(b"\n")
        ident, worker, offset, content_type = orjson.loads(line)
        return cls(id=ident, worker=worker, offset=offset, content_type=content_type, data=rest)


@dataclass(frozen=True, slots=True)
class Credit:
    """A gateway's word about one stream, for the worker that sends it."""

    call_id: str
    taken: int
    """How many bytes the client has taken, from the stream's beginning."""
    abandoned: bool = False
    """Nobody reads any more: the rest need not be sent."""

    def encode(self) -> bytes:
        """Encode as the rest of an inbox item."""
        return orjson.dumps([self.call_id, self.taken, self.abandoned])

    @classmethod
    def decode(cls, data: bytes) -> Credit:
        """Undo `encode`."""
        return cls(*orjson.loads(data))
