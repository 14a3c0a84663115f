"""The front on a real port: hot requests answered as the general path answers them, all others handed over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from lambent_platform.contracts.errors import ResourceNotFound, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.gateway.app import Route, listening, make_app
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.front import front
from lambent_platform.gateway.front.invoke import HotInvoke
from lambent_platform.gateway.front.queues import HotQueues
from lambent_platform.gateway.lambda_api.invoke import InvokeOperation
from lambent_platform.gateway.sts import TokenOperations

PATH = "/2015-03-31/functions/{}/invocations"


class Calls:
    """A dispatcher that answers by the function's name."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.large = b""
        self.seen: list[tuple[FunctionRef, bytes, CallOptions]] = []

    async def invoke(self, ref: FunctionRef, payload: bytes, options: CallOptions) -> Reply:
        """Echo, wait, or fail."""
        self.seen.append((ref, payload, options))
        failures = {
            "missing": ResourceNotFound("Function not found", Type="User"),
            "busy": TooManyRequests("Rate Exceeded.", Reason="ConcurrentInvocationLimitExceeded", Type="User"),
            "away": StoreUnavailable("redis is away"),
            "broken": RuntimeError("a secret"),
        }
        if ref.name in failures:
            raise failures[ref.name]
        if ref.name == "large":
            return Reply(id="", payload=self.large)
        if ref.name == "slow":
            await self.release.wait()
        error = "Unhandled" if ref.name == "failing" else ""
        tail = "bG9n" if options.log_tail else ""
        return Reply(id="", payload=payload, function_error=error, executed_version="7", log_tail=tail)

    async def accept(self, ref: FunctionRef, payload: bytes, options: CallOptions) -> str:
        """Accept anything."""
        self.seen.append((ref, payload, options))
        return options.request_id

    async def check(self, ref: FunctionRef) -> None:
        """Find nothing wrong."""


class Gateway:
    """A gateway with a front, and raw connections to it."""

    def __init__(self, calls: Calls, stack: AsyncExitStack) -> None:
        self.calls = calls
        self.stack = stack
        self.port = 0

    async def start(self, **options: Any) -> None:
        """Serve Invoke both ways, and one operation that is never hot."""
        registry, catalog, invoke = Registry(), ServiceCatalog(), InvokeOperation(self.calls)  # type: ignore[arg-type]
        registry.serve("lambda", invoke)
        registry.serve("sts", TokenOperations())
        app, hot = make_app(registry, catalog=catalog), [HotInvoke(invoke, catalog).route()]
        self.port = await self.stack.enter_async_context(
            listening(app, "127.0.0.1", 0, drain_s=2.0, hot=hot, **options)
        )

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A running gateway."""
    async with AsyncExitStack() as stack:
        made = Gateway(Calls(), stack)
        await made.start()
        yield made


def request(name: str = "f", body: bytes = b'{"n": 1}', *fields: str, query: str = "") -> bytes:
    """Write an Invoke request."""
    lines = [f"POST {PATH.format(name)}{query} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one reply: status, fields, body."""
    async with asyncio.timeout(10):
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = text.strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), fields, await reader.readexactly(int(fields.get("content-length", 0)))


def comparable(reply: tuple[int, dict[str, str], bytes]) -> Any:
    """Leave out what differs from reply to reply, or by the connection's end."""
    status, fields, body = reply
    left_out = {"date", "server", "connection", "x-amzn-requestid"}
    return status, {k: v for k, v in fields.items() if k not in left_out}, body


@pytest.mark.parametrize(
    "sent",
    [
        request(),
        request(body=b""),
        request(body=b"not json"),
        request("f:live"),
        request("f", b"1", query="?Qualifier=live"),
        request("f:a", b"1", query="?Qualifier=b"),
        request("f", b"1", query="?Qualifier=!"),
        request("a!b"),
        request("missing"),
        request("busy"),
        request("away"),
        request("broken"),
        request("failing"),
        request("f", b"{}", "X-Amz-Log-Type: Tail"),
        request("f", b"{}", "X-Amz-Invocation-Type: Event"),
        request("f", b"{}", "X-Amz-Invocation-Type: DryRun"),
        request("f", b"{}", "X-Amz-Invocation-Type: Sometime"),
        request("f", b"{}", "X-Amz-Client-Context: e30="),
        request("f", b"{}", "X-Amz-Client-Context: !"),
        request("f", b"{}", "Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-3/lambda/aws4_request, x"),
    ],
)
async def test_a_hot_request_is_answered_as_the_general_path_answers_it(gateway: Gateway, sent: bytes) -> None:
    """The same request gets the same status, fields and body, and calls the same function, on either path."""
    answers = []
    for form in (sent, sent.replace(b"Host: h\r\n", b"Host: h\r\nConnection: close\r\n", 1)):
        reader, writer = await gateway.connect()
        writer.write(form)
        answers.append(comparable(await answer(reader)))
        writer.close()
    hot, general = answers
    assert hot == general
    seen = [(ref, payload, options.client_context) for ref, payload, options in gateway.calls.seen]
    assert len(seen) in (0, 2)
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]


async def test_one_connection_serves_many_requests_in_order(gateway: Gateway) -> None:
    """Requests that are sent ahead of their answers, in pieces of any size, are answered in their order."""
    reader, writer = await gateway.connect()
    stream = b"".join(request(body=b'{"n": %d}' % n) for n in range(30))
    for at in range(0, len(stream), 7):
        writer.write(stream[at : at + 7])
        await asyncio.sleep(0)
    bodies = [(await answer(reader))[2] for _ in range(30)]
    assert bodies == [b'{"n": %d}' % n for n in range(30)]
    writer.close()


async def test_a_connection_is_handed_over_with_what_it_brought(gateway: Gateway) -> None:
    """After hot requests anything else goes to aiohttp, whole, and the connection goes on there."""
    reader, writer = await gateway.connect()
    form = b"Action=GetCallerIdentity&Version=2011-06-15"
    other = (
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(form), form)
    )
    writer.write(request() + other + request(body=b"[2]"))
    assert (await answer(reader))[2] == b'{"n": 1}'
    assert b"GetCallerIdentityResult" in (await answer(reader))[2]
    assert (await answer(reader))[2] == b"[2]"
    writer.close()


@pytest.mark.parametrize("host", ["abc.execute-api.us-east-1.localhost:4566", "ABC.lambda-url.eu-west-1.example.com"])
async def test_a_site_is_its_own(host: str) -> None:
    """A request to a user's site is the site's, also where its path is that of a hot request."""

    async def site(request: web.Request) -> web.Response:
        return web.Response(status=299)

    async with AsyncExitStack() as stack:
        calls = Calls()
        invoke = InvokeOperation(calls)  # type: ignore[arg-type]
        app = make_app(Registry(), hosts=[Route(lambda request: True, site)])
        hot = [HotInvoke(invoke, ServiceCatalog()).route()]
        port = await stack.enter_async_context(listening(app, "127.0.0.1", 0, drain_s=0.1, hot=hot))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request().replace(b"Host: h", f"Host: {host}".encode()))
        assert (await answer(reader))[0] == 299
        writer.close()
    assert calls.seen == []


@pytest.mark.parametrize("path", ["/fn/f/x", "/_api/abc/x"])
async def test_a_site_below_a_path_is_its_own(path: str) -> None:
    """A request to a user's site by its path is the site's, also where its headers name a hot operation."""

    async def site(request: web.Request) -> web.Response:
        return web.Response(status=299)

    async with AsyncExitStack() as stack:
        app = make_app(Registry(), routes=[Route(lambda request: True, site)])
        hot = HotQueues(Registry(), ServiceCatalog()).routes()
        port = await stack.enter_async_context(listening(app, "127.0.0.1", 0, drain_s=0.1, hot=hot))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: h",
            "X-Amz-Target: AmazonSQS.SendMessage",
            "Content-Length: 2",
            "",
            "{}",
        ]
        writer.write("\r\n".join(lines).encode())
        assert (await answer(reader))[0] == 299
        writer.close()


@pytest.mark.parametrize("first", [b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", b"nonsense\r\n\r\n"])
async def test_what_cannot_be_hot_is_not_waited_for(gateway: Gateway, first: bytes) -> None:
    """A request that is no POST is answered by aiohttp at once."""
    reader, writer = await gateway.connect()
    writer.write(first)
    async with asyncio.timeout(5):
        assert re.match(rb"HTTP/1\.[01] (4\d\d|501)", await reader.readline())
    writer.close()


async def test_a_large_body_is_read_by_aiohttp(gateway: Gateway) -> None:
    """A payload over the front's own limit is taken, and one over Lambda's is refused as ever."""
    for size, status in ((300_000, 200), (6_300_000, 413)):
        reader, writer = await gateway.connect()
        writer.write(request(body=b'"' + b"x" * (size - 2) + b'"'))
        found = await answer(reader)
        assert found[0] == status
        writer.close()


async def test_a_client_that_hangs_up_disturbs_nobody(gateway: Gateway) -> None:
    """A call whose client went away runs on, and others are answered meanwhile and after."""
    _, gone = await gateway.connect()
    gone.write(request("slow"))
    await asyncio.sleep(0.05)
    gone.close()
    reader, writer = await gateway.connect()
    writer.write(request(body=b"[1]"))
    assert (await answer(reader))[2] == b"[1]"
    gateway.calls.release.set()
    writer.write(request(body=b"[2]"))
    assert (await answer(reader))[2] == b"[2]"
    writer.close()


async def test_a_client_that_only_sends_is_not_read_for_ever(gateway: Gateway) -> None:
    """Who sends request after request and reads no answer is soon not read either, and served again once it reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
    sent = request(body=b'"' + b"x" * 60_000 + b'"')
    requests = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            for _ in range(2_000):
                writer.write(sent)
                requests += 1
                await asyncio.wait_for(writer.drain(), 2)
    assert requests < 1_000
    for _ in range(requests):
        assert (await answer(reader))[0] == 200
    writer.close()


async def test_requests_that_come_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has a time to come in, however its bytes are spread over it."""
    monkeypatch.setattr(front, "SWEEP_S", 0.05)
    monkeypatch.setattr(front, "READ_S", 0.5)
    async with AsyncExitStack() as stack:
        quick = Gateway(Calls(), stack)
        await quick.start()
        for sent in (b"POST / HTTP", request(body=b"x" * 1000)[:-900]):
            reader, writer = await quick.connect()
            began = time.monotonic()
            writer.write(sent)
            while not reader.at_eof() and time.monotonic() - began < 5:
                with contextlib.suppress(TimeoutError, ConnectionError):
                    assert await asyncio.wait_for(reader.read(1), 0.1) == b""
                writer.write(b"1")
            assert 0.4 < time.monotonic() - began < 3
            writer.close()


@pytest.mark.parametrize("hot", [True, False])
@pytest.mark.parametrize("reads", [True, False])
async def test_an_answer_that_nobody_reads(hot: bool, reads: bool) -> None:
    """A connection whose client takes nothing of its answer ends, whoever answered; a slow client has time."""
    async with AsyncExitStack() as stack:
        gateway = Gateway(Calls(), stack)
        gateway.calls.large = b"x" * 8_000_000
        await gateway.start(stall_s=1.0)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.setblocking(False)
            loop, got, found = asyncio.get_running_loop(), 0, b"?"
            await loop.sock_connect(client, ("127.0.0.1", gateway.port))
            await loop.sock_sendall(client, request("large", b"{}", *([] if hot else ["Connection: close"])))
            if not reads:
                await asyncio.sleep(4)
            with contextlib.suppress(ConnectionError):
                while found and got < len(gateway.calls.large):
                    found = await asyncio.wait_for(loop.sock_recv(client, 1_000_000), 5)
                    got += len(found)
                    await asyncio.sleep(0.02)
            assert (got >= len(gateway.calls.large)) is reads


async def test_a_call_ends_before_the_gateway_does() -> None:
    """At a shutdown silent connections are closed, and a call that runs is answered, with word of the close."""
    calls = Calls()
    async with AsyncExitStack() as stack:
        gateway = Gateway(calls, stack)
        await gateway.start()
        idle, _ = await gateway.connect()
        reader, writer = await gateway.connect()
        writer.write(request("slow"))
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.2, calls.release.set)
    status, fields, body = await answer(reader)
    assert (status, fields["connection"], json.loads(body)) == (200, "close", {"n": 1})
    assert await reader.read() == b""
    assert await idle.read() == b""
