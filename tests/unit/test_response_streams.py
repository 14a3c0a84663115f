"""Streamed replies at both ends: what a worker sends on credit, and what a caller makes of what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from lambent_platform.contracts.errors import ApiError, StoreUnavailable
from lambent_platform.contracts.invocation import Invocation, Reply, StreamEnd
from lambent_platform.contracts.limits import STREAM_CHUNK_BYTES, STREAM_WINDOW_BYTES, SYNC_PAYLOAD_BYTES
from lambent_platform.contracts.response_streams import Chunk, Credit
from lambent_platform.dispatch import streams as caller
from lambent_platform.dispatch.streams import ReplyStream, StreamBox
from lambent_platform.store.response_streams import Sending
from lambent_workers import streams
from lambent_workers.streams import FULL_BYTES, Stream, StreamPump

TARGET = "a:r:f:$LATEST:1"
CALL = Invocation(id="c", target=TARGET, gateway="g", qualified_arn="arn", payload=b"", streamed=True)


class Box:
    """The store between the two ends, which can be away."""

    def __init__(self) -> None:
        self.sent: list[Chunk] = []
        self.told: list[tuple[str, Credit]] = []
        self.read = True
        self.failures = 0

    async def send(self, parts: Sequence[Sending]) -> list[bool]:
        """Keep what is sent; `read` says whether anybody reads it."""
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        self.sent += [part.chunk for part in parts if part.chunk is not None]
        return [self.read] * len(parts)

    async def credit(self, words: Sequence[tuple[str, Credit]]) -> list[None]:
        """Keep what is said."""
        self.told += words
        return [None] * len(words)

    async def chunks(self, gateway: str, *, wait_s: float, prefix: str) -> list[Chunk]:
        """Have nothing: tests hand parts over themselves."""
        await asyncio.sleep(wait_s)
        return []

    @property
    def bytes(self) -> bytes:
        """All that was sent."""
        return b"".join(chunk.data for chunk in self.sent)


@pytest.fixture
def box() -> Box:
    """One box."""
    return Box()


@pytest.fixture
async def pump(box: Box) -> AsyncIterator[StreamPump]:
    """A worker's side that runs; a stream may have 2 MiB."""
    found = StreamPump(box, "w", bytes_max=2 * 1024 * 1024)  # type: ignore[arg-type]
    task = asyncio.create_task(found.run())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def begin(pump: StreamPump, rooms: list[int] | None = None, call: Invocation = CALL) -> Stream:
    """Begin the stream of a call."""
    return pump.open(call, "text/x", lambda: rooms.append(1) if rooms is not None else None)


async def rest() -> None:
    """Let what runs run."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_what_is_written_is_sent_in_order(pump: StreamPump, box: Box) -> None:
    """Parts go out as they come, with where they are in the stream; the end has what was not sent."""
    stream = begin(pump)
    for part in (b"one", b"two"):
        stream.write(part)
        await rest()
    assert [(chunk.offset, chunk.data, chunk.content_type) for chunk in box.sent] == [
        (0, b"one", "text/x"),
        (3, b"two", "text/x"),
    ]
    stream.write(b"three")
    assert stream.end() == (b"", StreamEnd("text/x", 6, b"three"))
    await rest()
    assert box.bytes == b"onetwo"


async def test_no_more_is_sent_than_there_is_credit_for(pump: StreamPump, box: Box) -> None:
    """A stream that nobody takes stops at its window, is full then, and goes on with each word of credit."""
    rooms: list[int] = []
    stream = begin(pump, rooms)
    stream.write(b"x" * STREAM_WINDOW_BYTES)
    await rest()
    stream.write(b"x" * (FULL_BYTES + 1))
    await rest()
    assert len(box.bytes) == STREAM_WINDOW_BYTES
    assert all(len(chunk.data) <= STREAM_CHUNK_BYTES for chunk in box.sent)
    assert stream.full
    assert rooms == []
    pump.hear(Credit("c", FULL_BYTES))
    await rest()
    assert len(box.bytes) == STREAM_WINDOW_BYTES + FULL_BYTES
    assert not stream.full
    assert rooms == [1]
    pump.hear(Credit("c", 5))  # an old word changes nothing
    pump.hear(Credit("other", 1))
    await rest()
    assert len(box.bytes) == STREAM_WINDOW_BYTES + FULL_BYTES


async def test_streams_share_a_batch(pump: StreamPump, box: Box) -> None:
    """Several streams are sent in turns: a large one does not stand before a small one."""
    large = begin(pump)
    small = begin(pump, call=Invocation(id="d", target=TARGET, qualified_arn="", payload=b"", streamed=True))
    large.write(b"x" * STREAM_WINDOW_BYTES)
    small.write(b"y")
    await rest()
    assert [chunk.id for chunk in box.sent[:2]] == ["c", "d"]


@pytest.mark.parametrize("how", ["word", "gone"])
async def test_an_abandoned_stream_is_not_sent(pump: StreamPump, box: Box, how: str) -> None:
    """When nobody reads, by word or because the gateway is gone, the handler goes on and nothing is kept of it."""
    rooms: list[int] = []
    stream = begin(pump, rooms)
    stream.write(b"x" * (STREAM_WINDOW_BYTES + 2 * FULL_BYTES))
    assert stream.full
    if how == "word":
        pump.hear(Credit("c", 0, abandoned=True))
    else:
        box.read = False
    await rest()
    assert rooms == [1]
    sent = len(box.bytes)
    assert stream.write(b"more")
    await rest()
    assert len(box.bytes) == sent
    assert not stream.full
    assert stream.end()[1].rest == b""


async def test_a_stream_without_credit_asks_for_its_gateway(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that died says nothing more: its streams do not wait for it until their functions time out."""
    monkeypatch.setattr(streams, "PROBE_S", 0.02)
    pump = StreamPump(box, "w")  # type: ignore[arg-type]
    task = asyncio.create_task(pump.run())
    rooms: list[int] = []
    stream = begin(pump, rooms)
    stream.write(b"x" * (STREAM_WINDOW_BYTES + 2 * FULL_BYTES))
    assert stream.full
    await asyncio.sleep(0.1)
    assert rooms == []
    box.read = False
    await asyncio.sleep(0.1)
    assert rooms == [1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_store_that_is_away(pump: StreamPump, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are sent again where nobody knows whether they were; where that does not help, the stream is given up."""
    monkeypatch.setattr(streams, "BACKOFF_S", (0.0, 0.0))
    stream = begin(pump)
    box.failures = 2
    stream.write(b"one")
    await asyncio.sleep(0.05)
    assert box.bytes == b"one"
    box.failures = 3
    stream.write(b"two")
    await asyncio.sleep(0.05)
    assert box.bytes == b"one"
    assert stream.end()[1] == StreamEnd("text/x", 6)


async def test_a_stream_has_a_limit(pump: StreamPump) -> None:
    """More than a stream may have is refused, and what is within the limit is sent."""
    stream = begin(pump)
    assert stream.write(b"x" * 1024)
    assert not stream.write(b"x" * 2 * 1024 * 1024)
    assert stream.too_large
    await rest()
    _, end = stream.end()
    assert end.offset + len(end.rest) == 2 * 1024 * 1024


async def test_a_stream_for_a_caller_that_wants_it_whole(pump: StreamPump, box: Box) -> None:
    """It is collected up to the limit of a buffered reply; one over it is read to its end, and kept no more."""
    call = Invocation(id="c", target=TARGET, qualified_arn="", payload=b"")
    stream = begin(pump, call=call)
    assert all(stream.write(part) for part in (b"a", b"b"))
    assert stream.end() == (b"ab", StreamEnd("text/x"))
    stream = begin(pump, call=call)
    assert all(stream.write(b"x" * SYNC_PAYLOAD_BYTES) for _ in range(3))
    assert stream.too_large
    assert stream.end()[0] == b""
    assert box.sent == []


# -- the caller ------------------------------------------------------------------------------------------------------


def part(offset: int, data: bytes) -> Chunk:
    """One part."""
    return Chunk(id="c", worker="w", offset=offset, content_type="text/x", data=data)


class Reader:
    """A stream that is read, and what a gateway hears of it."""

    def __init__(self, box: Box) -> None:
        self.ending: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.box = StreamBox(box, "g", "p")  # type: ignore[arg-type]
        self.reading = self.box.reading("c", self.ending)
        self.stream: ReplyStream = self.reading.__enter__()
        self.stream.deadline_s += 60
        self._open = True

    def finish(self, *, payload: bytes = b"", error: str = "", streamed: StreamEnd | None = None) -> None:
        """End the call."""
        self.ending.set_result(Reply(id="c", payload=payload, function_error=error, streamed=streamed))

    async def leave(self) -> None:
        """Leave the stream."""
        if self._open:
            self._open = False
            self.reading.__exit__(None, None, None)
            await rest()


@pytest.fixture
async def reader(box: Box) -> AsyncIterator[Reader]:
    """One open stream."""
    found = Reader(box)
    yield found
    await found.leave()
    await found.box.close()


async def test_a_reader_gets_all_in_order(reader: Reader) -> None:
    """Parts come once and in order, also where they were sent twice, then the rest that came with the reply."""
    for chunk in (part(0, b"ab"), part(0, b"ab"), part(2, b"c"), part(0, b"ab"), part(2, b"c")):
        reader.stream.put(chunk)
    reader.finish(streamed=StreamEnd("text/x", 3, b"d"))
    assert reader.stream.end is None
    assert [one async for one in reader.stream] == [b"ab", b"c", b"d"]
    assert reader.stream.end is not None
    assert reader.stream.content_type == "text/x"


async def test_the_end_waits_for_parts_that_are_behind(reader: Reader) -> None:
    """The reply comes another way than the parts, and may come first."""
    reader.finish(streamed=StreamEnd("text/x", 2, b"c"))
    task = asyncio.create_task(anext(reader.stream))
    await rest()
    assert not task.done()
    reader.stream.put(part(0, b"ab"))
    assert await task == b"ab"
    assert [one async for one in reader.stream] == [b"c"]


@pytest.mark.parametrize("at_the_end", [True, False])
async def test_a_hole_is_never_an_end(reader: Reader, monkeypatch: pytest.MonkeyPatch, at_the_end: bool) -> None:
    """Where a part is missing, before another one or before the end, reading fails."""
    monkeypatch.setattr(caller, "MISSING_S", 0.02)
    reader.stream.put(part(0, b"ab"))
    if at_the_end:
        reader.finish(streamed=StreamEnd("text/x", 3, b""))
    else:
        reader.stream.put(part(3, b"d"))
    assert await anext(reader.stream) == b"ab"
    with pytest.raises(ApiError):
        await anext(reader.stream)


async def test_an_error_in_mid_stream(reader: Reader) -> None:
    """What was sent before an error is read, then the end says which."""
    reader.stream.put(part(0, b"ab"))
    reader.finish(payload=b"{}", error="Unhandled", streamed=StreamEnd("text/x", 2))
    assert [one async for one in reader.stream] == [b"ab"]
    assert reader.stream.end is not None
    assert (reader.stream.end.function_error, reader.stream.end.payload) == ("Unhandled", b"{}")


async def test_a_plain_result_is_one_part(reader: Reader) -> None:
    """A function that does not stream has its result as the only part, of type JSON."""
    reader.finish(payload=b'"x"')
    assert [one async for one in reader.stream] == [b'"x"']
    assert reader.stream.content_type == "application/json"


async def test_a_platform_failure_is_raised(reader: Reader) -> None:
    """A worker that dies in mid-stream is an error of the platform for whoever reads."""
    reader.stream.put(part(0, b"ab"))
    assert await anext(reader.stream) == b"ab"
    reader.ending.set_result(Reply(id="c", payload=b"gone", failure="ServiceException"))
    with pytest.raises(ApiError, match="gone"):
        await anext(reader.stream)


async def test_credit_is_given_for_what_was_taken(reader: Reader, box: Box) -> None:
    """The worker hears of a part when the next one is asked for, not when it arrives."""
    data = b"x" * caller.CREDIT_BYTES
    reader.stream.put(part(0, data))
    reader.stream.put(part(len(data), b"y"))
    await anext(reader.stream)
    await rest()
    assert box.told == []
    await anext(reader.stream)
    await rest()
    assert box.told == [("w", Credit("c", len(data)))]


async def test_a_silent_stream_reminds_its_worker(reader: Reader, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word of credit that got lost is said again."""
    monkeypatch.setattr(caller, "REMIND_S", 0.02)
    reader.stream.put(part(0, b"x"))
    await anext(reader.stream)
    waiting = asyncio.create_task(anext(reader.stream))
    await asyncio.sleep(0.1)
    assert ("w", Credit("c", 1)) in box.told
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_leaving_abandons(reader: Reader, box: Box) -> None:
    """Whoever leaves before the end has its worker told; a part that comes later has it told again, and is not kept."""
    reader.stream.put(part(0, b"x"))
    await reader.leave()
    abandoned = ("w", Credit("c", 0, abandoned=True))
    assert box.told == [abandoned]
    reader.box._deliver(part(1, b"y"))
    await rest()
    assert box.told == [abandoned, abandoned]
