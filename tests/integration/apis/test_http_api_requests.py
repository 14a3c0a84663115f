"""Requests to HTTP APIs over real HTTP."""

from __future__ import annotations

import base64
import json
import socket
import time
from typing import Any

import pytest

from lambent_platform.contracts.errors import ApiError, ResourceNotFound, StoreUnavailable, TooManyRequests
from lambent_platform.contracts.invocation import Reply
from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES


def test_several_functions_behind_one_site(gateway: Any) -> None:
    """Each route reaches its own function, by the API's host and by the path form."""
    api = gateway.api({"GET /pets/{id}": "pets", "ANY /shop/{proxy+}": "shop", "$default": "rest"})
    for host, prefix in ((api, ""), ("", f"/_api/{api}")):
        gateway.called.clear()
        for path in ("/pets/7", "/shop/a/b", "/elsewhere", "/"):
            assert gateway.get(host, prefix + path).json()["rawPath"] == path
        assert [ref.name for ref in gateway.called] == ["pets", "shop", "rest", "rest"]


def test_the_whole_event_of_format_2(gateway: Any) -> None:
    """Every member that frameworks read is there, and nothing that API Gateway leaves out."""
    api = gateway.api({"POST /pets/{id}/{rest+}": "f"}, stage="dev")
    gateway.client.update_stage(ApiId=api, StageName="dev", StageVariables={"color": "blue"})
    answer = gateway.get(
        api,
        "/dev/pets/a%20b/c/d%2Fe?x=1&x=2&y=%C3%A9&z",
        method="POST",
        body=b'{"k": 1}',
        Content_Type="application/json",
        Cookie="a=1; b=2",
        User_Agent="curl/8",
        X_One="1",
    )
    event = answer.json()
    headers = event.pop("headers")
    assert headers["x-one"] == "1"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-amzn-trace-id"].startswith("Root=1-")
    assert "cookie" not in headers
    context = event.pop("requestContext")
    assert event == {
        "version": "2.0",
        "routeKey": "POST /pets/{id}/{rest+}",
        "rawPath": "/dev/pets/a b/c/d/e",
        "rawQueryString": "x=1&x=2&y=%C3%A9&z",
        "cookies": ["a=1", "b=2"],
        "queryStringParameters": {"x": "1,2", "y": "é", "z": ""},
        "pathParameters": {"id": "a b", "rest": "c/d/e"},
        "stageVariables": {"color": "blue"},
        "body": '{"k": 1}',
        "isBase64Encoded": False,
    }
    assert abs(context.pop("timeEpoch") / 1000 - time.time()) < 60
    assert context.pop("time").endswith(" +0000")
    assert answer.headers["Apigw-Requestid"] == context.pop("requestId")
    assert context == {
        "accountId": "000000000000",
        "apiId": api,
        "domainName": f"{api}.execute-api.us-east-1.localhost",
        "domainPrefix": api,
        "http": {
            "method": "POST",
            "path": "/dev/pets/a b/c/d/e",
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": "curl/8",
        },
        "routeKey": "POST /pets/{id}/{rest+}",
        "stage": "dev",
    }


def test_the_whole_event_of_format_1(gateway: Any) -> None:
    """Lists beside single values, null where there is nothing, and the route as resource."""
    api = gateway.api({"GET /pets/{id}": "f"}, payload="1.0", stage="dev")
    gateway.handlers["f"] = lambda event: {"statusCode": 200, "body": json.dumps(event)}
    event = gateway.get(api, "/dev/pets/7?x=1&x=2&X=3", X_One="1", User_Agent="curl/8").json()
    context, headers, many = (event.pop(name) for name in ("requestContext", "headers", "multiValueHeaders"))
    assert (headers["X-One"], many["X-One"]) == ("1", ["1"])
    assert many["X-Forwarded-For"] == ["127.0.0.1"]
    assert event == {
        "version": "1.0",
        "resource": "/pets/{id}",
        "path": "/dev/pets/7",
        "httpMethod": "GET",
        "queryStringParameters": {"x": "2", "X": "3"},
        "multiValueQueryStringParameters": {"x": ["1", "2"], "X": ["3"]},
        "pathParameters": {"id": "7"},
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
    }
    assert context["identity"]["sourceIp"] == "127.0.0.1"
    assert context["identity"]["userAgent"] == "curl/8"
    assert context["identity"]["user"] is None
    assert (context["resourcePath"], context["httpMethod"], context["stage"]) == ("/pets/{id}", "GET", "dev")
    assert (context["path"], context["accountId"], context["apiId"]) == ("/dev/pets/7", "000000000000", api)


@pytest.mark.parametrize("payload", ["1.0", "2.0"])
def test_binary_bodies(gateway: Any, payload: str) -> None:
    """Bytes that are no text go in and come out as base64."""
    api = gateway.api({"$default": "f"}, payload=payload)
    data = bytes(range(256))

    def handler(event: dict[str, Any]) -> object:
        assert event["isBase64Encoded"] is True
        back = base64.b64encode(base64.b64decode(event["body"])[::-1]).decode()
        return {"statusCode": 201, "headers": {"X": "1"}, "body": back, "isBase64Encoded": True}

    gateway.handlers["f"] = handler
    answer = gateway.get(api, "/", method="POST", body=data, Content_Type="image/png")
    assert (answer.status, answer.headers["X"], answer.body) == (201, "1", data[::-1])


@pytest.mark.parametrize(
    ("payload", "returned", "status", "body"),
    [
        ("2.0", {"a": 1}, 200, b'{"a": 1}'),
        ("2.0", "plain", 200, b"plain"),
        ("2.0", {"statusCode": 302, "headers": {"Location": "/x"}}, 302, b""),
        ("2.0", {"statusCode": 204, "cookies": ["a=1"]}, 204, b""),
        ("2.0", {"statusCode": "odd"}, 500, b'{"message":"Internal Server Error"}'),
        ("1.0", {"statusCode": 200, "body": "x"}, 200, b"x"),
        ("1.0", {"a": 1}, 500, b'{"message":"Internal Server Error"}'),
        ("1.0", "plain", 500, b'{"message":"Internal Server Error"}'),
        ("1.0", {"statusCode": 200, "multiValueHeaders": {"A": "b"}}, 500, b'{"message":"Internal Server Error"}'),
        ("2.0", Reply(id="", payload=b"{}", function_error="Unhandled"), 500, b'{"message":"Internal Server Error"}'),
        ("2.0", ResourceNotFound("no such function"), 500, b'{"message":"Internal Server Error"}'),
        ("2.0", ApiError("lost"), 500, b'{"message":"Internal Server Error"}'),
        ("2.0", TooManyRequests("Rate Exceeded."), 503, b'{"message":"Service Unavailable"}'),
        ("2.0", StoreUnavailable("away"), 503, b'{"message":"Service Unavailable"}'),
    ],
)
def test_replies(gateway: Any, payload: str, returned: object, status: int, body: bytes) -> None:
    """What a function returns becomes the reply; what fails is told in API Gateway's own words."""
    api = gateway.api({"$default": "f"}, payload=payload)
    gateway.handlers["f"] = lambda event: returned
    answer = gateway.get(api, "/")
    assert (answer.status, answer.body) == (status, body)


def test_several_headers_of_one_name(gateway: Any) -> None:
    """Format 1.0 sets a header as often as it is listed, and the list goes before the single value."""
    api = gateway.api({"$default": "f"}, payload="1.0")
    gateway.handlers["f"] = lambda event: {
        "statusCode": 200,
        "headers": {"A": "0", "B": "1"},
        "multiValueHeaders": {"a": ["1", "2"], "Set-Cookie": ["x=1", "y=2"]},
    }
    headers = gateway.get(api, "/").headers
    assert headers.get_all("a") == ["1", "2"]
    assert headers.get_all("set-cookie") == ["x=1", "y=2"]
    assert headers.get_all("b") == ["1"]


def test_what_leads_nowhere(gateway: Any) -> None:
    """No API, no stage, no route: 404 in JSON; a route without an integration fails."""
    api = gateway.api({"GET /pets": "f"}, stage="dev")
    gateway.client.create_route(ApiId=api, RouteKey="GET /nothing")
    for host, path in ((api, "/pets"), (api, "/dev/dogs"), ("nosuchapi0", "/dev/pets"), ("", "/_api"), ("", "/_api/x")):
        answer = gateway.get(host, path)
        assert (answer.status, answer.json()) == (404, {"message": "Not Found"})
    assert gateway.get(api, "/dev/pets", method="POST").status == 404
    assert gateway.get(api, "/dev/nothing").status == 500
    assert gateway.called == []


def test_too_large_requests(gateway: Any) -> None:
    """What no function could be given is refused with 413, read or not."""
    api = gateway.api({"$default": "f"})
    for size in (SYNC_PAYLOAD_BYTES - 100, SYNC_PAYLOAD_BYTES + 1, 11_000_000):
        answer = gateway.get(api, "/", method="POST", body=b"x" * size, Content_Type="text/plain")
        assert (answer.status, answer.json()) == (413, {"message": "Request Entity Too Large"})
    assert gateway.called == []


def test_a_slow_function(gateway: Any) -> None:
    """After the integration's timeout the client is told 503, whatever the function goes on to do."""
    api = gateway.api({"$default": "f"})
    integration = gateway.client.get_integrations(ApiId=api)["Items"][0]
    gateway.client.update_integration(ApiId=api, IntegrationId=integration["IntegrationId"], TimeoutInMillis=50)
    gateway.delay_s = 5.0
    began = time.monotonic()
    answer = gateway.get(api, "/")
    assert (answer.status, answer.json()) == (503, {"message": "Service Unavailable"})
    assert time.monotonic() - began < 3


def test_cors(gateway: Any) -> None:
    """A preflight is answered by the platform on any path; replies carry the API's rules, not the function's."""
    api = gateway.api(
        {"GET /a": "f"},
        CorsConfiguration={
            "AllowOrigins": ["https://a.example"],
            "AllowMethods": ["GET", "POST"],
            "AllowHeaders": ["x-one"],
            "ExposeHeaders": ["x-two"],
            "MaxAge": 60,
            "AllowCredentials": True,
        },
    )
    gateway.handlers["f"] = lambda event: {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*"}}
    ask = {"Origin": "https://a.example", "Access_Control_Request_Method": "GET"}
    for path in ("/a", "/nowhere"):
        answer = gateway.get(api, path, method="OPTIONS", **ask)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert answer.headers["Access-Control-Allow-Methods"] == "GET,POST"
        assert answer.headers["Access-Control-Allow-Headers"] == "x-one"
        assert answer.headers["Access-Control-Max-Age"] == "60"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert gateway.called == []
    refused = gateway.get(api, "/a", method="OPTIONS", **{**ask, "Origin": "https://b.example"})
    assert refused.status == 204
    assert "Access-Control-Allow-Origin" not in refused.headers
    answer = gateway.get(api, "/a", Origin="https://a.example")
    assert answer.headers.get_all("Access-Control-Allow-Origin") == ["https://a.example"]
    assert answer.headers["Access-Control-Expose-Headers"] == "x-two"
    gateway.handlers["f"] = lambda event: {"statusCode": 204}
    answer = gateway.get(api, "/a", Origin="https://a.example")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "https://a.example")
    missing = gateway.get(api, "/nowhere", Origin="https://a.example")
    assert (missing.status, missing.headers["Access-Control-Allow-Origin"]) == (404, "https://a.example")
    gateway.handlers["f"] = lambda event: {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*"}}
    gateway.client.delete_cors_configuration(ApiId=api)
    assert gateway.get(api, "/a", method="OPTIONS", **ask).status == 404
    assert gateway.get(api, "/a", Origin="https://b.example").headers["Access-Control-Allow-Origin"] == "*"


def test_changes_are_served(gateway: Any, other_gateway: Any) -> None:
    """The gateway that changed an API serves the change at once, another within a moment."""
    api = gateway.api({"GET /a": "f"})
    assert gateway.get(api, "/b").status == 404
    assert other_gateway.get(api, "/b").status == 404
    made = gateway.client.get_integrations(ApiId=api)["Items"][0]["IntegrationId"]
    gateway.client.create_route(ApiId=api, RouteKey="GET /b", Target=f"integrations/{made}")
    assert gateway.get(api, "/b").status == 200
    deadline = time.monotonic() + 2
    while other_gateway.get(api, "/b").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    gateway.client.delete_api(ApiId=api)
    assert gateway.get(api, "/b").status == 404
    while other_gateway.get(api, "/b").status != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_deployments(gateway: Any) -> None:
    """A stage without AutoDeploy serves what was deployed to it last, until something else is."""
    client = gateway.client
    api = client.create_api(Name="site", ProtocolType="HTTP")["ApiId"]
    made = client.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=gateway.arn("f"), PayloadFormatVersion="2.0"
    )["IntegrationId"]
    client.create_stage(ApiId=api, StageName="prod")
    client.create_route(ApiId=api, RouteKey="GET /a", Target=f"integrations/{made}")
    assert gateway.get(api, "/prod/a").status == 404
    first = client.create_deployment(ApiId=api, StageName="prod")["DeploymentId"]
    assert gateway.get(api, "/prod/a").status == 200
    client.create_route(ApiId=api, RouteKey="GET /b", Target=f"integrations/{made}")
    assert gateway.get(api, "/prod/b").status == 404
    second = client.create_deployment(ApiId=api)["DeploymentId"]
    client.update_stage(ApiId=api, StageName="prod", DeploymentId=second)
    assert gateway.get(api, "/prod/b").status == 200
    client.update_stage(ApiId=api, StageName="prod", DeploymentId=first)
    assert gateway.get(api, "/prod/b").status == 404


def test_a_stage_that_stops_following(gateway: Any) -> None:
    """With AutoDeploy taken away a stage goes on to serve what it served last."""
    api = gateway.api({"GET /a": "f"}, stage="dev")
    client = gateway.client
    client.update_stage(ApiId=api, StageName="dev", AutoDeploy=False)
    client.delete_route(ApiId=api, RouteId=client.get_routes(ApiId=api)["Items"][0]["RouteId"])
    assert gateway.get(api, "/dev/a").status == 200
    client.update_stage(ApiId=api, StageName="dev", AutoDeploy=True)
    assert gateway.get(api, "/dev/a").status == 404


def test_quick_create(gateway: Any) -> None:
    """One operation makes an API that answers."""
    made = gateway.client.create_api(Name="quick", ProtocolType="HTTP", Target=gateway.arn("f"), RouteKey="GET /hello")
    assert made["ApiEndpoint"] == f"http://{made['ApiId']}.execute-api.us-east-1.localhost:{gateway.port}"
    assert gateway.get(made["ApiId"], "/hello").json()["routeKey"] == "GET /hello"
    gateway.client.update_api(ApiId=made["ApiId"], RouteKey="GET /bye", Target=gateway.arn("g"))
    gateway.called.clear()
    assert gateway.get(made["ApiId"], "/bye").status == 200
    assert [ref.name for ref in gateway.called] == ["g"]


def test_a_disabled_endpoint(gateway: Any) -> None:
    """An API whose endpoint is disabled answers nobody."""
    api = gateway.api({"$default": "f"})
    gateway.client.update_api(ApiId=api, DisableExecuteApiEndpoint=True)
    assert gateway.get(api, "/").status == 404


@pytest.mark.parametrize("payload", ["1.0", "2.0"])
@pytest.mark.parametrize("by_host", [True, False])
@pytest.mark.parametrize("field", ["Host", "X-Amzn-Trace-Id", "User-Agent"])
def test_headers_that_are_not_text(gateway: Any, payload: str, by_host: bool, field: str) -> None:
    """Bytes of a header that are no UTF-8 are replaced wherever the event has them, and the request is served."""
    api = gateway.api({"$default": "f"}, payload=payload)
    host = b"%s.execute-api.us-east-1.localhost" % api.encode() if by_host else b"h"
    fields = {b"Host": host, b"Connection": b"close"}
    fields[field.encode()] = fields.get(field.encode(), b"a") + b".\xff"
    lines = [b"GET %s/ HTTP/1.1" % (b"" if by_host else f"/_api/{api}".encode())]
    lines += [name + b": " + value for name, value in fields.items()]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        with client.makefile("rb") as stream:
            head, _, body = stream.read().partition(b"\r\n\r\n")
    # What format 1.0 returns has no status: the function here gives its event back.
    assert head.startswith(b"HTTP/1.1 200" if payload == "2.0" else b"HTTP/1.1 500"), head
    assert len(gateway.called) == 1
    if payload == "2.0":
        assert json.loads(body)["headers"][field.lower()].endswith(".\ufffd")
