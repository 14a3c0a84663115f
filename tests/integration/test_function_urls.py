"""Function URLs over real HTTP, with the store that finds them; the function is the test's own."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio

from lambent_platform.contracts.clock import SystemClock
from lambent_platform.contracts.errors import ApiError, ResourceConflict, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.function import Alias, CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.dispatch.dispatcher import CallOptions
from lambent_platform.gateway.app import listening, make_app
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.build_log import BuildLogs
from lambent_platform.gateway.function_urls import CACHED_S, FunctionUrls
from lambent_platform.store.functions import URL_ID, FunctionStore
from lambent_platform.store.objects import ObjectStore
from lambent_platform.store.redis import open_redis


@dataclass
class Answer:
    """What a client saw."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Site:
    """A gateway with one function, whose behaviour a test sets."""

    functions: FunctionStore
    objects: ObjectStore
    port: int = 0
    url_id: str = ""
    called: list[FunctionRef] = field(default_factory=list)
    handler: Callable[[dict[str, Any]], object] = field(default=lambda event: event)

    async def invoke(self, ref: FunctionRef, payload: bytes, options: CallOptions | None = None) -> Reply:
        """Run the function."""
        self.called.append(ref)
        result = self.handler(json.loads(payload))
        if isinstance(result, Exception):
            raise result
        if isinstance(result, Reply):
            return result
        return Reply(id="", payload=json.dumps(result).encode(), executed_version=LATEST)

    async def get(
        self, path: str, *, method: str = "GET", host: str = "", body: bytes | None = None, **headers: str
    ) -> Answer:
        """Make one request, as any client would; underscores in header names are dashes."""

        def work() -> Answer:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request(
                    method,
                    path,
                    body,
                    {"Host": host or f"{self.url_id}.lambda-url.us-east-1.localhost:{self.port}"}
                    | {name.replace("_", "-"): value for name, value in headers.items()},
                )
                response = connection.getresponse()
                return Answer(response.status, response.headers, response.read())
            finally:
                connection.close()

        return await asyncio.to_thread(work)

    async def configure(self, qualifier: str = LATEST, **config: Any) -> None:
        """Change the URL's configuration, or take it away with nothing."""
        ident = FunctionRef("f").ident
        before = await self.functions.load(ident)
        assert before is not None
        configs = dict(before.url_configs)
        configs[qualifier] = {URL_ID: self.functions.new_url_id(ident), **configs.get(qualifier, {}), **config}
        assert await self.functions.write(ident, before, replace(before, url_configs=configs))


@pytest_asyncio.fixture
async def site(redis_url: str, tmp_path: Any) -> AsyncIterator[Site]:
    """A gateway on a free port; function `f` has a URL, function `plain` has none."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(redis_url))
        await redis.client.flushall()
        functions = FunctionStore(redis)
        found = Site(functions, ObjectStore.local(tmp_path))
        for name in ("f", "plain"):
            version = FunctionVersion(
                account="000000000000",
                region="us-east-1",
                name=name,
                revision="r1",
                runtime="python3.13",
                state="Active",
                code=CodePackage(source_key=f"code/{'a' * 64}.zip", runnable_key="code/a.zip"),
            )
            record = FunctionRecord(versions={LATEST: version}, aliases={"live": Alias(name="live", version=LATEST)})
            assert await functions.create(version.ref.ident, record)
        await found.configure(AuthType="NONE")
        stored = await functions.load(FunctionRef("f").ident)
        assert stored is not None
        found.url_id = str(stored.url_configs[LATEST][URL_ID])
        urls = FunctionUrls(functions, found, SystemClock())
        logs = BuildLogs(functions, found.objects, image_tag=lambda runtime: "lambent/python:3.13-abc")
        app = make_app(Registry(), hosts=[urls.host_route()], routes=[urls.path_route(), logs.route()])
        found.port = await stack.enter_async_context(listening(app, "127.0.0.1", 0))
        yield found


async def test_by_host(site: Site) -> None:
    """The URL's own host: the whole path is the function's, whatever it looks like."""
    event = (await site.get("/fn/x/2015-03-31/functions/y?a=1&a=2", X_One="1")).json()
    assert event["rawPath"] == "/fn/x/2015-03-31/functions/y"
    assert event["rawQueryString"] == "a=1&a=2"
    assert event["queryStringParameters"] == {"a": "1,2"}
    assert event["headers"]["x-one"] == "1"
    context = event["requestContext"]
    assert context["domainName"] == f"{site.url_id}.lambda-url.us-east-1.localhost"
    assert context["apiId"] == context["domainPrefix"] == site.url_id
    assert context["http"]["sourceIp"] == "127.0.0.1"
    assert event["headers"]["x-forwarded-port"] == str(site.port)
    assert site.called == [FunctionRef("f")]


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [("/fn/f", "/"), ("/fn/f/", "/"), ("/fn/f/a%2Fb/c", "/a%2Fb/c"), ("/fn/f?x=1", "/"), ("/fn/f:%24LATEST/x", "/x")],
)
async def test_by_path(site: Site, path: str, raw_path: str) -> None:
    """For clients without wildcard names: the prefix is the platform's, the rest the function's."""
    event = (await site.get(path, host="127.0.0.1")).json()
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == raw_path
    assert event["requestContext"]["domainName"] == "127.0.0.1"


async def test_an_alias_has_a_url_of_its_own(site: Site) -> None:
    """`/fn/name:alias` exists where the alias was given one, and calls the alias."""
    assert (await site.get("/fn/f:live", host="localhost")).status == 404
    await site.configure("live", AuthType="NONE")
    assert (await site.get("/fn/f:live/x", host="localhost")).json()["rawPath"] == "/x"
    assert (await site.get("/fn/f%3Alive/x", host="localhost")).status == 200
    assert site.called == [FunctionRef("f", "live")] * 2


@pytest.mark.parametrize("path", ["/fn/plain", "/fn/plain/x", "/fn/missing", "/fn/", "/fn", "/fn/a b", "/fn/f:x:y"])
async def test_without_a_url_configuration_there_is_nothing(site: Site, path: str) -> None:
    """A function is on the web only where its owner put it there."""
    answer = await site.get(path.replace(" ", "%20"), host="localhost")
    assert (answer.status, answer.json()) == (404, {"Message": "Not Found"})
    assert site.called == []


async def test_an_unknown_url_id_is_not_found(site: Site) -> None:
    """Also one that could be an id."""
    assert (await site.get("/", host=f"{'x' * 32}.lambda-url.us-east-1.localhost:{site.port}")).status == 404


async def test_a_deleted_url_stops(site: Site) -> None:
    """What was found is not used for longer than said."""
    assert (await site.get("/")).status == 200
    ident = FunctionRef("f").ident
    before = await site.functions.load(ident)
    assert before is not None
    assert await site.functions.write(ident, before, replace(before, url_configs={}))
    await asyncio.sleep(CACHED_S)
    assert (await site.get("/")).status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
async def test_any_method(site: Site, method: str) -> None:
    """Methods are the function's business, POST to a path of the Lambda API too."""
    event = (await site.get("/2015-03-31/functions/f/invocations", method=method, body=b"{}")).json()
    assert event["requestContext"]["http"]["method"] == method


async def test_a_binary_body_goes_in_and_comes_out(site: Site) -> None:
    """In base64 within the event, as bytes on the wire."""
    data = bytes(range(256)) * 10
    site.handler = lambda event: {
        "statusCode": 200,
        "headers": {"Content-Type": "image/png"},
        "isBase64Encoded": event["isBase64Encoded"],
        "body": event["body"],
    }
    answer = await site.get("/", method="POST", body=data, Content_Type="application/octet-stream")
    assert (answer.body, answer.headers["Content-Type"]) == (data, "image/png")


async def test_status_headers_and_cookies(site: Site) -> None:
    """What the function says of its reply is what the client gets."""
    site.handler = lambda event: {
        "statusCode": 302,
        "headers": {"Location": "https://example.com/", "X-Number": 1},
        "cookies": ["a=1; HttpOnly", "b=2"],
    }
    answer = await site.get("/", Cookie="seen=1")
    assert (answer.status, answer.headers["Location"], answer.headers["X-Number"]) == (302, "https://example.com/", "1")
    assert answer.headers.get_all("Set-Cookie") == ["a=1; HttpOnly", "b=2"]
    assert answer.headers["x-amzn-RequestId"]


async def test_head_and_empty_replies_are_well_formed(site: Site) -> None:
    """No body where HTTP has none: the connection stays in step."""
    site.handler = lambda event: {"statusCode": 200, "body": "long"}
    assert (await site.get("/", method="HEAD")).body == b""
    site.handler = lambda event: {"statusCode": 204}
    assert (await site.get("/")).status == 204


async def test_a_result_without_a_status_is_json(site: Site) -> None:
    """The reply is inferred."""
    site.handler = lambda event: {"hello": "world"}
    answer = await site.get("/")
    assert (answer.status, answer.headers["Content-Type"], answer.json()) == (
        200,
        "application/json",
        {"hello": "world"},
    )


@pytest.mark.parametrize(
    ("result", "status", "retry"),
    [
        (Reply(id="", payload=b'{"errorMessage": "secret"}', function_error="Unhandled"), 502, False),
        (Reply(id="", payload=b'{"statusCode": "x"}'), 502, False),
        (TooManyRequests("Rate Exceeded.", Reason="ReservedFunctionConcurrentInvocationLimitExceeded"), 429, False),
        (ResourceConflict("Pending"), 503, True),
        (StoreUnavailable("Redis: away"), 503, True),
        (ApiError("lost"), 502, False),
    ],
)
async def test_failures(site: Site, result: object, status: int, retry: bool) -> None:
    """Errors are a web server's, and tell nothing of the function's inside."""
    site.handler = lambda event: result
    answer = await site.get("/")
    assert answer.status == status
    assert b"secret" not in answer.body
    assert ("Retry-After" in answer.headers) is retry
    assert isinstance(answer.json()["Message"], str)


async def test_what_is_too_large_is_refused(site: Site) -> None:
    """Before it is read where its length is said; and where base64 makes it so."""
    assert (await site.get("/", method="POST", body=b"x" * (SYNC_PAYLOAD_BYTES + 1))).status == 413
    assert (await site.get("/", method="POST", body=b"x" * (SYNC_PAYLOAD_BYTES * 4 // 5))).status == 413
    assert site.called == []
    assert (await site.get("/")).status == 200


async def test_bytes_that_are_not_text_do_no_harm(site: Site) -> None:
    """A path or header may have any byte."""
    raw = (
        f"GET /%ff?a=%ff HTTP/1.1\r\nHost: {site.url_id}.lambda-url.us-east-1.localhost\r\n".encode()
        + b"X-Odd: \xff\xfe\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(raw)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["rawPath"] == "/%ff"


async def test_cross_origin_requests(site: Site) -> None:
    """The platform answers a browser's question by the configuration, and marks replies; the function is not asked."""
    await site.configure(Cors={"AllowOrigins": ["https://a.example"], "AllowMethods": ["POST"], "MaxAge": 5})
    ask = {"Origin": "https://a.example", "Access_Control_Request_Method": "POST"}
    answer = await site.get("/", method="OPTIONS", **ask)
    assert (answer.status, answer.headers["Access-Control-Allow-Methods"]) == (200, "POST")
    assert site.called == []
    answer = await site.get("/", Origin="https://a.example")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert "Access-Control-Allow-Origin" not in (await site.get("/", Origin="https://b.example")).headers
    assert "Access-Control-Allow-Origin" not in (await site.get("/")).headers


async def test_without_cors_options_is_the_functions(site: Site) -> None:
    """A function may answer browsers itself."""
    ask = {"Origin": "https://a.example", "Access_Control_Request_Method": "POST"}
    assert (await site.get("/", method="OPTIONS", **ask)).status == 200
    assert len(site.called) == 1


async def test_a_build_log_can_be_read(site: Site) -> None:
    """By the function's name, as text; 404 where nothing was built."""
    path = "/_lambent/functions/f/build-log"
    assert (await site.get(path, host="localhost")).status == 404
    await site.objects.put(f"builds/dependencies-{'a' * 64}-python3-13.log", b"Collecting idna\n")
    answer = await site.get(path, host="localhost")
    assert (answer.status, answer.body) == (200, b"Collecting idna\n")
    assert (await site.get("/_lambent/functions/missing/build-log", host="localhost")).status == 404
    await site.objects.put("builds/image-lambent-python-3-13-abc.log", b"Step 1\n")
    assert (await site.get(f"{path}?kind=image&Qualifier=live", host="localhost")).body == b"Step 1\n"
