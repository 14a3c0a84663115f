"""How a streamed reply becomes a response over HTTP: its head, however it is cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lambent_platform.contracts.invocation import Reply
from lambent_platform.core.http_event import (
    PRELUDE_BYTES_MAX,
    PRELUDE_TYPE,
    STREAM_TYPE,
    InvalidReply,
    read_collected,
    read_prelude,
)
from lambent_platform.gateway.streamed_reply import FunctionFailed, read_head

PRELUDE = b'{"statusCode":201,"headers":{"a":"b","content-length":"9"},"cookies":["c=1"]}'
HEAD = (201, [("a", "b"), ("Content-Type", STREAM_TYPE), ("Set-Cookie", "c=1")])


class Stream:
    """A stream of known parts."""

    call_id = "c"

    def __init__(self, *parts: bytes, content_type: str = PRELUDE_TYPE, error: str = "") -> None:
        self.content_type = content_type
        self.end: Reply | None = None
        self._error = error
        self._parts = self._iterate(parts)

    async def _iterate(self, parts: tuple[bytes, ...]) -> AsyncIterator[bytes]:
        for part in parts:
            yield part
        self.end = Reply(id="c", payload=b"", function_error=self._error)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts

    async def __anext__(self) -> bytes:
        return await anext(self._parts)


@pytest.mark.parametrize("cut", [1, 7, len(PRELUDE), len(PRELUDE) + 3, 1000])
async def test_metadata_is_read_however_it_is_cut(cut: int) -> None:
    """Status, headers and cookies come from what is before eight NULs; the rest is the body, NULs and all."""
    data = PRELUDE + bytes(8) + b"body" + bytes(8)
    stream = Stream(*(data[at : at + cut] for at in range(0, len(data), cut)))
    head = await read_head(stream)  # type: ignore[arg-type]
    assert (head.status, list(head.headers)) == HEAD
    assert head.body + b"".join([part async for part in stream]) == b"body" + bytes(8)


@pytest.mark.parametrize("body", [b"x" + bytes(8), b""])
async def test_a_stream_of_its_own_type(body: bytes) -> None:
    """Without metadata the stream is the body of a 200 of its own type; one that no header can have is none."""
    parts = (body,) if body else ()
    for given, shown in (("text/x", "text/x"), ("a\r\nb: c", STREAM_TYPE), ("", STREAM_TYPE)):
        head = await read_head(Stream(*parts, content_type=given))  # type: ignore[arg-type]
        assert (head.status, list(head.headers), head.body) == (200, [("Content-Type", shown)], body)


@pytest.mark.parametrize(
    "stream",
    [
        Stream(error="Unhandled"),
        Stream(error="Unhandled", content_type="text/x"),
        Stream(PRELUDE),
        Stream(PRELUDE + bytes(7) + b"x"),
        Stream(b"no json" + bytes(8)),
        Stream(b"[]" + bytes(8)),
        Stream(b'{"statusCode":99}' + bytes(8)),
        Stream(b'{"headers":{"a":"b\\r\\nc: d"}}' + bytes(8)),
        Stream(*[b"x" * 10_000] * (PRELUDE_BYTES_MAX // 10_000 + 2), bytes(8)),
    ],
)
async def test_what_is_no_response(stream: Stream) -> None:
    """An error before the first byte, and metadata that is wrong, too long or without end, are no response at all."""
    with pytest.raises(FunctionFailed):
        await read_head(stream)  # type: ignore[arg-type]


async def test_an_error_after_the_first_byte_is_not_one_before_it() -> None:
    """What was streamed before an error is a response that has begun."""
    stream = Stream(b"x", content_type="text/x", error="Unhandled")
    assert (await read_head(stream)).body == b"x"  # type: ignore[arg-type]


def test_a_collected_stream() -> None:
    """A stream that was read whole is the same response; without the end of its metadata it is none."""
    reply = read_collected(PRELUDE + bytes(8) + b"body", PRELUDE_TYPE)
    assert (reply.status, list(reply.headers), reply.body) == (*HEAD, b"body")
    assert read_collected(b"x", "text/x").headers == (("Content-Type", "text/x"),)
    with pytest.raises(InvalidReply):
        read_collected(PRELUDE, PRELUDE_TYPE)
    assert read_prelude(b"{}").status == 200
