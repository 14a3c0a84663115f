"""API Gateway v2 as users have it: several functions behind one site, and clients that stay connected."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from chat import CHAT, chat_api

PETS = """
def handler(event, context):
    if event["version"] == "1.0":
        return {"statusCode": 200, "body": "one " + event["pathParameters"]["id"]}
    return {"pet": event["pathParameters"]["id"], "route": event["routeKey"]}

def rest(event, context):
    if event["rawPath"] == "/fail":
        raise ValueError("no")
    return {"statusCode": 418, "headers": {"X-Path": event["rawPath"]}, "cookies": ["a=1"], "body": "rest"}
"""


def arn(name: str) -> str:
    """The ARN of a function."""
    return f"arn:aws:lambda:us-east-1:000000000000:function:{name}"


def get(platform: Any, path: str, *, host: str = "") -> Any:
    """Make one request to the gateway; the response is read already."""
    parts = urlsplit(platform.endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host or parts.netloc})
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]
        return response
    finally:
        connection.close()


def test_a_site(platform: Any) -> None:
    """Two functions behind one API, by its own host and by its path, in both payload formats."""
    client = platform.client("apigatewayv2")
    pets = platform.deploy(PETS)
    rest = platform.deploy(PETS, handler="app.rest")
    api = client.create_api(Name="site", ProtocolType="HTTP")
    for key, name, version in (
        ("GET /pets/{id}", pets, "2.0"),
        ("GET /v1/pets/{id}", pets, "1.0"),
        ("$default", rest, "2.0"),
    ):
        made = client.create_integration(
            ApiId=api["ApiId"], IntegrationType="AWS_PROXY", IntegrationUri=arn(name), PayloadFormatVersion=version
        )
        client.create_route(ApiId=api["ApiId"], RouteKey=key, Target=f"integrations/{made['IntegrationId']}")
    client.create_stage(ApiId=api["ApiId"], StageName="$default", AutoDeploy=True)
    for prefix, host in (("", urlsplit(api["ApiEndpoint"]).netloc), (f"/_api/{api['ApiId']}", "")):
        assert json.loads(get(platform, f"{prefix}/pets/7", host=host).body) == {"pet": "7", "route": "GET /pets/{id}"}
        assert get(platform, f"{prefix}/v1/pets/7", host=host).body == b"one 7"
        answer = get(platform, f"{prefix}/a%20b", host=host)
        assert (answer.status, answer.headers["X-Path"], answer.headers["Set-Cookie"]) == (418, "/a b", "a=1")
        answer = get(platform, f"{prefix}/fail", host=host)
        assert (answer.status, json.loads(answer.body)) == (500, {"message": "Internal Server Error"})
    client.delete_api(ApiId=api["ApiId"])
    assert get(platform, f"/_api/{api['ApiId']}/pets/7").status == 404


def test_a_chat(platform: Any) -> None:
    """Functions let clients in or not, answer them, and reach one client for another, from inside their sandbox."""
    api = chat_api(platform.client("apigatewayv2"), platform.deploy(CHAT))

    async def talk() -> None:
        url = f"{platform.endpoint}/_api/{api}/live"
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url) as one, session.ws_connect(url) as two:
                await one.send_json({"action": "who"})
                name = (await one.receive(timeout=20)).data
                await two.send_json({"action": "tell", "to": name, "text": "hello from two"})
                assert (await one.receive(timeout=20)).data == "hello from two"
                await two.send_json({"action": "tell", "to": "nobody=", "text": "lost"})
                assert json.loads((await two.receive(timeout=20)).data)["message"] == "Internal server error"
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(f"{url}?name=eve")
            assert caught.value.status == 403

    asyncio.run(talk())
