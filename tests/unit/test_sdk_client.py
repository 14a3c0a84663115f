"""The client against answers that a platform gives only when something is wrong, over real HTTP."""

import asyncio
import base64
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lambent import (
    ApiError,
    AsyncClient,
    Client,
    DeployFailed,
    EndpointUnreachable,
    FunctionError,
    ResourceNotFound,
    TooManyRequests,
)
from lambent.deployment import Progress

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[AsyncClient]:
    """Serve every request with one function and give a client of it."""
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with AsyncClient(f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("headers", "body", "kind", "code", "message"),
    [
        ({"x-amzn-ErrorType": "ResourceNotFoundException"}, {"Message": "gone"}, ResourceNotFound,
         "ResourceNotFoundException", "gone"),
        ({"x-amzn-ErrorType": "TooManyRequestsException:http://x/"}, {"message": "Rate"}, TooManyRequests,
         "TooManyRequestsException", "Rate"),
        ({}, {"__type": "com.amazonaws.logs#OddException", "message": "m"}, ApiError, "OddException", "m"),
        ({}, b"<html>proxy</html>", ApiError, "HTTP404", "<html>proxy</html>"),
    ],
)  # fmt: skip
async def test_errors_are_those_of_the_api(
    headers: dict[str, str], body: Any, kind: type[ApiError], code: str, message: str
) -> None:
    """Code and message are found in each shape that AWS's protocols give them, and in none."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=404, headers=headers, body=body if isinstance(body, bytes) else json.dumps(body))

    async with answering(answer) as client:
        with pytest.raises(kind) as caught:
            await client.function("f")
    assert (caught.value.code, caught.value.message, caught.value.status) == (code, message, 404)


async def test_a_function_error_carries_what_the_runtime_reported() -> None:
    """Type, message, trace, request id and log come out of headers and body; the path is escaped."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.json_response(
            {"errorType": "KeyError", "errorMessage": "'x'", "stackTrace": ["line 1"]},
            headers={
                "X-Amz-Function-Error": "Unhandled",
                "X-Amzn-RequestId": "r-1",
                "X-Amz-Log-Result": base64.b64encode(b"START\nEND\n").decode(),
            },
        )

    async with answering(answer) as client:
        result = await client.call("f", b"{}", qualifier="$LATEST", log_tail=True)
        with pytest.raises(FunctionError, match="KeyError: 'x'") as caught:
            result.value()
    assert (caught.value.trace, caught.value.request_id, caught.value.log) == (("line 1",), "r-1", "START\nEND\n")
    assert seen == ["/2015-03-31/functions/f/invocations?Qualifier=%24LATEST"]


async def test_nothing_listening_is_said_plainly() -> None:
    """One sentence, with the endpoint and what to do."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    async with AsyncClient(endpoint) as client:
        with pytest.raises(EndpointUnreachable, match=f"nothing listens at {endpoint}: .*lambent up"):
            await client.functions()


async def test_a_broken_connection_is_not_a_traceback_of_the_library() -> None:
    """An answer that stops half way, and one that is not JSON."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html></html>")

    async with answering(half) as client:
        with pytest.raises(EndpointUnreachable, match="broke"):
            await client.functions()
    async with answering(page) as client:
        with pytest.raises(EndpointUnreachable, match="not JSON"):
            await client.functions()


async def test_deploy_fails_with_the_reason_and_the_build_log(tmp_path: Path) -> None:
    """Pending, then Failed: the error has StateReason, its code and the log; progress was told on the way."""
    (tmp_path / "handler.py").write_text("")
    polls = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal polls
        if request.method == "POST":
            body = await request.json()
            assert body["FunctionName"] == "f"
            assert base64.b64decode(body["Code"]["ZipFile"]).startswith(b"PK")
            return web.json_response({"FunctionName": "f", "State": "Pending"}, status=201)
        if request.path.endswith("/build-log"):
            return web.Response(text="collecting nope\nERROR: No matching distribution found for nope\n")
        polls += 1
        if polls == 1:
            headers = {"x-amzn-ErrorType": "ResourceNotFoundException"}
            return web.json_response({"Message": "no"}, status=404, headers=headers)
        if polls == 2:
            return web.json_response({"FunctionName": "f", "State": "Pending", "StateReason": "Installing."})
        failure = {"State": "Failed", "StateReason": "No matching distribution", "StateReasonCode": "InvalidRuntime"}
        return web.json_response({"FunctionName": "f", **failure})

    steps: list[Progress] = []
    async with answering(answer) as client:
        with pytest.raises(DeployFailed, match="No matching distribution") as caught:
            await client.deploy(tmp_path, name="f", runtime="python3.13", handler="handler.h", on_progress=steps.append)
    assert caught.value.code == "InvalidRuntime"
    assert "found for nope" in caught.value.build_log
    phases = [step.phase for step in steps]
    assert phases[0] == "packed"
    assert {"uploading", "preparing"} <= set(phases)
    assert [(step.done, step.total) for step in steps if step.phase == "uploading"][-1][0] > 0


async def test_deploy_gives_up_at_its_deadline(tmp_path: Path) -> None:
    """A function that stays Pending does not hold the caller for ever."""
    (tmp_path / "handler.py").write_text("")

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"FunctionName": "f", "State": "Pending", "StateReason": "Building."})

    async with answering(answer) as client:
        with pytest.raises(DeployFailed, match=r"not ready within 0\.2 s: Building"):
            await client.deploy(tmp_path, name="f", runtime="python3.13", handler="h.h", timeout_s=0.2)


async def test_following_a_log_gives_each_line_once() -> None:
    """Pages are read to their end, late lines of another environment still come, and none comes twice."""
    events = [
        {"eventId": "1", "timestamp": 1000, "message": "a"},
        {"eventId": "2", "timestamp": 2000, "message": "b"},
    ]
    looks = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal looks
        query = await request.json()
        assert query["logGroupName"] == "/aws/lambda/f"
        if query.get("nextToken") == "more":
            return web.json_response({"events": events[1:]})
        looks += 1
        if looks == 1:
            return web.json_response({"events": events[:1], "nextToken": "more"})
        return web.json_response({"events": [*events, {"eventId": "0", "timestamp": 1500, "message": "late"}]})

    got: list[str] = []
    async with answering(answer) as client, asyncio.timeout(10):
        async for event in client.logs("f", start_ms=0, follow=True):
            got.append(event.message)
            if len(got) == 3:
                break
    assert got == ["a", "b", "late"]


def test_the_sync_client_ends_its_thread_and_can_be_closed_twice() -> None:
    """It leaves nothing running, and a failed call does not keep it from closing."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(EndpointUnreachable):
            client.functions()
    assert "lambent-client" in [thread.name for thread in threading.enumerate()]
    client.close()
    client.close()
    assert "lambent-client" not in [thread.name for thread in threading.enumerate()]


async def test_the_sync_client_works_beside_a_running_loop() -> None:
    """As in a notebook: its own loop is on its own thread."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response([{"function": None, "version": None, "state": "ready", "worker": "w", "age_s": 1.5,
                                   "memory_mb": 128, "container": "c"}])  # fmt: skip

    async with answering(answer) as reference:
        endpoint = reference.connection.endpoint

        def use() -> Any:
            with Client(endpoint) as client:
                return client.environments()

        (stem,) = await asyncio.to_thread(use)
    assert (stem.function, stem.age_s) == (None, 1.5)


def test_an_interrupt_ends_what_it_interrupts_first() -> None:
    """After Ctrl-C in a generator that waits, the generator can be closed: nothing in it runs any more."""

    async def lines() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)  # as a connection that is given back

    client = Client("http://127.0.0.1:9")
    items = lines()
    try:
        assert client._run(anext_of(items)) == 1
        here = threading.get_ident()
        threading.Timer(0.2, signal.pthread_kill, (here, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            client._run(anext_of(items))
        client._run(closed(items))
    finally:
        client.close()


async def anext_of(items: AsyncIterator[int]) -> int | None:
    """The next item."""
    return await anext(items, None)


async def closed(items: AsyncIterator[int]) -> None:
    """Close a generator."""
    await items.aclose()  # type: ignore[attr-defined]
