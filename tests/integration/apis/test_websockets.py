"""WebSocket APIs with a real client (aiohttp's), and boto3 for the management API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import ClientError

from api_gateway import Gateway
from lambent_platform.contracts.connections import FRAME_BYTES_MAX, MESSAGE_BYTES_MAX
from lambent_platform.contracts.errors import ApiError, TooManyRequests
from lambent_platform.contracts.invocation import Reply

OK = {"statusCode": 200}
ROUTES = {"$connect": "connect", "$disconnect": "disconnect", "$default": "default", "join": "join"}


@asynccontextmanager
async def connected(
    gateway: Any, api: str, *, stage: str = "dev", query: str = "", by_host: bool = False, **options: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Connect a client, by the path form or by the API's host."""
    url = f"http://127.0.0.1:{gateway.port}" + (f"/{stage}" if by_host else f"/_api/{api}/{stage}") + query
    headers = dict(options.pop("headers", {}))
    if by_host:
        headers["Host"] = f"{api}.execute-api.us-east-1.localhost:{gateway.port}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=headers, autoclose=False, **options) as client,
    ):
        yield client


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
    return found


class Room:
    """The functions of a chat; it keeps every event by its kind."""

    def __init__(self, gateway: Any) -> None:
        self.events: dict[str, list[dict[str, Any]]] = {"CONNECT": [], "MESSAGE": [], "DISCONNECT": []}
        self.says: dict[str, object] = {}
        for name in ("connect", "disconnect", "default", "join"):
            gateway.handlers[name] = self._handler(name)

    def _handler(self, name: str) -> Callable[[dict[str, Any]], object]:
        def handle(event: dict[str, Any]) -> object:
            self.events[event["requestContext"]["eventType"]].append(event)
            said = self.says.get(name, OK)
            return said(event) if callable(said) else said

        return handle

    @property
    def connection(self) -> str:
        """The id of the newest connection."""
        return str(self.events["CONNECT"][-1]["requestContext"]["connectionId"])


@pytest.fixture
def room(gateway: Any) -> Room:
    """A chat's functions on the first gateway (and so on the second)."""
    return Room(gateway)


async def socket_api(gateway: Any, **more: Any) -> str:
    """Make the chat's API."""
    return str(await asyncio.to_thread(lambda: gateway.socket_api(ROUTES, **more)))


def code(call: Callable[[], Any]) -> tuple[str, int]:
    """Call what must be refused; returns the error's code and status."""
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


async def test_the_life_of_a_connection(gateway: Any, room: Room) -> None:
    """Connected, a message by its action and one without, closed: each event in its shape."""
    api = await socket_api(gateway)
    async with connected(gateway, api, query="?room=1&room=2", by_host=True, headers={"X-One": "1"}) as client:
        await client.send_str('{"action": "join", "n": 1}')
        await client.send_str("hello")
        await until(lambda: len(room.events["MESSAGE"]) == 2)
        await client.close(code=4001, message=b"bye")
    await until(lambda: room.events["DISCONNECT"])
    connect, ended = room.events["CONNECT"][0], room.events["DISCONNECT"][0]
    assert [event["requestContext"]["routeKey"] for event in room.events["MESSAGE"]] == ["join", "$default"]
    assert [ref.name for ref in gateway.called] == ["connect", "join", "default", "disconnect"]
    context = connect["requestContext"]
    assert connect["headers"]["X-One"] == "1"
    assert connect["multiValueQueryStringParameters"] == {"room": ["1", "2"]}
    assert connect["queryStringParameters"] == {"room": "2"}
    assert "body" not in connect
    assert set(context) == {
        "routeKey", "eventType", "extendedRequestId", "requestTime", "messageDirection", "stage", "connectedAt",
        "requestTimeEpoch", "identity", "requestId", "domainName", "connectionId", "apiId",
    }  # fmt: skip
    assert (context["routeKey"], context["stage"], context["apiId"]) == ("$connect", "dev", api)
    assert context["domainName"] == f"{api}.execute-api.us-east-1.localhost"
    assert context["identity"]["sourceIp"] == "127.0.0.1"
    assert abs(context["connectedAt"] / 1000 - time.time()) < 60
    message = room.events["MESSAGE"][0]
    assert (message["body"], message["isBase64Encoded"]) == ('{"action": "join", "n": 1}', False)
    assert message["requestContext"]["messageId"]
    ids = {event["requestContext"]["connectionId"] for kind in room.events.values() for event in kind}
    assert ids == {room.connection}
    assert ended["requestContext"]["disconnectStatusCode"] == 4001
    assert ended["requestContext"]["disconnectReason"] == "bye"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"statusCode": 401, "body": "no"}, 401),
        ({"statusCode": 500}, 500),
        (Reply(id="", payload=b"{}", function_error="Unhandled"), 502),
        ({"no": "status"}, 502),
        (ApiError("lost"), 502),
        (TooManyRequests("Rate Exceeded."), 429),
    ],
)
async def test_refused_connections(gateway: Any, room: Room, said: object, status: int) -> None:
    """The upgrade is answered with the status of `$connect`, or that of its failure; nothing else is called."""
    api = await socket_api(gateway)
    room.says["connect"] = said
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with connected(gateway, api):
            pass
    assert caught.value.status == status
    management = gateway.management(api, by_path=True)
    connection = room.connection
    gone = await asyncio.to_thread(lambda: code(lambda: management.get_connection(ConnectionId=connection)))
    assert gone == ("GoneException", 410)
    await asyncio.sleep(0.1)
    assert room.events["DISCONNECT"] == []


async def test_what_is_no_connection(gateway: Any, room: Room) -> None:
    """Without an upgrade 426; on a stage that is none 403; and no function is called."""
    api = await socket_api(gateway)
    assert (await asyncio.to_thread(gateway.get, api, "/dev")).status == 426
    odd = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "short"}
    assert (await asyncio.to_thread(lambda: gateway.get(api, "/dev", **odd))).status == 400
    for stage in ("other", "dev/more", ""):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connected(gateway, api, stage=stage):
                pass
        assert caught.value.status == 403
    assert gateway.called == []


async def test_the_upgrade_waits_for_connect(gateway: Any, room: Room) -> None:
    """A client is connected after `$connect` answered, and not before."""
    api = await socket_api(gateway)
    gateway.delay_s = 0.3
    began = time.monotonic()
    async with connected(gateway, api):
        assert time.monotonic() - began >= 0.3


async def test_subprotocols(gateway: Any, room: Room) -> None:
    """`$connect` chooses the subprotocol, by the header that it returns."""
    api = await socket_api(gateway)
    room.says["connect"] = {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "v2"}}
    async with connected(gateway, api, protocols=("v1", "v2")) as client:
        assert client.protocol == "v2"


async def test_two_way_routes(gateway: Any, room: Room) -> None:
    """A route with a response sends what its function returns; one without sends nothing."""
    api = await socket_api(gateway, two_way=("join",))
    room.says["join"] = lambda event: {"statusCode": 200, "body": f"you said {event['body']}"}
    room.says["default"] = {"statusCode": 200, "body": "nobody hears this"}
    async with connected(gateway, api) as client:
        await client.send_str("silence")
        await until(lambda: room.events["MESSAGE"])
        await client.send_str('{"action":"join"}')
        assert (await client.receive(timeout=5)).data == 'you said {"action":"join"}'


async def test_messages_that_fail(gateway: Any, room: Room) -> None:
    """A client is told what became of its message, with its connection and the request."""
    api = await asyncio.to_thread(lambda: gateway.socket_api({"$connect": "connect", "join": "join"}))
    room.says["join"] = Reply(id="", payload=b"{}", function_error="Unhandled")
    async with connected(gateway, api) as client:
        await client.send_str('{"action":"nothing"}')
        told = json.loads((await client.receive(timeout=5)).data)
        assert (told["message"], told["connectionId"]) == ("Forbidden", room.connection)
        assert told["requestId"]
        await client.send_str('{"action":"join"}')
        assert json.loads((await client.receive(timeout=5)).data)["message"] == "Internal server error"
        await client.send_str('{"action":"$connect"}')
        assert json.loads((await client.receive(timeout=5)).data)["message"] == "Forbidden"


async def test_post_get_and_delete(gateway: Any, room: Room) -> None:
    """A function reaches a client, learns about it, and ends it."""
    api = await socket_api(gateway)
    management = gateway.management(api, by_path=True)
    async with connected(gateway, api, headers={"User-Agent": "me"}) as client:
        connection = room.connection
        await asyncio.to_thread(lambda: management.post_to_connection(ConnectionId=connection, Data="grüße".encode()))
        message = await client.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.TEXT, "grüße")
        await asyncio.to_thread(lambda: management.post_to_connection(ConnectionId=connection, Data=b"\xff\x00"))
        message = await client.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.BINARY, b"\xff\x00")
        found = await asyncio.to_thread(lambda: management.get_connection(ConnectionId=connection))
        assert found["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "me"}
        assert found["ConnectedAt"].timestamp() <= found["LastActiveAt"].timestamp() <= time.time() + 1
        await asyncio.to_thread(lambda: management.delete_connection(ConnectionId=connection))
        assert (await client.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
        await client.close()
    await until(lambda: room.events["DISCONNECT"])
    for call in (management.get_connection, management.delete_connection):
        gone = await asyncio.to_thread(lambda call=call: code(lambda: call(ConnectionId=connection)))
        assert gone == ("GoneException", 410)
    gone = await asyncio.to_thread(
        lambda: code(lambda: management.post_to_connection(ConnectionId=connection, Data=b"x"))
    )
    assert gone == ("GoneException", 410)


async def test_the_forms_of_the_management_api(gateway: Any, room: Room) -> None:
    """By the API's host below its stage, by the path form, and by the connection's id alone."""
    api = await socket_api(gateway)
    async with connected(gateway, api) as client:
        key = room.connection.replace("=", "%3D")
        for host, path in ((api, "/dev/@connections/"), ("", f"/_api/{api}/dev/@connections/"), ("", "/@connections/")):
            answer = await asyncio.to_thread(gateway.get, host, path + key, method="POST", body=path.encode())
            assert (answer.status, answer.body) == (200, b"")
            assert (await client.receive(timeout=5)).data == path
        answer = await asyncio.to_thread(gateway.get, api, "/dev/@connections/none", method="POST", body=b"x")
        assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (410, "GoneException")


@pytest.mark.parametrize("by_host", [True, False])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": "application/x-amz-json-1.0"}, "{}"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Action=ListQueues&Version=2012-11-05"),
    ],
)
async def test_no_other_operation_is_below_a_stage(
    gateway: Any, room: Room, by_host: bool, headers: dict[str, str], body: str
) -> None:
    """Whatever a request below a stage's `@connections` names, it is for connections or for nothing."""
    api = await socket_api(gateway)
    url = f"http://127.0.0.1:{gateway.port}" + ("" if by_host else f"/_api/{api}") + "/dev/@connections/none"
    host = {"Host": f"{api}.execute-api.us-east-1.localhost:{gateway.port}"} if by_host else {}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers | host) as response:
        assert response.status in (404, 410, 501)
        assert "reached" not in await response.text()


async def test_over_any_gateway(gateway: Any, other_gateway: Any, room: Room) -> None:
    """A post, a look and an end reach a connection that another gateway holds, in the order in which they came."""
    api = await socket_api(gateway)
    other = other_gateway.management(api, by_path=True)
    async with connected(gateway, api) as client:
        connection = room.connection

        def post_all() -> None:
            for number in range(50):
                other.post_to_connection(ConnectionId=connection, Data=str(number).encode())

        await asyncio.to_thread(post_all)
        assert [(await client.receive(timeout=5)).data for _ in range(50)] == [str(number) for number in range(50)]
        found = await asyncio.to_thread(lambda: other.get_connection(ConnectionId=connection))
        assert found["Identity"]["SourceIp"] == "127.0.0.1"
        await asyncio.to_thread(lambda: other.delete_connection(ConnectionId=connection))
        assert (await client.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
        await client.close()
    await until(lambda: room.events["DISCONNECT"])
    await asyncio.sleep(0.1)
    gone = await asyncio.to_thread(lambda: code(lambda: other.get_connection(ConnectionId=connection)))
    assert gone == ("GoneException", 410)


async def test_the_size_of_posts(gateway: Any, room: Room) -> None:
    """A message of 128 KB arrives, a larger one is refused."""
    api = await socket_api(gateway)
    management = gateway.management(api, by_path=True)
    async with connected(gateway, api, max_msg_size=0) as client:
        connection = room.connection
        data = b"x" * MESSAGE_BYTES_MAX
        await asyncio.to_thread(lambda: management.post_to_connection(ConnectionId=connection, Data=data))
        assert len((await client.receive(timeout=5)).data) == MESSAGE_BYTES_MAX
        refused = await asyncio.to_thread(
            lambda: code(lambda: management.post_to_connection(ConnectionId=connection, Data=data + b"x"))
        )
        assert refused == ("PayloadTooLargeException", 413)


async def test_a_client_that_does_not_read(gateway: Any, room: Room) -> None:
    """What waits for a slow reader is bounded; then posts are refused, and go on once it reads."""
    api = await socket_api(gateway)
    management = gateway.management(api, by_path=True)
    async with connected(gateway, api, max_msg_size=0) as client:
        connection, data = room.connection, b"x" * 100_000
        client._response.connection.transport.pause_reading()  # type: ignore[union-attr]

        def post_until_refused() -> int:
            for number in range(500):
                try:
                    management.post_to_connection(ConnectionId=connection, Data=data)
                except ClientError as error:
                    if error.response["Error"]["Code"] != "LimitExceededException":
                        raise
                    return number
            raise AssertionError("everything was accepted")

        accepted = await asyncio.to_thread(post_until_refused)
        client._response.connection.transport.resume_reading()  # type: ignore[union-attr]
        for _ in range(accepted):
            assert len((await client.receive(timeout=5)).data) == len(data)
        await asyncio.to_thread(lambda: management.post_to_connection(ConnectionId=connection, Data=b"again"))
        assert (await client.receive(timeout=5)).data == "again"


async def test_a_client_that_does_not_read_is_let_go(gateway: Any, room: Room) -> None:
    """A connection that is deleted ends soon, also while its client takes nothing: it is told, and known no more."""
    api = await socket_api(gateway)
    management = gateway.management(api, by_path=True)
    async with connected(gateway, api, max_msg_size=0) as client:
        connection = room.connection
        client._response.connection.transport.pause_reading()  # type: ignore[union-attr]

        def fill() -> None:
            for _ in range(500):
                management.post_to_connection(ConnectionId=connection, Data=b"x" * 100_000)

        def fill_and_delete() -> None:
            assert code(fill) == ("LimitExceededException", 429)
            management.delete_connection(ConnectionId=connection)

        await asyncio.to_thread(fill_and_delete)
        await until(lambda: room.events["DISCONNECT"], 8.0)
        assert await asyncio.to_thread(lambda: code(lambda: management.get_connection(ConnectionId=connection))) == (
            "GoneException",
            410,
        )


async def test_a_user_agent_that_is_not_text(gateway: Any, room: Room) -> None:
    """Bytes in a header that are no UTF-8 refuse nobody."""
    api = await socket_api(gateway)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        f"GET /_api/{api}/dev HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n".encode()
        + b"User-Agent: \xff\r\n\r\n"
    )
    assert b" 101 " in await asyncio.wait_for(reader.readline(), 5)
    assert room.events["CONNECT"][0]["requestContext"]["identity"]["userAgent"] == "\ufffd"
    writer.close()


@pytest.mark.parametrize("step", ["open", "close"])
async def test_a_redis_that_goes_away(
    gateway: Any, room: Room, redis_url: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A connection whose beginning or end Redis did not confirm is forgotten once Redis is there again."""
    from lambent_platform.contracts.errors import StoreUnavailable
    from lambent_platform.store.connections import ConnectionStore
    from lambent_platform.store.redis import open_redis

    real, asked = getattr(ConnectionStore, step), 0

    async def unconfirmed(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        if step == "open":
            await real(*args)
        elif asked > 2:
            return await real(*args)
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(ConnectionStore, step, unconfirmed)
    api = await socket_api(gateway)
    refused = pytest.raises(aiohttp.WSServerHandshakeError) if step == "open" else contextlib.nullcontext()
    with refused:
        async with connected(gateway, api):
            pass
    async with open_redis(redis_url) as redis:
        deadline = time.monotonic() + 5
        while await redis.client.exists(f"{redis.keys.home}sockets:{gateway.id}"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_the_size_of_messages(gateway: Any, room: Room) -> None:
    """A frame of 32 KB and a message of 128 KB in frames arrive; more than either ends the connection with 1009."""
    api = await socket_api(gateway)
    async with connected(gateway, api) as client:
        await client.send_str("x" * FRAME_BYTES_MAX)
        frame = "y" * (FRAME_BYTES_MAX)
        opcode = aiohttp.WSMsgType
        writer = client._writer
        for at in range(4):
            await _send_fragment(writer, frame.encode(), first=at == 0, last=at == 3, opcode=opcode.TEXT)
        await until(lambda: len(room.events["MESSAGE"]) == 2)
        assert sorted(len(event["body"]) for event in room.events["MESSAGE"]) == [FRAME_BYTES_MAX, MESSAGE_BYTES_MAX]
        await client.send_str("x" * (FRAME_BYTES_MAX + 1))
        message = await client.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)
        await client.close()
    await until(lambda: room.events["DISCONNECT"])
    assert room.events["DISCONNECT"][0]["requestContext"]["disconnectStatusCode"] == 1009


async def _send_fragment(writer: Any, data: bytes, *, first: bool, last: bool, opcode: Any) -> None:
    """Write one frame of a message by hand: aiohttp's client sends every message as one frame."""
    import os

    mask = os.urandom(4)
    head = bytes([(0x80 if last else 0) | (opcode.value if first else 0), 0x80 | 126]) + len(data).to_bytes(2, "big")
    if len(data) > 65_535:
        raise AssertionError("a fragment has two bytes of length here")
    writer.transport.write(head + mask + bytes(one ^ mask[at % 4] for at, one in enumerate(data)))


async def test_binary_messages(gateway: Any, room: Room) -> None:
    """A binary frame from a client ends its connection with 1003, as API Gateway does it."""
    api = await socket_api(gateway)
    async with connected(gateway, api) as client:
        await client.send_bytes(b"\x00\x01")
        message = await client.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1003)
        await client.close()
    await until(lambda: room.events["DISCONNECT"])
    assert room.events["MESSAGE"] == []


async def test_pings(gateway: Any, room: Room) -> None:
    """A ping is answered, by the platform."""
    api = await socket_api(gateway)
    async with connected(gateway, api, autoping=False) as client:
        await client.ping(b"here?")
        message = await client.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"here?")


async def test_a_client_that_is_gone(gateway: Any, room: Room) -> None:
    """Without a close frame the end is 1006, without a status in it 1005."""
    api = await socket_api(gateway)
    async with connected(gateway, api) as client:
        client._response.connection.transport.abort()  # type: ignore[union-attr]
        await until(lambda: room.events["DISCONNECT"])
    assert room.events["DISCONNECT"][0]["requestContext"]["disconnectStatusCode"] == 1006
    async with connected(gateway, api) as client:
        client._writer.transport.write(b"\x88\x80\x00\x00\x00\x00")
        await until(lambda: len(room.events["DISCONNECT"]) == 2)
        await client.close()
    context = room.events["DISCONNECT"][1]["requestContext"]
    assert context["disconnectStatusCode"] == 1005
    assert context["disconnectReason"] == "Client-side close frame status not set"


async def test_many_messages_at_once(gateway: Any, room: Room) -> None:
    """Slow functions of one connection run at the same time, up to a bound; each message is handled once."""
    api = await socket_api(gateway)
    async with connected(gateway, api) as client:
        gateway.delay_s = 0.2
        began = time.monotonic()
        for number in range(40):
            await client.send_str(str(number))
        await until(lambda: len(room.events["MESSAGE"]) == 40)
        took_s = time.monotonic() - began
    assert 0.4 <= took_s < 5
    assert sorted(int(event["body"]) for event in room.events["MESSAGE"]) == list(range(40))


async def test_a_client_that_sends_faster_than_functions_run(gateway: Any, room: Room) -> None:
    """What it sends ahead waits in its own connection, and each message is handled once."""
    api = await socket_api(gateway)
    async with connected(gateway, api) as client:
        gateway.delay_s = 0.02
        for number in range(400):
            await asyncio.wait_for(client.send_str(f"{number} " + "x" * 30_000), 20)
        await until(lambda: len(room.events["MESSAGE"]) == 400, timeout_s=20)
    assert sorted(int(event["body"].split()[0]) for event in room.events["MESSAGE"]) == list(range(400))


async def test_changes_reach_open_connections(gateway: Any, room: Room) -> None:
    """A message takes the routes that its stage has now; an API that is gone has none."""
    api = await socket_api(gateway)
    client_of_apis = gateway.client
    async with connected(gateway, api) as client:
        await asyncio.to_thread(lambda: client_of_apis.delete_api(ApiId=api))
        await client.send_str("hello")
        assert json.loads((await client.receive(timeout=5)).data)["message"] == "Forbidden"


class TestLimits:
    """A gateway with short limits on the life of connections."""

    @pytest.fixture
    def gateway(self, redis_url: str, service_catalog: Any) -> Any:
        """A gateway that closes what is silent for a second, and everything after three."""
        made = Gateway(redis_url, service_catalog, idle_s=1.0, max_s=3.0)
        stop = made.start()
        yield made
        stop()

    async def test_silence(self, gateway: Any, room: Room) -> None:
        """A connection without any message for the idle time is closed with 1001."""
        api = await socket_api(gateway)
        began = time.monotonic()
        async with connected(gateway, api) as client:
            message = await client.receive(timeout=5)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            assert 0.9 < time.monotonic() - began < 2.5
            await client.close()
        await until(lambda: room.events["DISCONNECT"])
        assert room.events["DISCONNECT"][0]["requestContext"]["disconnectStatusCode"] == 1001

    async def test_duration(self, gateway: Any, room: Room) -> None:
        """One that is never silent is closed after its longest duration all the same."""
        api = await socket_api(gateway)
        began = time.monotonic()
        async with connected(gateway, api) as client:
            while True:
                await client.send_str("still here")
                try:
                    message = await client.receive(timeout=0.3)
                except TimeoutError:
                    continue
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
                break
            assert 2.9 < time.monotonic() - began < 5
            await client.close()


async def test_nothing_is_left(gateway: Any, room: Room, redis_url: str) -> None:
    """After the last connection Redis has nothing of any."""
    from lambent_platform.store.redis import open_redis

    api = await socket_api(gateway)
    async with connected(gateway, api), connected(gateway, api):
        pass
    await until(lambda: len(room.events["DISCONNECT"]) == 2)
    async with open_redis(redis_url) as redis:
        deadline = time.monotonic() + 5
        while left := [key async for key in redis.client.scan_iter() if b"conn:" in key or b"socket" in key]:
            assert time.monotonic() < deadline, left
            await asyncio.sleep(0.02)
