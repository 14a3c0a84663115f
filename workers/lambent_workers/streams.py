"""Streamed replies on their way out of a worker.

What a runtime streams goes to its caller as it comes, in parts that are sent together with those of other streams.
A caller gives credit for what its client has taken: without credit a stream waits here, and when it is full, its
runtime waits too. Where the caller did not ask for a stream, it is collected instead.

Nothing here holds a call up: what has not been sent when it ends goes with its reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from lambent_platform.contracts.errors import StoreUnavailable
from lambent_platform.contracts.invocation import Invocation, StreamEnd
from lambent_platform.contracts.limits import (
    STREAM_BYTES,
    STREAM_CHUNK_BYTES,
    STREAM_WINDOW_BYTES,
    SYNC_PAYLOAD_BYTES,
)
from lambent_platform.contracts.response_streams import Chunk, Credit
from lambent_platform.store.response_streams import ResponseStreamStore, Sending

_log = structlog.get_logger(__name__)
FULL_BYTES: Final = 4 * STREAM_CHUNK_BYTES
"""What a stream may hold here before its runtime must wait; one more read of the runtime's channel comes on top."""
BATCH_BYTES_MAX: Final = 1024 * 1024
BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
PROBE_S: Final = 5.0
"""How often a stream without credit asks whether its gateway still lives."""


class Stream(Protocol):
    """Where the parts of one response go."""

    @property
    def full(self) -> bool:
        """Whether its runtime must wait; `room` is called when it need not any more."""

    @property
    def too_large(self) -> bool:
        """Whether it was more than a reply may be."""

    def write(self, data: bytes) -> bool:
        """Take a part; False where nothing more may come: the call must be ended."""

    def end(self) -> tuple[bytes, StreamEnd]:
        """Close it; returns what is the payload of the reply, and the rest."""


class Collected:
    """A stream whose caller gets it whole. One that is too large is read to its end, so that its handler ends well."""

    full = False

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type
        self._data = bytearray()
        self.too_large = False

    def write(self, data: bytes) -> bool:
        """Keep a part, up to the limit of a buffered reply."""
        if self.too_large or len(self._data) + len(data) > SYNC_PAYLOAD_BYTES:
            self.too_large = True
            self._data.clear()
        else:
            self._data += data
        return True

    def end(self) -> tuple[bytes, StreamEnd]:
        """Return all of it."""
        return bytes(self._data), StreamEnd(self._content_type)


class Outgoing:
    """A stream whose caller reads along."""

    def __init__(
        self, pump: StreamPump, invocation: Invocation, content_type: str, *, bytes_max: int, room: Callable[[], None]
    ) -> None:
        self.invocation = invocation
        self._content_type = content_type
        self._pump = pump
        self._bytes_max = bytes_max
        self._room = room
        self._data = bytearray()
        self._written = self._sent = self._taken = 0
        self._abandoned = self._was_full = False

    @property
    def full(self) -> bool:
        """Whether more waits here than should."""
        if len(self._data) >= FULL_BYTES:
            self._was_full = True
            return True
        return False

    @property
    def too_large(self) -> bool:
        """Whether more was written than a stream may have."""
        return self._written > self._bytes_max

    @property
    def blocked(self) -> bool:
        """Whether it waits for credit."""
        return bool(self._data) and self._credit() <= 0

    def _credit(self) -> int:
        return STREAM_WINDOW_BYTES - (self._sent - self._taken)

    def write(self, data: bytes) -> bool:
        """Send a part soon; of one that goes over the limit, what is within it."""
        allowed = self._bytes_max - self._written
        self._written += len(data)
        if not self._abandoned:
            self._data += data[: max(0, allowed)]
            self._pump.stir(self)
        return not self.too_large

    def next(self) -> Chunk | None:
        """Take the next part that there is credit for."""
        size = min(len(self._data), STREAM_CHUNK_BYTES, self._credit())
        if size <= 0:
            return None
        chunk = Chunk(
            id=self.invocation.id, worker=self._pump.worker_id, offset=self._sent, content_type=self._content_type,
            data=bytes(self._data[:size]),
        )  # fmt: skip
        del self._data[:size]
        self._sent += size
        self._make_room()
        return chunk

    def _make_room(self) -> None:
        if self._was_full and len(self._data) <= FULL_BYTES // 2:
            self._was_full = False
            self._room()

    def hear(self, credit: Credit) -> None:
        """Take a caller's word; older words than the last one change nothing."""
        if credit.abandoned:
            self.abandon()
        elif credit.taken > self._taken:
            self._taken = min(credit.taken, self._sent)
            self._pump.stir(self)

    def abandon(self) -> None:
        """Nobody reads: let the handler run to its end without waiting for anybody."""
        self._abandoned = True
        self._data.clear()
        self._make_room()

    def end(self) -> tuple[bytes, StreamEnd]:
        """Close it; what was not sent yet goes with the reply."""
        self._pump.forget(self)
        rest = StreamEnd(self._content_type, self._sent, bytes(self._data))
        self._data.clear()
        return b"", rest


class StreamPump:
    """Sends what the streams of one worker have, together, and hears what their callers say."""

    def __init__(self, store: ResponseStreamStore, worker_id: str, *, bytes_max: int = STREAM_BYTES) -> None:
        self.worker_id = worker_id
        self._store = store
        self._bytes_max = bytes_max
        self._streams: dict[str, Outgoing] = {}
        self._ready: dict[str, Outgoing] = {}
        """Those that may have something to send."""
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def bytes_max(self) -> int:
        """How long a stream may be."""
        return self._bytes_max

    def open(self, invocation: Invocation, content_type: str, room: Callable[[], None]) -> Stream:
        """Begin the stream of a call; `room` is called when a stream that was full is not any more."""
        if not invocation.streamed:
            return Collected(content_type)
        stream = Outgoing(self, invocation, content_type, bytes_max=self._bytes_max, room=room)
        self._streams[invocation.id] = stream
        return stream

    def forget(self, stream: Outgoing) -> None:
        """Send nothing more of a stream."""
        self._streams.pop(stream.invocation.id, None)
        self._ready.pop(stream.invocation.id, None)

    def hear(self, credit: Credit) -> None:
        """Take a caller's word about a stream, which may have ended."""
        stream = self._streams.get(credit.call_id)
        if stream is not None:
            stream.hear(credit)

    def stir(self, stream: Outgoing) -> None:
        """Look whether a stream has something to send."""
        self._ready[stream.invocation.id] = stream
        self._wake.set()

    async def settled(self) -> None:
        """Wait until nothing is on its way."""
        await self._quiet.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_all())
            group.create_task(self._probe())

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._batch():
                self._quiet.clear()
                await self._send(batch)
            self._quiet.set()

    def _batch(self) -> list[tuple[Outgoing, Sending]]:
        """Take a part of each stream in turn, up to a size."""
        batch: list[tuple[Outgoing, Sending]] = []
        size = 0
        while self._ready and size < BATCH_BYTES_MAX:
            call_id, stream = next(iter(self._ready.items()))
            del self._ready[call_id]
            chunk = stream.next()
            if chunk is not None:
                batch.append((stream, Sending(stream.invocation, chunk)))
                size += len(chunk.data)
                self._ready[call_id] = stream
        return batch

    async def _send(self, batch: list[tuple[Outgoing, Sending]]) -> None:
        for attempt in range(len(BACKOFF_S) + 1):
            try:
                read = await self._store.send([sending for _, sending in batch])
                break
            except StoreUnavailable as error:
                if attempt == len(BACKOFF_S):
                    # Their callers see a hole in what they got, and say so to their clients.
                    _log.warning("parts of streamed replies could not be sent", error=str(error), parts=len(batch))
                    read = [False] * len(batch)
                    break
                await asyncio.sleep(BACKOFF_S[attempt])
        for (stream, _), somebody in zip(batch, read, strict=True):
            if not somebody:
                stream.abandon()

    async def _probe(self) -> None:
        """A gateway that was killed says nothing more: do not wait for its word until the function's timeout."""
        while True:
            await asyncio.sleep(PROBE_S)
            blocked = [stream for stream in self._streams.values() if stream.blocked]
            if not blocked:
                continue
            try:
                read = await self._store.send([Sending(stream.invocation, None) for stream in blocked])
            except StoreUnavailable:
                continue
            for stream, somebody in zip(blocked, read, strict=True):
                if not somebody:
                    stream.abandon()
