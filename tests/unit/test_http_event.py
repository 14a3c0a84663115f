"""Payload format 2.0, in and out, as a table."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.core.http_event import HttpRequest, InvalidReply, Place, make_event, read_reply, stream_type

REQUEST = HttpRequest(
    method="GET",
    path="/a%20b/c",
    query="",
    headers=[("Host", "abc.lambda-url.us-east-1.localhost:4566"), ("User-Agent", "curl/8")],
    body=b"",
    protocol="HTTP/1.1",
    scheme="http",
    domain="abc.lambda-url.us-east-1.localhost",
    port="4566",
    source_ip="127.0.0.1",
)


def event(**changes: Any) -> dict[str, Any]:
    """The event of a request with these changes."""
    request = replace(REQUEST, **changes)
    return make_event(request, Place(api_id="abc"), request_id="rid", trace_id="Root=1", now_ms=1_583_348_638_390)


def test_the_whole_event() -> None:
    """Every member that frameworks read is there, with the sentinels of function URLs."""
    assert event() == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/a%20b/c",
        "rawQueryString": "",
        "headers": {
            "host": "abc.lambda-url.us-east-1.localhost:4566",
            "user-agent": "curl/8",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-proto": "http",
            "x-forwarded-port": "4566",
            "x-amzn-trace-id": "Root=1",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc",
            "domainName": "abc.lambda-url.us-east-1.localhost",
            "domainPrefix": "abc",
            "http": {
                "method": "GET",
                "path": "/a%20b/c",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "curl/8",
            },
            "requestId": "rid",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1_583_348_638_390,
        },
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("a=1", {"a": "1"}),
        ("a=1&b=2&a=3", {"a": "1,3", "b": "2"}),
        ("a=&b", {"a": "", "b": ""}),
        ("q=x+y%20z%26", {"q": "x y z&"}),
        ("%C3%BC=%FF", {"ü": "\ufffd"}),
    ],
)
def test_query_strings(query: str, parameters: dict[str, str]) -> None:
    """Raw as it was sent, and decoded, with what repeats joined by commas."""
    made = event(query=query)
    assert made["rawQueryString"] == query
    assert made["queryStringParameters"] == parameters


def test_repeated_headers_are_joined_and_cookies_are_a_list() -> None:
    """Names in lower case; cookies are taken out of the headers."""
    headers = [("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1; b=2"), ("Cookie", "c=3"), ("X-Forwarded-For", "9.9.9.9")]
    made = event(headers=headers)
    assert made["headers"]["x-a"] == "1,2"
    assert made["headers"]["x-forwarded-for"] == "9.9.9.9,127.0.0.1"
    assert made["cookies"] == ["a=1", "b=2", "c=3"]
    assert "cookie" not in made["headers"]


@pytest.mark.parametrize(
    ("content_type", "body", "encoded"),
    [
        ("application/json", b'{"a": 1}', False),
        ("application/json; charset=utf-8", "ü".encode(), False),
        ("text/plain", b"text", False),
        ("application/problem+json", b"{}", False),
        ("image/svg+xml", b"<svg/>", True),
        ("application/atom+xml", b"<feed/>", False),
        ("text/plain", b"\xff\xfe", True),
        ("image/png", b"\x89PNG", True),
        ("application/x-www-form-urlencoded", b"a=1", True),
        ("", b"anything", True),
    ],
)
def test_bodies_are_text_where_their_type_says_so(content_type: str, body: bytes, encoded: bool) -> None:
    """Anything else, and text that is none, goes in base64."""
    made = event(body=body, headers=[("Content-Type", content_type)])
    assert made["isBase64Encoded"] is encoded
    assert made["body"] == (base64.b64encode(body).decode() if encoded else body.decode())


def test_a_compressed_body_is_binary_whatever_its_type() -> None:
    """It belongs to the function as it was sent."""
    assert event(body=b"{}", headers=[("Content-Type", "application/json"), ("Content-Encoding", "gzip")])[
        "isBase64Encoded"
    ]


@given(path=st.binary(max_size=20), value=st.binary(max_size=20), body=st.binary(max_size=20))
def test_any_bytes_become_an_event_that_json_can_hold(path: bytes, value: bytes, body: bytes) -> None:
    """Bytes that are not UTF-8 arrive as lone surrogates, which no JSON may have."""
    odd = value.decode("utf-8", "surrogateescape")
    made = event(path="/" + path.decode("utf-8", "surrogateescape"), headers=[("x", odd)], query=odd, body=body)
    json.dumps(made, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    ("returned", "status", "content_type", "body"),
    [
        ({"statusCode": 201, "body": "made"}, 201, "application/json", b"made"),
        ({"statusCode": "404"}, 404, "application/json", b""),
        ({"statusCode": 200, "headers": {"content-type": "text/html"}, "body": "<p>"}, 200, "text/html", b"<p>"),
        ({"statusCode": 200, "isBase64Encoded": True, "body": "iVA="}, 200, "application/json", b"\x89P"),
        ({"message": "hello"}, 200, "application/json", b'{"message": "hello"}'),
        ("hello", 200, "application/json", b"hello"),
        ([1, 2], 200, "application/json", b"[1, 2]"),
        (None, 200, "application/json", b"null"),
        (7, 200, "application/json", b"7"),
    ],
)
def test_what_functions_return(returned: object, status: int, content_type: str, body: bytes) -> None:
    """With a status code it says everything itself; without one it is the body of a 200."""
    reply = read_reply(json.dumps(returned).encode())
    types = [value for name, value in reply.headers if name.lower() == "content-type"]
    assert (reply.status, types, reply.body) == (status, [content_type], body)


def test_headers_and_cookies_of_a_reply() -> None:
    """Numbers and booleans are written out; what belongs to the connection is not the function's to say."""
    headers = {"X-N": 5, "X-B": True, "Content-Length": "999", "Transfer-Encoding": "chunked", "X-None": None}
    reply = read_reply(json.dumps({"statusCode": 200, "headers": headers, "cookies": ["a=1", "b=2; Path=/"]}).encode())
    assert reply.headers == (
        ("X-N", "5"),
        ("X-B", "true"),
        ("Content-Type", "application/json"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2; Path=/"),
    )


@pytest.mark.parametrize(
    "returned",
    [
        b"not json",
        b"",
        b'{"statusCode": "abc"}',
        b'{"statusCode": 99}',
        b'{"statusCode": 100}',
        b'{"statusCode": true}',
        b'{"statusCode": null}',
        b'{"statusCode": 200, "body": {"a": 1}}',
        b'{"statusCode": 200, "isBase64Encoded": true, "body": "?"}',
        b'{"statusCode": 200, "headers": []}',
        b'{"statusCode": 200, "headers": {"a b": "1"}}',
        b'{"statusCode": 200, "headers": {"a": "1\\r\\nSet-Cookie: x=1"}}',
        b'{"statusCode": 200, "headers": {"a": ["1"]}}',
        b'{"statusCode": 200, "cookies": "a=1"}',
        b'{"statusCode": 200, "cookies": ["a=1\\nX: 1"]}',
        b'{"statusCode": 200, "headers": {"a": "1\\n"}}',
        b'{"statusCode": 200, "headers": {"a\\n": "1"}}',
        b'{"statusCode": 200, "cookies": ["a=1\\n"]}',
    ],
)
def test_what_is_not_a_reply(returned: bytes) -> None:
    """Wrong types, and headers that would split the reply, are refused as a whole."""
    with pytest.raises(InvalidReply):
        read_reply(returned)


def test_the_type_of_a_stream() -> None:
    """A stream's type is a header's value or none."""
    assert stream_type("text/plain") == "text/plain"
    assert stream_type("text/plain\n") == stream_type("") == "application/octet-stream"
