"""The gateway's application on a real port: boto3 for what clients send, raw sockets for what they should not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import boto3
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from lambent_platform.contracts.errors import InvalidParameterValue, ResourceNotFound, StoreUnavailable
from lambent_platform.contracts.limits import CREATE_REQUEST_BYTES
from lambent_platform.gateway.app import Route, below, exactly, listening, make_app
from lambent_platform.gateway.aws.api import MESSAGE_REQUEST_BYTES
from lambent_platform.gateway.aws.registry import Params, Registry, RequestContext, Result, operation, raw_operation
from lambent_platform.gateway.sts import TokenOperations

ROLE = "arn:aws:iam::000000000000:role/r"
INVOKE = "/2015-03-31/functions/f/invocations"


@dataclass
class Recorder:
    """A few of Lambda's operations that keep what they were called with."""

    calls: list[tuple[RequestContext, Params]] = field(default_factory=list)

    @operation("CreateFunction", unchecked=("Runtime",))
    async def create(self, context: RequestContext, params: Params) -> Result:
        """Accept anything that passed validation."""
        self.calls.append((context, params))
        if params.get("Runtime") == "cobol":
            raise InvalidParameterValue("Value cobol at 'runtime' failed to satisfy constraint")
        return {"FunctionName": params["FunctionName"], "CodeSize": len(params["Code"].get("ZipFile", b""))}

    @operation("ListFunctions")
    async def list(self, context: RequestContext, params: Params) -> Result:
        """Answer with nothing."""
        self.calls.append((context, params))
        return {"Functions": []}

    @operation("GetFunction")
    async def get(self, context: RequestContext, params: Params) -> Result:
        """Fail in the way that the name asks for."""
        failures: Mapping[str, Exception] = {
            "missing": ResourceNotFound("Function not found"),
            "away": StoreUnavailable("redis is away"),
            "reset": ConnectionResetError("of a peer that is not the client"),
        }
        raise failures.get(params["FunctionName"], RuntimeError("a secret"))

    @raw_operation("Invoke")
    async def invoke(
        self, context: RequestContext, request: web.Request, labels: Mapping[str, str]
    ) -> web.StreamResponse:
        """Echo."""
        self.calls.append((context, dict(labels)))
        return web.Response(body=await request.read(), headers={"x-amzn-RequestId": context.request_id})


@dataclass
class Gateway:
    """A running gateway."""

    port: int
    recorder: Recorder

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """A boto3 client that neither retries nor checks anything itself."""
        config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=20, parameter_validation=False)
        return boto3.client(
            service, endpoint_url=self.url, region_name=region, aws_access_key_id="AKIDTEST",
            aws_secret_access_key="s", config=config,
        )  # fmt: skip

    async def call(self, service: str, method: str, **params: Any) -> dict[str, Any]:
        """Call an operation with boto3, off the event loop."""

        def run() -> dict[str, Any]:
            result: dict[str, Any] = getattr(self.client(service), method)(**params)
            return result

        return await asyncio.to_thread(run)

    async def refused(self, service: str, method: str, **params: Any) -> tuple[int, str, str]:
        """Status, code and message of a call that must fail."""
        with pytest.raises(ClientError) as caught:
            await self.call(service, method, **params)
        response = caught.value.response
        return (
            response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"],
        )  # fmt: skip

    async def send(self, data: bytes, *, finish: bool = False) -> bytes:
        """Write bytes to a socket and read until the gateway closes it; `finish` closes our half first."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            if finish:
                writer.write_eof()
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()


def host_is(host: str) -> Callable[[web.Request], bool]:
    """Match a Host header."""

    def matches(request: web.Request) -> bool:
        return request.headers.get("Host", "").partition(":")[0] == host

    return matches


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that serves the recorder, STS, and a route of each kind."""

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"page {request.path}")

    async def failing(request: web.Request) -> web.StreamResponse:
        raise ResourceNotFound("no such page")

    async def hosted(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"hosted {request.method} {request.path}")

    recorder = Recorder()
    registry = Registry()
    registry.serve("lambda", recorder)
    registry.serve("sts", TokenOperations())
    app = make_app(
        registry,
        hosts=[Route(host_is("f.lambda-url.localhost"), hosted)],
        routes=[Route(below("/fn"), page), Route(exactly("/healthz"), page), Route(below("/_lambent"), failing)],
        body_timeout_s=0.5,
    )
    async with listening(app, "127.0.0.1", 0) as port:
        yield Gateway(port, recorder)


async def test_sts_answers_the_query_protocol(gateway: Gateway) -> None:
    """GetCallerIdentity names the account, by POST with boto3 and by GET without a signature."""
    found = await gateway.call("sts", "get_caller_identity")
    assert (found["Account"], found["Arn"]) == ("000000000000", "arn:aws:iam::000000000000:root")
    async with aiohttp.ClientSession() as session:
        url = f"{gateway.url}/?Action=GetCallerIdentity&Version=2011-06-15"
        async with session.get(url) as response:
            assert response.status == 200
            assert "<Account>000000000000</Account>" in await response.text()


async def test_an_operation_gets_its_context_and_parameters(gateway: Gateway) -> None:
    """Region and key come from the scope, the base URL from the Host header, the request id goes both ways."""
    reply = await asyncio.to_thread(lambda: gateway.client("lambda", "eu-west-1").list_functions(MaxItems=7))
    ((context, params),) = gateway.recorder.calls
    assert params == {"MaxItems": 7}
    assert (context.region, context.access_key, context.account) == ("eu-west-1", "AKIDTEST", "000000000000")
    assert context.base_url == gateway.url
    assert reply["ResponseMetadata"]["RequestId"] == context.request_id
    async with aiohttp.ClientSession() as session:
        url = f"{gateway.url}/2015-03-31/functions/"
        async with session.get(url, headers={"Host": "lambent.example:99"}) as response:
            assert await response.json() == {"Functions": []}
    context, _ = gateway.recorder.calls[1]
    assert (context.base_url, context.region) == ("http://lambent.example:99", "us-east-1")


async def test_a_package_arrives_whole(gateway: Gateway) -> None:
    """A few megabytes of base64 in JSON come out as the bytes that were sent, with the model's status."""
    code = bytes(range(256)) * 12_000
    reply = await gateway.call("lambda", "create_function", FunctionName="f", Role=ROLE, Code={"ZipFile": code})
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert gateway.recorder.calls[0][1]["Code"]["ZipFile"] == code


async def test_validation_speaks_before_the_operation(gateway: Gateway) -> None:
    """Broken constraints are one ValidationException, and the operation is not called; its own checks are its own."""
    status, code, message = await gateway.refused(
        "lambda", "create_function", FunctionName="a b", Role=ROLE, Code={}, MemorySize=1
    )
    assert (status, code) == (400, "ValidationException")
    assert message.startswith(
        "2 validation errors detected: Value 'a b' at 'functionName' failed to satisfy constraint: "
    )
    assert "Value '1' at 'memorySize' failed to satisfy constraint: Member must have value greater than" in message
    assert gateway.recorder.calls == []
    found = await gateway.refused("lambda", "create_function", FunctionName="f", Role=ROLE, Code={}, Runtime="cobol")
    assert found[:2] == (400, "InvalidParameterValueException")


@pytest.mark.parametrize(
    ("name", "status", "code", "said"),
    [
        ("missing", 404, "ResourceNotFoundException", "Function not found"),
        ("away", 503, "ServiceUnavailableException", "The platform's store is not available."),
        ("broken", 500, "ServiceException", "An error occurred and the request cannot be processed."),
        ("reset", 500, "ServiceException", "An error occurred and the request cannot be processed."),
    ],
)
async def test_errors_of_operations(gateway: Gateway, name: str, status: int, code: str, said: str) -> None:
    """Whatever an operation raises is an error of the API, without a word of what went wrong inside."""
    assert await gateway.refused("lambda", "get_function", FunctionName=name) == (status, code, said)


async def test_operations_that_are_not_served(gateway: Gateway) -> None:
    """An operation of a model that nobody serves is 501 by name."""
    status, code, message = await gateway.refused("lambda", "list_layers")
    assert (status, code) == (501, "NotImplementedException")
    assert "ListLayers" in message
    status, code, message = await gateway.refused("logs", "describe_log_groups")
    assert (status, code) == (501, "NotImplementedException")
    assert "DescribeLogGroups" in message
    status, code, message = await gateway.refused("sts", "get_session_token")
    assert (status, code) == (501, "NotImplementedException")
    assert "GetSessionToken" in message


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("GET", "/2015-03-31/nothing", {}, b"", 404, "UnknownOperationException"),
        ("PATCH", "/2015-03-31/functions", {}, b"", 404, "UnknownOperationException"),
        ("GET", "/", {}, b"", 404, "UnknownOperationException"),
        ("POST", "/", {"X-Amz-Target": "DynamoDB_20120810.PutItem"}, b"{}", 400, "UnknownOperationException"),
        ("POST", "/", {"X-Amz-Target": "Logs_20140328.Nonsense"}, b"{}", 400, "UnknownOperationException"),
        ("POST", "/?Action=Nonsense&Version=2011-06-15", {}, b"", 400, "InvalidAction"),
        ("POST", "/?Action=Publish&Version=2010-03-31", {}, b"", 400, "UnknownOperationException"),
        ("POST", "/2015-03-31/functions", {}, b"{", 400, "InvalidRequestContentException"),
        ("POST", "/2015-03-31/functions", {}, b"\xff\xfe", 400, "InvalidRequestContentException"),
        ("POST", "/2015-03-31/functions", {}, b"[" * 100_000, 400, "InvalidRequestContentException"),
        ("POST", "/2015-03-31/functions", {}, b"[]", 400, "SerializationException"),
        ("POST", "/2015-03-31/functions", {}, b'{"Timeout":"3"}', 400, "SerializationException"),
        ("POST", "/2015-03-31/functions", {}, b'{"FunctionName":7}', 400, "SerializationException"),
        ("POST", "/2015-03-31/functions", {}, b'{"Code":{"ZipFile":"*"}}', 400, "SerializationException"),
        ("POST", "/2015-03-31/functions", {}, b"", 400, "ValidationException"),
        ("GET", "/2015-03-31/functions?MaxItems=x", {}, b"", 400, "SerializationException"),
        ("GET", "/2015-03-31/functions?MaxItems=0", {}, b"", 400, "ValidationException"),
        ("GET", "/2015-03-31/functions?" + "a=1&" * 12_000, {}, b"", 400, None),
        ("GET", "/_lambent/x", {}, b"", 404, "ResourceNotFoundException"),
    ],
)
async def test_bad_requests(
    gateway: Gateway, method: str, path: str, headers: dict[str, str], body: bytes, status: int, code: str | None
) -> None:
    """Each mistake has its own error, and the gateway answers the next request."""
    async with aiohttp.ClientSession() as session:
        async with session.request(method, f"{gateway.url}{path}", headers=headers, data=body or None) as response:
            await response.read()
            assert (response.status, response.headers.get("x-amzn-ErrorType")) == (status, code)
            if code is not None:
                assert response.headers["x-amzn-RequestId"]
        async with session.get(f"{gateway.url}/healthz") as response:
            assert response.status == 200


async def test_bodies_over_the_limit(gateway: Gateway) -> None:
    """A declared length over the limit is refused before the body comes, an undeclared one as soon as it passes it."""
    head = b"POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head + f"Content-Length: {CREATE_REQUEST_BYTES + 1}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        reply = await reader.readuntil(b"}")
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"Request must be smaller than 70167211 bytes for the CreateFunction operation" in reply
    writer.close()

    sent = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /?Action=X HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n")
    writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
    answer = asyncio.create_task(reader.readuntil(b"}"))
    async with asyncio.timeout(10):
        while not answer.done():
            writer.write(b"10000\r\n" + b"a" * 65_536 + b"\r\n")
            sent += 65_536
            await writer.drain()
            await asyncio.sleep(0)
    assert (await answer).startswith(b"HTTP/1.1 413 ")
    assert sent < 4 * MESSAGE_REQUEST_BYTES
    writer.close()


async def test_bodies_that_stop_half_way(gateway: Gateway) -> None:
    """A client that goes away is no error; one that stays silent is told so after the time limit."""
    head = b"POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with capture_logs() as logged:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(head)
            await writer.drain()
            writer.transport.abort()
        assert b"200 OK" not in await gateway.send(head, finish=True)
    assert logged == []
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head)
    async with asyncio.timeout(5):
        reply = await reader.readuntil(b"}")
    writer.close()
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"RequestTimeoutException" in reply
    assert gateway.recorder.calls == []
    assert (await gateway.call("lambda", "list_functions"))["Functions"] == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_request(gateway: Gateway, data: bytes) -> None:
    """What is not HTTP is refused without a traceback, and the next client is served."""
    reply = await gateway.send(data, finish=True)
    assert reply.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")) or reply == b""
    assert b"Traceback" not in reply
    assert (await gateway.call("lambda", "list_functions"))["Functions"] == []


async def test_requests_in_other_forms(gateway: Gateway) -> None:
    """A proxy's absolute path, and HTTP/1.0 without a Host, are requests like any other."""
    absolute = f"GET {gateway.url}/2015-03-31/functions?MaxItems=3 HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n"
    assert b'{"Functions":[]}' in await gateway.send(absolute.encode())
    assert b'{"Functions":[]}' in await gateway.send(b"GET /2015-03-31/functions HTTP/1.0\r\n\r\n")
    assert gateway.recorder.calls[0][1] == {"MaxItems": 3}
    assert gateway.recorder.calls[1][0].base_url == gateway.url


async def test_invoke_goes_past_the_generic_layer(gateway: Gateway) -> None:
    """A plain name and an encoded ARN reach the same raw operation, with the label decoded."""
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    for name in ("f", arn):
        reply = await gateway.call("lambda", "invoke", FunctionName=name, Payload=b'{"a":1}')
        assert await asyncio.to_thread(reply["Payload"].read) == b'{"a":1}'
    async with aiohttp.ClientSession() as session:
        url = f"{gateway.url}/2015-03-31/functions/{arn}/invocations?Qualifier=1"
        async with session.post(url, data=b"1") as response:
            assert await response.read() == b"1"
    assert [labels["FunctionName"] for _, labels in gateway.recorder.calls] == ["f", arn, arn]


async def test_bodies_are_handed_on_as_they_were_sent(gateway: Gateway) -> None:
    """A compressed body is not unpacked on the way."""
    async with aiohttp.ClientSession() as session:
        url = f"{gateway.url}{INVOKE}"
        async with session.post(url, data=b"\x1f\x8b!", headers={"Content-Encoding": "gzip"}) as response:
            assert await response.read() == b"\x1f\x8b!"


@pytest.mark.parametrize(
    ("method", "host", "path", "expected"),
    [
        ("GET", "", "/healthz", "page /healthz"),
        ("GET", "", "/healthz?x=1", "page /healthz"),
        ("PUT", "", "/fn", "page /fn"),
        ("GET", "", "/fn/a/b%20c", "page /fn/a/b c"),
        ("GET", "f.lambda-url.localhost", "/healthz", "hosted GET /healthz"),
        ("POST", "f.lambda-url.localhost", INVOKE, f"hosted POST {INVOKE}"),
    ],
)
async def test_the_order_of_recognition(gateway: Gateway, method: str, host: str, path: str, expected: str) -> None:
    """Hosts come before everything, own pages before the APIs."""
    async with aiohttp.ClientSession() as session:
        headers = {"Host": host} if host else {}
        async with session.request(method, f"{gateway.url}{path}", headers=headers) as response:
            assert (response.status, await response.text()) == (200, expected)


async def test_a_prefix_is_a_whole_segment(gateway: Gateway) -> None:
    """`/fn` does not take `/fnord`."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/fnord") as response:
        assert response.status == 404
        assert json.loads(await response.text())["message"].endswith("/fnord")


async def test_running_calls_end_before_the_gateway_does() -> None:
    """At the end of serving, a call in flight is answered and the port is closed."""
    entered = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        entered.set()
        await asyncio.sleep(0.3)
        return web.Response(text="done")

    async def fetch(port: int) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/slow") as response:
            return await response.text()

    async with listening(make_app(Registry(), routes=[Route(exactly("/slow"), slow)]), "127.0.0.1", 0) as port:
        answer = asyncio.create_task(fetch(port))
        await entered.wait()
    assert await answer == "done"
    with pytest.raises(aiohttp.ClientConnectorError):
        await fetch(port)
