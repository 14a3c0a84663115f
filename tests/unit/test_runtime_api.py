"""The Runtime API over real connections: what is served, and that every misuse is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_workers.runtime_api import CONNECTIONS_MAX, CUT_OFF_GRACE_S, HEADER_BYTES_MAX, RuntimeApi
from lambent_workers.runtime_link import AnswerKind, Delivery

BASE = "/2018-06-01/runtime"
NEXT = f"{BASE}/invocation/next"


class Events:
    """What an environment would hear."""

    def __init__(self) -> None:
        self.ready = 0
        self.init_errors: list[bytes] = []
        self.answers: list[tuple[str, bytes, AnswerKind]] = []
        self.streams: list[tuple[str, str]] = []
        self.parts: list[tuple[str, bytes]] = []

    def on_ready(self) -> None:
        """Count."""
        self.ready += 1

    def on_init_failed(self, error: bytes) -> None:
        """Note."""
        self.init_errors.append(error)

    def on_answer(self, request_id: str, body: bytes, kind: AnswerKind) -> None:
        """Note."""
        self.answers.append((request_id, body, kind))

    def on_stream(self, request_id: str, content_type: str) -> None:
        """Note."""
        self.streams.append((request_id, content_type))

    def on_part(self, request_id: str, data: bytes) -> None:
        """Note."""
        self.parts.append((request_id, data))

    def on_lost(self) -> None:
        """Nothing is ever lost on this API: the process's end says it."""


class Client:
    """One keep-alive connection, spoken by hand so that it can be misused."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> Client:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def request(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Send one request and read the answer: status, JSON, headers."""
        self.send(method, path, body, **headers)
        return await self.answer()

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        """Send one request."""
        named = {"host": "x", "content-length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    async def answer(self) -> tuple[int, Any, dict[str, str]]:
        """Read one answer."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), json.loads(body) if body else None, headers


class Bench:
    """An attached API behind a listening socket."""

    def __init__(self, api: RuntimeApi, events: Events, port: int) -> None:
        self.api, self.events, self.port = api, events, port

    async def client(self) -> Client:
        """Connect once more."""
        return await Client(self.port).open()

    def deliver(self, request_id: str = "id-1", payload: bytes = b'{"n": 1}') -> None:
        """Deliver one event."""
        self.api.deliver(Delivery(request_id, 1234, "arn:f", "Root=1", '{"custom":{"ä":1}}', payload))

    async def flying(self, request_id: str = "id-1") -> Client:
        """Deliver an event to a client of its own."""
        client = await self.client()
        client.send("GET", NEXT)
        self.deliver(request_id)
        assert (await client.answer())[0] == 200
        return client


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """An API that serves an environment."""
    api, events = RuntimeApi(), Events()
    server = await asyncio.get_running_loop().create_server(api.connect, "127.0.0.1", 0)
    api.attach(events)
    async with server:
        yield Bench(api, events, server.sockets[0].getsockname()[1])
        api.close()


async def test_a_runtime_polls_and_answers(bench: Bench) -> None:
    """The first poll means ready; events come with Lambda's headers, over one connection kept alive."""
    client = await bench.client()
    for request_id in ("id-1", "id-2"):
        client.send("GET", NEXT)
        await asyncio.sleep(0.05)
        assert not bench.api.taken or request_id != "id-1"
        bench.deliver(request_id)
        status, event, headers = await client.answer()
        assert (status, event, bench.api.taken) == (200, {"n": 1}, True)
        assert headers["lambda-runtime-aws-request-id"] == request_id
        assert headers["lambda-runtime-deadline-ms"] == "1234"
        assert headers["lambda-runtime-invoked-function-arn"] == "arn:f"
        assert headers["lambda-runtime-trace-id"] == "Root=1"
        assert json.loads(headers["lambda-runtime-client-context"]) == {"custom": {"ä": 1}}
        answer = await client.request("POST", f"{BASE}/invocation/{request_id}/response", b'"ok"')
        assert answer[:2] == (202, {"status": "OK"})
    assert bench.events.ready == 1
    assert bench.events.answers == [(i, b'"ok"', AnswerKind.RESULT) for i in ("id-1", "id-2")]


async def test_an_event_waits_for_the_poll(bench: Bench) -> None:
    """An event delivered before anyone asks is not taken until somebody does."""
    bench.deliver()
    assert not bench.api.taken
    client = await bench.client()
    assert (await client.request("GET", NEXT))[0] == 200
    assert bench.api.taken


async def test_a_chunked_response(bench: Bench) -> None:
    """A body of unknown length arrives whole, also where the client asks first whether it may send it."""
    client = await bench.flying()
    head = (
        f"POST {BASE}/invocation/id-1/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    )
    client.writer.write(head.encode())
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    for part in (b"[1,", b"2]", b""):
        client.writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        await asyncio.sleep(0.01)
    assert (await client.answer())[0] == 202
    assert bench.events.answers == [("id-1", b"[1,2]", AnswerKind.RESULT)]


async def test_errors_of_the_function(bench: Bench) -> None:
    """An error is passed on as it is; text that is not JSON is put into the shape of one."""
    client = await bench.flying()
    body = b'{"errorMessage":"m","errorType":"T"}'
    assert (await client.request("POST", f"{BASE}/invocation/id-1/error", body))[0] == 202
    client = await bench.flying("id-2")
    path = f"{BASE}/invocation/id-2/error"
    assert (await client.request("POST", path, b"oops", lambda_runtime_function_error_type="E"))[0] == 202
    assert bench.events.answers == [
        ("id-1", body, AnswerKind.ERROR),
        ("id-2", b'{"errorMessage":"oops","errorType":"E"}', AnswerKind.ERROR),
    ]


async def test_init_errors(bench: Bench) -> None:
    """An init error counts before the first poll, and is refused after it."""
    client = await bench.client()
    assert (await client.request("POST", f"{BASE}/init/error", b'{"errorType":"X"}'))[0] == 202
    status, error, _ = await client.request("POST", f"{BASE}/init/error", b"{}")
    assert (status, error["errorType"]) == (403, "InvalidStateTransition")
    assert bench.events.init_errors == [b'{"errorType":"X"}']


async def test_answers_to_nothing_in_flight(bench: Bench) -> None:
    """A wrong id, a second response and a response before any event are refused and change nothing."""
    client = await bench.client()
    status, error, _ = await client.request("POST", f"{BASE}/invocation/id-1/response", b"1")
    assert (status, error["errorType"]) == (400, "InvalidRequestID")
    client = await bench.flying()
    assert (await client.request("POST", f"{BASE}/invocation/other/response", b"1"))[0] == 400
    assert (await client.request("POST", f"{BASE}/invocation//response", b"1"))[0] == 400
    assert (await client.request("POST", f"{BASE}/invocation/id-1/response", b"2"))[0] == 202
    for verb in ("response", "error"):
        status, error, _ = await client.request("POST", f"{BASE}/invocation/id-1/{verb}", b"3")
        assert (status, error["errorType"]) == (403, "InvalidStateTransition")
    assert bench.events.answers == [("id-1", b"2", AnswerKind.RESULT)]


async def test_only_one_polls(bench: Bench) -> None:
    """A second poller, or a poll while an event is in flight, is refused; one that hung up makes room."""
    first, second = await bench.client(), await bench.client()
    first.send("GET", NEXT)
    await asyncio.sleep(0.05)
    assert (await second.request("GET", NEXT))[0] == 403
    first.writer.close()
    await first.writer.wait_closed()
    await asyncio.sleep(0.05)
    second.send("GET", NEXT)
    bench.deliver()
    assert (await second.answer())[0] == 200
    assert (await (await bench.client()).request("GET", NEXT))[0] == 403


async def test_a_response_over_the_limit(bench: Bench) -> None:
    """Too large a body is answered 413, the environment hears of it once, and the connection can go on."""
    client = await bench.flying()
    path = f"{BASE}/invocation/id-1/response"
    status, error, _ = await client.request("POST", path, b"x" * (SYNC_PAYLOAD_BYTES + 1))
    assert (status, error["errorType"]) == (413, "RequestEntityTooLarge")
    assert bench.events.answers == [("id-1", b"", AnswerKind.TOO_LARGE)]
    client.send("GET", NEXT)
    bench.deliver("id-2")
    assert (await client.answer())[0] == 200


RESPONSE = f"{BASE}/invocation/id-1/response"
STREAMED = "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


async def streaming(bench: Bench, headers: str = "") -> Client:
    """Begin a streamed response to an event in flight."""
    client = await bench.flying()
    client.writer.write(f"POST {RESPONSE} HTTP/1.1\r\n{STREAMED}{headers}\r\n".encode())
    return client


async def test_a_streamed_response(bench: Bench) -> None:
    """Its parts are passed on as they come, its end answers the event, and the connection can go on."""
    client = await streaming(bench, "Content-Type: text/x\r\n")
    for number in (b"1", b"22"):
        client.writer.write(chunk(number))
        await asyncio.sleep(0.02)
        assert bench.events.parts[-1] == ("id-1", number)
    assert bench.events.streams == [("id-1", "text/x")]
    assert bench.events.answers == []
    client.writer.write(chunk(b""))
    assert (await client.answer())[0] == 202
    assert bench.events.answers == [("id-1", b"", AnswerKind.STREAMED)]
    client.send("GET", NEXT)
    bench.deliver("id-2")
    assert (await client.answer())[0] == 200


async def test_an_error_in_the_trailers_of_a_stream(bench: Bench) -> None:
    """What a runtime says in its trailers ends the stream as an error, its body being JSON in base64."""
    client = await streaming(bench, "Trailer: Lambda-Runtime-Function-Error-Type\r\n")
    error = b'{"errorType":"E","errorMessage":"m"}'
    name, body = "Lambda-Runtime-Function-Error", b64encode(error).decode()
    client.writer.write(chunk(b"part") + f"0\r\n{name}-Type: E\r\n{name}-Body: {body}\r\n\r\n".encode())
    assert (await client.answer())[0] == 202
    assert bench.events.answers == [("id-1", error, AnswerKind.ERROR)]


async def test_an_error_beside_a_stream(bench: Bench) -> None:
    """A runtime that reports an error by a request of its own ends the stream; what still comes of it is dropped."""
    client, other = await streaming(bench), await bench.client()
    client.writer.write(chunk(b"part"))
    await asyncio.sleep(0.02)
    assert (await other.request("POST", f"{BASE}/invocation/id-1/error", b"{}"))[0] == 202
    client.writer.write(chunk(b"late") + chunk(b""))
    assert (await client.answer())[0] == 403
    assert bench.events.answers == [("id-1", b"{}", AnswerKind.ERROR)]
    assert bench.events.parts == [("id-1", b"part")]


@pytest.mark.parametrize("polls", [True, False])
async def test_a_stream_that_is_cut_off(bench: Bench, polls: bool) -> None:
    """A connection that ends before its stream does is an error, never the end of the stream."""
    client = await streaming(bench)
    client.writer.write(chunk(b"part"))
    await client.writer.drain()
    client.writer.close()
    await asyncio.sleep(0.05)
    assert bench.events.answers == []
    if polls:  # a runtime that goes on has not ended
        other = await bench.client()
        other.send("GET", NEXT)
        await asyncio.sleep(0.05)
    else:
        await asyncio.sleep(CUT_OFF_GRACE_S)
    [(request_id, body, kind)] = bench.events.answers
    assert (request_id, json.loads(body)["errorType"], kind) == ("id-1", "Runtime.TruncatedResponse", AnswerKind.ERROR)
    if polls:
        bench.deliver("id-2")
        assert (await other.answer())[0] == 200


async def test_one_stream_answers_an_event(bench: Bench) -> None:
    """While a response streams, another one and another poll are refused; a stream for nothing is, too."""
    client, other = await streaming(bench), await bench.client()
    await asyncio.sleep(0.02)
    mode = {"lambda_runtime_function_response_mode": "streaming"}
    assert (await other.request("POST", RESPONSE, b"x", **mode))[0] == 403
    assert (await other.request("POST", RESPONSE, b"x"))[0] == 403
    assert (await other.request("GET", NEXT))[0] == 403
    assert (await other.request("POST", f"{BASE}/invocation/id-0/response", b"x", **mode))[0] == 400
    client.writer.write(chunk(b""))
    assert (await client.answer())[0] == 202
    assert (bench.events.parts, len(bench.events.answers)) == ([], 1)


async def test_a_paused_stream_is_not_read(bench: Bench) -> None:
    """A stream whose caller is behind holds its writer up, and goes on where it stopped."""
    client = await streaming(bench)
    client.writer.write(chunk(b"first"))
    await asyncio.sleep(0.02)
    bench.api.pause()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            for _ in range(1000):  # until every buffer between the two is full
                client.writer.write(chunk(b"x" * 65536))
                await client.writer.drain()
            pytest.fail("nothing held the writer up")
    assert len(bench.events.parts) <= 2
    bench.api.resume()
    client.writer.write(chunk(b""))
    assert (await client.answer())[0] == 202
    assert len(bench.events.parts) > 2


async def test_trailers_are_bounded(bench: Bench) -> None:
    """Trailers without end are answered 431 and end the stream as one that was cut off."""
    client = await streaming(bench)
    client.writer.write(b"0\r\nx: " + b"y" * 400_000)
    assert (await client.answer())[0] == 431
    await asyncio.sleep(CUT_OFF_GRACE_S + 0.05)
    assert [kind for _, _, kind in bench.events.answers] == [AnswerKind.ERROR]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", NEXT, 405), ("GET", "/", 404), ("GET", f"{BASE}/init/error", 404), ("PUT", f"{BASE}/invocation/x", 404),
     ("POST", f"{BASE}/invocation/id/other", 404), ("POST", "/2020-01-01/extension/register", 404)],
)  # fmt: skip
async def test_unknown_operations(bench: Bench, method: str, path: str, status: int) -> None:
    """What the API does not have is answered as JSON."""
    found, error, _ = await (await bench.client()).request(method, path)
    assert (found, set(error)) == (status, {"errorMessage", "errorType"})


async def test_what_is_not_http(bench: Bench) -> None:
    """Garbage is answered 400, headers without end 431, and both end the connection."""
    client = await bench.client()
    client.writer.write(b"\x16\x03\x01 garbage\r\n\r\n")
    assert (await client.answer())[0] == 400
    assert await client.reader.read() == b""
    client = await bench.client()
    client.writer.write(b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * (HEADER_BYTES_MAX + 100_000))
    assert (await client.answer())[0] == 431
    assert bench.events.answers == []


async def test_a_large_cause_header_is_accepted(bench: Bench) -> None:
    """AWS's clients put up to a megabyte of X-Ray cause into a header."""
    client = await bench.flying()
    cause = "c" * (1024 * 1024)
    answer = await client.request("POST", f"{BASE}/invocation/id-1/error", b"{}", lambda_runtime_xray_error_cause=cause)
    assert answer[0] == 202


async def test_a_body_that_stops_half_way(bench: Bench) -> None:
    """Half a response answers nothing; the event stays in flight for another connection."""
    client = await bench.flying()
    client.writer.write(f"POST {BASE}/invocation/id-1/response HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf".encode())
    await client.writer.drain()
    client.writer.close()
    await asyncio.sleep(0.05)
    assert bench.events.answers == []
    other = await bench.client()
    assert (await other.request("POST", f"{BASE}/invocation/id-1/response", b"1"))[0] == 202


async def test_connections_are_bounded(bench: Bench) -> None:
    """A function that opens connections without end is refused the next one, not served out of memory."""
    clients = [await bench.client() for _ in range(CONNECTIONS_MAX)]
    await asyncio.sleep(0.05)
    extra = await bench.client()
    assert (await extra.answer())[0] == 503
    assert (await clients[0].request("GET", "/"))[0] == 404


async def test_before_it_is_attached_and_after_it_is_closed() -> None:
    """A stem, or an environment whose runtime speaks frames, gets nothing from the API; closing ends connections."""
    api = RuntimeApi()
    server = await asyncio.get_running_loop().create_server(api.connect, "127.0.0.1", 0)
    async with server:
        client = await Client(server.sockets[0].getsockname()[1]).open()
        assert (await client.request("GET", NEXT))[0] == 403
        api.close()
        assert await client.reader.read() == b""
