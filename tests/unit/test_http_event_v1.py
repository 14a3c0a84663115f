"""Payload format 1.0: requests to events, and what functions return to replies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.core.http_event import HttpRequest, InvalidReply, Place, read_reply_v1
from lambent_platform.core.http_event_v1 import make_event_v1


def event(**changes: Any) -> dict[str, Any]:
    """The event of a request with these changes."""
    request = HttpRequest(
        **{
            "method": "GET",
            "path": "/dev/a",
            "query": "",
            "headers": [("Host", "abc.execute-api.us-east-1.localhost:4566")],
            "body": b"",
            "protocol": "HTTP/1.1",
            "scheme": "http",
            "domain": "abc.execute-api.us-east-1.localhost",
            "port": "4566",
            "source_ip": "10.0.0.1",
            **changes,
        }
    )
    place = Place(api_id="abc", account="1", route_key="GET /a", resource="/a", stage="dev")
    return make_event_v1(request, place, request_id="rid", trace_id="Root=1", now_ms=1_583_348_638_390)


def test_headers() -> None:
    """Names as they were sent, those that differ in case alone as one; the last value alone, and all of them."""
    made = event(headers=[("X-One", "1"), ("x-one", "2"), ("X-Forwarded-For", "1.1.1.1"), ("x-amzn-trace-id", "old")])
    assert made["headers"] == {
        "X-One": "2",
        "X-Amzn-Trace-Id": "Root=1",
        "X-Forwarded-For": "1.1.1.1,10.0.0.1",
        "X-Forwarded-Port": "4566",
        "X-Forwarded-Proto": "http",
    }
    assert made["multiValueHeaders"]["X-One"] == ["1", "2"]
    assert made["multiValueHeaders"]["X-Amzn-Trace-Id"] == ["Root=1"]


def test_what_is_not_there_is_null() -> None:
    """Members stay, without a value."""
    made = event()
    for name in (
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "pathParameters",
        "stageVariables",
        "body",
    ):
        assert made[name] is None
    assert made["isBase64Encoded"] is False


@given(st.text(), st.binary(max_size=50), st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=4))
def test_any_request_is_json(query: str, body: bytes, headers: list[tuple[str, str]]) -> None:
    """Whatever bytes a client sends, the event can be written."""
    json.dumps(event(query=query, body=body, headers=headers)).encode()


@pytest.mark.parametrize(
    ("returned", "status", "headers", "body"),
    [
        ({"statusCode": 200}, 200, [("Content-Type", "application/json")], b""),
        ({"statusCode": "201", "body": "x"}, 201, [("Content-Type", "application/json")], b"x"),
        (
            {"statusCode": 200, "headers": {"A": 1, "Content-Type": "text/plain"}},
            200,
            [("A", "1"), ("Content-Type", "text/plain")],
            b"",
        ),
        (
            {"statusCode": 200, "headers": {"a": "0"}, "multiValueHeaders": {"A": ["1", True]}},
            200,
            [("A", "1"), ("A", "true"), ("Content-Type", "application/json")],
            b"",
        ),
        (
            {"statusCode": 200, "body": "eA==", "isBase64Encoded": True},
            200,
            [("Content-Type", "application/json")],
            b"x",
        ),
        ({"statusCode": 200, "headers": None, "body": None}, 200, [("Content-Type", "application/json")], b""),
    ],
)
def test_replies(returned: object, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Status, headers once or several times, and a body as it is or in base64."""
    reply = read_reply_v1(json.dumps(returned).encode())
    assert (reply.status, list(reply.headers), reply.body) == (status, headers, body)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b'"text"',
        b"[]",
        b"{}",
        b'{"statusCode": true}',
        b'{"statusCode": 99}',
        b'{"statusCode": 200, "body": {}}',
        b'{"statusCode": 200, "headers": []}',
        b'{"statusCode": 200, "headers": {"a\\nb": "1"}}',
        b'{"statusCode": 200, "headers": {"a": "1\\r\\nb: 2"}}',
        b'{"statusCode": 200, "headers": {"a": "1\\n"}}',
        b'{"statusCode": 200, "multiValueHeaders": {"a\\n": ["1"]}}',
        b'{"statusCode": 200, "multiValueHeaders": {"a": "1"}}',
        b'{"statusCode": 200, "multiValueHeaders": {"a": [{}]}}',
        b'{"statusCode": 200, "body": "!", "isBase64Encoded": true}',
    ],
)
def test_what_is_no_reply(payload: bytes) -> None:
    """Anything else is refused, and no header is let through that would end the line."""
    with pytest.raises(InvalidReply):
        read_reply_v1(payload)
