"""A caller's side of a streamed reply: its parts, in order, as fast as whoever reads them takes them.

Parts come through a box of their own, so that a large stream never stands before the replies of other calls; the end
of a stream is its call's reply. Credit for what was taken goes back to the worker, which never sends more than a
window ahead of it. The box is read while a stream is open, or while one that was abandoned may still be sent to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

import structlog

from lambent_platform.contracts.errors import ServiceException, StoreUnavailable
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.limits import STREAM_WINDOW_BYTES
from lambent_platform.contracts.response_streams import Chunk, Credit
from lambent_platform.dispatch.failures import failure_of
from lambent_platform.store.batches import Batcher
from lambent_platform.store.response_streams import ResponseStreamStore

BOX_WAIT_S: Final = 1.0
CREDIT_BYTES: Final = STREAM_WINDOW_BYTES // 4
"""How much is taken before the worker is told."""
REMIND_S: Final = 5.0
"""How long nothing may come before the worker is told again: a word can get lost with a connection."""
MISSING_S: Final = 10.0
"""How long parts may be behind the end of their stream, which comes another way."""
PLAIN_TYPE: Final = "application/json"

log = structlog.get_logger("gateway")


class ReplyStream:
    """One reply as it comes: `async for part in stream`, then `end` is the reply that ended it.

    A function that does not stream has its result as the only part. Iterating raises what the platform failed with
    (`ApiError`, `StoreUnavailable`); a stream that is cut off never looks like one that ended.
    """

    def __init__(self, box: StreamBox, call_id: str, ending: asyncio.Future[Reply]) -> None:
        self._box = box
        self._ending = ending
        self.call_id = call_id
        self.content_type = PLAIN_TYPE
        self.executed_version = ""
        self.end: Reply | None = None
        """The reply, once everything before it was read."""
        self.deadline_s = time.monotonic()
        """Until when its reply must have come."""
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the first part, or the end, is there."""
        self._parts: deque[bytes] = deque()
        self._worker = ""
        self._received = self._given = self._taken = self._credited = 0
        self._missing = False
        self._news = asyncio.Event()
        ending.add_done_callback(self._ended)

    def _ended(self, ending: asyncio.Future[Reply]) -> None:
        if self.over and not self._received and (streamed := ending.result().streamed):
            self.content_type = streamed.content_type
        if not self.begun.done():
            self.begun.set_result(None)
        self._news.set()

    def put(self, chunk: Chunk) -> None:
        """Take a part from the box; one that was sent twice is dropped."""
        self._worker = chunk.worker
        if chunk.offset > self._received:
            self._missing = True
        elif chunk.offset == self._received and not self._missing:
            self._received += len(chunk.data)
            self._parts.append(chunk.data)
            if not self.begun.done():
                self.content_type = chunk.content_type
                self.begun.set_result(None)
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._taken, self._given = self._taken + self._given, 0
        if self._taken - self._credited >= CREDIT_BYTES:
            self._credit()
        while not self._parts:
            if self._missing:
                raise self._lost()
            if self.end is not None or (self._ending.done() and await self._finish()):
                raise StopAsyncIteration
            if not self._parts:
                await self._wait()
        part = self._parts.popleft()
        self._given = len(part)
        return part

    async def _finish(self) -> bool:
        """Read the reply; False where it still had something of the stream with it."""
        reply = self._ending.result()
        if reply.failure:
            raise failure_of(reply)
        streamed = reply.streamed
        if streamed is None:
            self.end = reply
            if reply.function_error:
                return True
            self._parts.append(reply.payload)
            return False
        if streamed.offset > self._received:
            await self._catch_up(streamed.offset)
        self.end = reply
        if streamed.rest:
            self._parts.append(streamed.rest)
        return not self._parts

    async def _catch_up(self, offset: int) -> None:
        """Wait for the parts that are behind the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MISSING_S):
                while self._received < offset and not self._missing:
                    self._news.clear()
                    await self._news.wait()
        if self._received < offset:
            raise self._lost()

    async def _wait(self) -> None:
        """Wait for news, reminding the worker from time to time of what was taken."""
        self._news.clear()
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            log.error("no reply", request_id=self.call_id)
            raise ServiceException("The invocation was not answered in time.", Type="Service")
        try:
            async with asyncio.timeout(min(left_s, REMIND_S)):
                await self._news.wait()
        except TimeoutError:
            self._credit()

    def _credit(self) -> None:
        if self._worker:
            self._credited = self._taken
            self._box.tell(self._worker, Credit(self.call_id, self._taken))

    def _lost(self) -> ServiceException:
        log.error("a part of a streamed reply was lost", request_id=self.call_id)
        return ServiceException("A part of the streamed response was lost.", Type="Service")

    def abandon(self) -> None:
        """Tell the worker that nobody reads."""
        if self._worker:
            self._box.tell(self._worker, Credit(self.call_id, self._taken, abandoned=True))

    @property
    def outcome(self) -> str:
        """What became of it, for whoever counts."""
        if self.end is None:
            return "abandoned"
        return "function_error" if self.end.function_error else "ok"

    @property
    def over(self) -> bool:
        """Whether its call has ended, so that nothing more is sent. A reply that could not be read ends nothing."""
        return self._ending.done() and not self._ending.cancelled() and self._ending.exception() is None


class StreamBox:
    """One gateway's box of parts in one partition."""

    def __init__(self, store: ResponseStreamStore, gateway_id: str, prefix: str) -> None:
        self._store = store
        self._gateway_id = gateway_id
        self._prefix = prefix
        self._open: dict[str, ReplyStream] = {}
        self._left: dict[str, float] = {}
        """Streams that were abandoned before their end, until when at most they may be sent to."""
        self._reading: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._credits = Batcher(store.credit)

    @contextmanager
    def reading(self, call_id: str, ending: asyncio.Future[Reply]) -> Iterator[ReplyStream]:
        """Take the parts of one call for the length of the block; what comes after it is refused."""
        stream = ReplyStream(self, call_id, ending)
        self._open[call_id] = stream
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name=f"stream box {self._prefix}")
        try:
            yield stream
        finally:
            del self._open[call_id]
            if not stream.over:
                self._left[call_id] = stream.deadline_s
                stream.abandon()

    def over(self, call_id: str) -> None:
        """Hear that a call has ended whose stream nobody reads."""
        self._left.pop(call_id, None)

    def tell(self, worker: str, credit: Credit) -> None:
        """Say something to a worker, beside what runs."""
        task = asyncio.create_task(self._tell(worker, credit))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, worker: str, credit: Credit) -> None:
        # Without a connection all streams fail; a single word that got lost is said again.
        with contextlib.suppress(StoreUnavailable):
            await self._credits.submit((worker, credit))

    async def _read(self) -> None:
        try:
            while True:
                chunks = await self._chunks()
                for chunk in chunks:
                    self._deliver(chunk)
                if not chunks and not self._wanted():
                    return
        finally:
            self._reading = None

    async def _chunks(self) -> list[Chunk]:
        try:
            return await self._store.chunks(self._gateway_id, wait_s=BOX_WAIT_S, prefix=self._prefix)
        except StoreUnavailable:  # whoever waits for a reply hears of it there
            await asyncio.sleep(BOX_WAIT_S)
            return []

    def _wanted(self) -> bool:
        now = time.monotonic()
        self._left = {call_id: until for call_id, until in self._left.items() if until > now}
        return bool(self._open or self._left)

    def _deliver(self, chunk: Chunk) -> None:
        stream = self._open.get(chunk.id)
        if stream is not None:
            stream.put(chunk)
        else:
            self.tell(chunk.worker, Credit(chunk.id, 0, abandoned=True))

    async def close(self) -> None:
        """Stop reading."""
        tasks = [*self._telling, *([self._reading] if self._reading is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class StreamBoxes:
    """The boxes of one gateway."""

    def __init__(self, store: ResponseStreamStore, gateway_id: str) -> None:
        self._store = store
        self._gateway_id = gateway_id
        self._boxes: dict[str, StreamBox] = {}

    def of(self, prefix: str) -> StreamBox:
        """Return the box of one partition."""
        box = self._boxes.get(prefix)
        if box is None:
            box = self._boxes[prefix] = StreamBox(self._store, self._gateway_id, prefix)
        return box

    def over(self, call_id: str) -> None:
        """Hear of a reply that nobody waits for: the end of a stream that was abandoned, perhaps."""
        for box in self._boxes.values():
            box.over(call_id)

    async def close(self) -> None:
        """Stop reading them."""
        for box in self._boxes.values():
            await box.close()
