"""Python handlers that are generators, in a real bootstrap."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambent_workers.frames import PART_BYTES_MAX, FrameType
from lambent_workers.images import runtimes_dir

METADATA_TYPE = b"application/vnd.awslambda.http-integration-response"
Start = Callable[..., Any]


@pytest.fixture
def start(bootstraps: Callable[..., Any]) -> Start:
    """Starts a bootstrap with `app.py` in its package, as the function `app.handler`."""

    def begin(source: str) -> Any:
        boot = bootstraps([sys.executable, str(runtimes_dir() / "python" / "bootstrap.py")], {"app.py": source})
        assert boot.claim("app.handler") == (FrameType.READY, None)
        return boot

    return begin


def streamed(boot: Any, event: Any = None) -> tuple[str, list[bytes], int, bytes]:
    """Run one event that streams: the content type, the parts, and the frame that ended them."""
    request_id = boot.send(json.dumps(event).encode()).encode()
    kind, body = boot.frame()
    assert (kind, body[:36]) == (FrameType.STREAM, request_id)
    content_type, parts = body[36:].decode(), []
    while True:
        kind, body = boot.frame()
        assert body[:36] == request_id
        if kind != FrameType.PART:
            return content_type, parts, kind, body[36:]
        parts.append(body[36:])


GENERATORS = {
    "sync": """
        def handler(event, context):
            for value in VALUES[event]:
                yield value
    """,
    "async": """
        import asyncio
        async def handler(event, context):
            for value in VALUES[event]:
                await asyncio.sleep(0)
                yield value
    """,
}
VALUES = """
VALUES = {
    "text": ["a", "ü"], "bytes": [b"a", bytearray(b"b"), memoryview(b"c")], "nothing": [], "large": [b"x" * 300_000],
    "http": [{"statusCode": 201, "headers": {"x-a": "b"}}, "a"], "number": ["a", 1], "late": ["a", {"statusCode": 200}],
    "other": [{"statusCode": 200, "body": "a"}],
}
"""


@pytest.mark.parametrize("kind", GENERATORS)
def test_what_is_yielded_is_sent(start: Start, kind: str) -> None:
    """Text and bytes are parts of the response, a dictionary before them its metadata; nothing is a response too."""
    boot = start(_dedented(kind))
    end = (FrameType.END, b"")
    assert streamed(boot, "text") == ("text/plain; charset=utf-8", [b"a", "ü".encode()], *end)
    assert streamed(boot, "bytes") == ("application/octet-stream", [b"a", b"b", b"c"], *end)
    assert streamed(boot, "nothing") == ("application/octet-stream", [], *end)
    content_type, parts, *found = streamed(boot, "http")
    assert (content_type.encode(), found) == (METADATA_TYPE, list(end))
    prelude, _, body = b"".join(parts).partition(bytes(8))
    assert (json.loads(prelude), body) == ({"statusCode": 201, "headers": {"x-a": "b"}}, b"a")
    _, parts, *found = streamed(boot, "large")
    assert (b"".join(parts), found) == (b"x" * 300_000, list(end))
    assert max(map(len, parts)) <= PART_BYTES_MAX


@pytest.mark.parametrize("kind", GENERATORS)
def test_what_cannot_be_sent(start: Start, kind: str) -> None:
    """Anything else ends the response with an error, also before it began; the process goes on."""
    boot = start(_dedented(kind))
    for event in ("number", "late"):
        _, parts, ended, body = streamed(boot, event)
        assert (parts, ended) == ([b"a"], FrameType.ERROR)
        assert json.loads(body)["errorType"] == "Runtime.MarshalError"
    assert boot.fail("other")["errorType"] == "Runtime.MarshalError"
    assert streamed(boot, "text")[2] == FrameType.END


def _dedented(kind: str) -> str:
    return textwrap.dedent(GENERATORS[kind]) + VALUES


def test_errors_in_mid_stream(start: Start) -> None:
    """An exception after the first part ends the stream, with the handler's own frames in its trace, and is logged."""
    boot = start("""
        def sync(event):
            yield "a"
            raise ValueError("sync")
        async def later(event):
            yield "a"
            raise ValueError("async")
        def handler(event, context):
            return {"sync": sync, "async": later}[event](event)
    """)
    for kind in ("sync", "async"):
        _, parts, ended, body = streamed(boot, kind)
        error = json.loads(body)
        assert (parts, ended, error["errorType"], error["errorMessage"]) == (
            [b"a"],
            FrameType.ERROR,
            "ValueError",
            kind,
        )
        [line] = error["stackTrace"]
        assert "app.py" in line
    assert boot.end().count("[ERROR] ValueError") == 2


def test_an_error_before_the_first_part(start: Start) -> None:
    """A generator that fails at once has an ordinary error; one that is closed early cleans up."""
    boot = start("""
        def handler(event, context):
            try:
                if event == "fail":
                    raise KeyError("k")
                yield 1
            finally:
                print("cleaned")
    """)
    assert boot.fail("fail")["errorType"] == "KeyError"
    assert boot.fail("other")["errorType"] == "Runtime.MarshalError"
    assert boot.end().count("cleaned") == 2


def test_one_event_loop_for_all_calls(start: Start) -> None:
    """What an asynchronous handler made on its loop in one call works in the next."""
    boot = start("""
        import asyncio
        loops = set()
        async def handler(event, context):
            loops.add(asyncio.get_running_loop())
            yield str(len(loops))
    """)
    assert [streamed(boot)[1] for _ in range(2)] == [[b"1"], [b"1"]]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_reader_that_is_behind_holds_the_handler_up(start: Start, kind: str) -> None:
    """What nobody reads is not produced; an asynchronous handler's other tasks go on meanwhile."""
    boot = start("""
        import asyncio, sys
        def sync():
            for n in range(1000):
                print("made", n)
                yield b"x" * 60_000
        async def later():
            async def tick():
                while True:
                    await asyncio.sleep(0.05)
                    print("tick")
            task = asyncio.create_task(tick())
            for part in sync():
                yield part
            task.cancel()
        def handler(event, context):
            return {"sync": sync, "async": later}[event]()
    """)
    boot.send(json.dumps(kind).encode())
    time.sleep(0.7)
    assert boot.frame()[0] == FrameType.STREAM
    boot.process.kill()
    assert boot.process.stdout is not None
    printed = boot.process.stdout.read().decode()
    assert 1 <= printed.count("made") < 30
    assert (printed.count("tick") > 3) == (kind == "async")


def test_a_plain_handler_after_a_stream(start: Start) -> None:
    """One handler may stream one time and answer plainly the next."""
    boot = start("""
        def parts():
            yield "a"
        def handler(event, context):
            return parts() if event else "plain"
    """)
    assert streamed(boot, 1)[1] == [b"a"]
    assert boot.call(0) == "plain"
    assert streamed(boot, 1)[1] == [b"a"]
