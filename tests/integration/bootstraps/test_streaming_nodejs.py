"""Node.js handlers made with `awslambda.streamifyResponse`, in a real bootstrap."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambent_workers.frames import PART_BYTES_MAX, FrameType
from lambent_workers.images import runtimes_dir

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no Node.js is installed here")
METADATA_TYPE = "application/vnd.awslambda.http-integration-response"
Start = Callable[..., Any]


@pytest.fixture
def start(bootstraps: Callable[..., Any]) -> Start:
    """Starts a bootstrap with `index.js` in its package, whose `handler` streams by the body of a function."""

    def begin(body: str, before: str = "") -> Any:
        assert NODE is not None
        source = f"""{before}
            const rest = (ms) => new Promise((done) => setTimeout(done, ms));
            exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {{ {body} }});
        """
        boot = bootstraps([NODE, str(runtimes_dir() / "nodejs" / "bootstrap.mjs")], {"index.js": source})
        assert boot.claim("index.handler") == (FrameType.READY, None)
        return boot

    return begin


def streamed(boot: Any, event: Any = None) -> tuple[str, bytes, int, bytes]:
    """Run one event that streams: the content type, all bytes, and the frame that ended them."""
    request_id = boot.send(json.dumps(event).encode()).encode()
    kind, body = boot.frame()
    assert (kind, body[:36]) == (FrameType.STREAM, request_id), body
    content_type, data = body[36:].decode(), b""
    while True:
        kind, body = boot.frame()
        assert body[:36] == request_id
        if kind != FrameType.PART:
            return content_type, data, kind, body[36:]
        assert len(body) <= 36 + PART_BYTES_MAX
        data += body[36:]


def test_what_is_written_is_sent(start: Start) -> None:
    """Text, bytes and values are sent under the type that the handler sets, once before the first byte."""
    boot = start("""
        if (event === 'type') stream.setContentType('text/x');
        stream.write('a');
        stream.write(new Uint8Array([98]));
        stream.write({ c: 1 });
        try { stream.setContentType('late'); } catch (error) { stream.write(error.name); }
        stream.end('ü');
    """)
    body = 'ab{"c":1}Runtime.InvalidStreamingOperationü'.encode()
    assert streamed(boot) == ("application/octet-stream", body, FrameType.END, b"")
    assert streamed(boot, "type") == ("text/x", body, FrameType.END, b"")


def test_metadata(start: Start) -> None:
    """Status and headers come before the first byte, after which come eight NULs; also where there is no body."""
    boot = start("""
        const metadata = { statusCode: 201, headers: { a: 'b' }, cookies: ['c'] };
        const http = awslambda.HttpResponseStream.from(stream, metadata);
        if (event) http.write(event);
        http.end();
    """)
    for body in ("body", ""):
        content_type, data, kind, _ = streamed(boot, body)
        prelude, _, rest = data.partition(bytes(8))
        assert (content_type, kind, rest.decode()) == (METADATA_TYPE, FrameType.END, body)
        assert json.loads(prelude) == {"statusCode": 201, "headers": {"a": "b"}, "cookies": ["c"]}


def test_pipelines(start: Start) -> None:
    """Large streams are piped through, whole and in order."""
    boot = start(
        "await pipeline(Readable.from(parts()), stream);",
        """const { Readable } = require('stream'), { pipeline } = require('stream/promises');
            function* parts() { for (let n = 0; n < 40; n++) yield Buffer.alloc(50000, n); }""",
    )
    _, data, kind, _ = streamed(boot)
    assert (kind, data) == (FrameType.END, b"".join(bytes([n]) * 50000 for n in range(40)))


def test_errors(start: Start) -> None:
    """What is thrown before the first byte is an ordinary error, after it one that ends the stream; both are logged."""
    boot = start("""
        if (event === 'early') throw new RangeError('early');
        stream.write('a');
        await rest(10);
        if (event === 'late') throw new RangeError('late');
        if (event === 'pipe') stream.destroy(new TypeError('pipe'));
        else if (event !== 'open') stream.end();
    """)
    assert (boot.fail("early")["errorType"], boot.fail("early")["errorMessage"]) == ("RangeError", "early")
    for event, kind, message in (
        ("late", "RangeError", "late"),
        ("pipe", "TypeError", "pipe"),
        ("open", "string", "Response stream is not finished."),
    ):
        _, data, ended, body = streamed(boot, event)
        error = json.loads(body)
        assert (data, ended) == (b"a", FrameType.ERROR)
        assert (error["errorType"], error["errorMessage"]) == (kind, message)
    assert streamed(boot)[1:3] == (b"a", FrameType.END)
    assert boot.end().count("Invoke Error") == 5


def test_the_end_of_the_process(start: Start) -> None:
    """An exception that nobody catches ends stream and process."""
    boot = start("stream.write('a'); setTimeout(() => { throw new Error('loose'); }, 10); await rest(1000);")
    _, data, kind, body = streamed(boot)
    assert (data, kind, json.loads(body)["errorMessage"]) == (b"a", FrameType.FATAL, "loose")
    boot.process.wait(timeout=10)


def test_handlers_that_are_not_async(bootstraps: Callable[..., Any]) -> None:
    """As in Lambda, they are refused."""
    assert NODE is not None
    source = "exports.handler = awslambda.streamifyResponse((event, stream) => { stream.end('a'); });"
    boot = bootstraps([NODE, str(runtimes_dir() / "nodejs" / "bootstrap.mjs")], {"index.js": source})
    boot.claim("index.handler")
    _, _, kind, body = streamed(boot)
    assert kind == FrameType.ERROR
    assert json.loads(body)["errorMessage"] == "Streaming does not support non-async handlers."


def test_a_call_ends_with_handler_and_stream(start: Start) -> None:
    """A handler that returns before its stream has ended is waited for; one that ends its stream first, too."""
    boot = start("""
        if (event === 'stream') { stream.end('a'); await rest(50); console.log('after'); return; }
        setTimeout(() => stream.end('b'), 50);
    """)
    assert streamed(boot, "stream")[1:3] == (b"a", FrameType.END)
    assert streamed(boot, "handler")[1:3] == (b"b", FrameType.END)
    assert "after" in boot.end()


def test_a_reader_that_is_behind_holds_the_handler_up(start: Start) -> None:
    """Writes say so, and wait: what nobody reads is not produced."""
    boot = start("""
        for (let n = 0; n < 1000; n++) {
          console.log('made', n);
          if (!stream.write(Buffer.alloc(60000))) await new Promise((done) => stream.once('drain', done));
        }
        stream.end();
    """)
    boot.send(b"null")
    time.sleep(0.7)
    assert boot.frame()[0] == FrameType.STREAM
    boot.process.kill()
    assert boot.process.stdout is not None
    assert 1 <= boot.process.stdout.read().decode().count("made") < 30


def test_large_writes_after_one_another(start: Start) -> None:
    """A handler that only writes, without waiting, loses nothing."""
    boot = start("for (let n = 0; n < 50; n++) stream.write(Buffer.alloc(100000, n)); stream.end();")
    _, data, kind, _ = streamed(boot)
    assert (kind, data) == (FrameType.END, b"".join(bytes([n]) * 100000 for n in range(50)))
