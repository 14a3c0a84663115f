"""Clients of a WebSocket API on two gateways that are processes of their own, one of them killed."""

from __future__ import annotations

import asyncio
import io
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import redis

from chat import CHAT, chat_api
from cluster import Cluster, free_port
from waiting import until


@pytest.fixture(scope="module")
def cluster(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two gateways, a worker and a scheduler."""
    redis.Redis.from_url(redis_url).flushall()
    cluster = Cluster(redis_url, tmp_path_factory.mktemp("sockets"), (free_port(), free_port()))
    try:
        cluster.worker("w")
        cluster.start("s", "scheduler", "--worker-lease-s", "4", "--async-retry-delays-s", "1,1")
        for number, port in enumerate(cluster.ports):
            cluster.start(f"g{number}", "gateway", "--port", str(port))
        for number in (0, 1):
            until(lambda number=number: cluster.ready(number), within_s=30, what=f"gateway {number} is ready")
        yield cluster
    except BaseException:
        sys.stderr.write(cluster.logs())
        raise
    finally:
        cluster.end()


@pytest.fixture(scope="module")
def chat(cluster: Cluster) -> str:
    """The chat's function."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", CHAT)
    client = cluster.client()
    client.create_function(
        FunctionName="chat",
        Runtime=cluster.python(),
        Role="arn:aws:iam::000000000000:role/r",
        Handler="app.handler",
        Code={"ZipFile": package.getvalue()},
        Timeout=20,
    )
    client.get_waiter("function_active_v2").wait(FunctionName="chat", WaiterConfig={"Delay": 1})
    return "chat"


def ends(cluster: Cluster, connection: str) -> list[str]:
    """What the function's log says of a connection's end."""
    logs: Any = cluster.client(service="logs")
    events = logs.filter_log_events(logGroupName="/aws/lambda/chat", filterPattern="DISCONNECT")["events"]
    return [event["message"].strip() for event in events if connection in event["message"]]


async def who(client: aiohttp.ClientWebSocketResponse) -> str:
    """Ask for the id of a client's own connection."""
    await client.send_json({"action": "who"})
    return str((await client.receive(timeout=20)).data)


def test_a_killed_gateway(cluster: Cluster, chat: str) -> None:
    """Clients of both reach each other; those of a killed one are gone for all, and `$disconnect` is told of them."""
    api = chat_api(cluster.client(service="apigatewayv2"), chat)

    async def talk() -> str:
        urls = [f"http://127.0.0.1:{port}/_api/{api}/live" for port in cluster.ports]
        async with aiohttp.ClientSession() as session:
            here, there = await session.ws_connect(urls[0]), await session.ws_connect(urls[1])
            far = await who(there)
            await here.send_json({"action": "tell", "to": far, "text": "hello"})
            assert (await there.receive(timeout=20)).data == "hello"
            cluster.kill("g1")
            assert (await there.receive(timeout=20)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            assert await who(here) != far
            await here.close()
            return far

    far = asyncio.run(talk())
    management: Any = cluster.client(service="apigatewaymanagementapi")

    def gone() -> bool:
        try:
            management.post_to_connection(ConnectionId=far, Data=b"anyone?")
        except management.exceptions.GoneException:
            return True
        except management.exceptions.LimitExceededException:
            return False  # its gateway could still be there, as far as anybody knows
        raise AssertionError("a message was accepted for a client that is gone")

    until(gone, within_s=30, what="the connection is known to be gone")
    until(lambda: ends(cluster, far), within_s=40, what="$disconnect is told")
    assert ends(cluster, far) == [f"SEEN DISCONNECT {far} 1006"]
    cluster.start("g1", "gateway", "--port", str(cluster.ports[1]))
    until(lambda: cluster.ready(1), within_s=30, what="the gateway is back")


def test_a_gateway_that_ends(cluster: Cluster, chat: str) -> None:
    """Its clients are told that it goes away, and `$disconnect` is told of them by those who stay."""
    api = chat_api(cluster.client(service="apigatewayv2"), chat)

    async def talk() -> str:
        async with aiohttp.ClientSession() as session:
            client = await session.ws_connect(f"http://127.0.0.1:{cluster.ports[1]}/_api/{api}/live")
            connection = await who(client)
            cluster.roles["g1"].terminate()
            message = await client.receive(timeout=20)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            return connection

    connection = asyncio.run(talk())
    assert cluster.roles.pop("g1").wait(15) == 0
    until(lambda: ends(cluster, connection), within_s=40, what="$disconnect is told")
