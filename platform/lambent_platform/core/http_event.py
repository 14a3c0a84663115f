"""HTTP in and out of a function: API Gateway's payload format 2.0, as function URLs and HTTP APIs use it.

Pure: a request in, an event out; what the function returned in, a reply out. Source: Lambda Developer Guide,
"Invoking Lambda function URLs"; API Gateway Developer Guide, "Lambda proxy integrations for HTTP APIs".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

_TEXT_TYPE: Final = re.compile(
    r"^(?:text/.*|application/(?:json|javascript|ecmascript|xml|graphql|.+\+json|.+\+xml))$", re.IGNORECASE
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_OF_THE_CONNECTION: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}
)
"""Headers that say how bytes travel between two neighbours; they are not the function's to set."""
DEFAULT: Final = "$default"
JSON_TYPE: Final = "application/json"
STREAM_TYPE: Final = "application/octet-stream"
PRELUDE_TYPE: Final = "application/vnd.awslambda.http-integration-response"
"""A streamed response that begins with its metadata."""
PRELUDE_END: Final = bytes(8)
PRELUDE_BYTES_MAX: Final = 65_536

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request as it arrived."""

    method: str
    path: str
    """Percent-encoded as it was sent; begins with a slash."""
    query: str
    """Without the question mark, as it was sent."""
    headers: Headers
    body: bytes
    protocol: str
    """`HTTP/1.1`."""
    scheme: str
    domain: str
    """The host that the client named, without a port."""
    port: str
    source_ip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request came in: a function URL, or a route of an API's stage."""

    api_id: str
    account: str = "anonymous"
    route_key: str = DEFAULT
    resource: str = DEFAULT
    """The route's path with its variables, for payload format 1.0."""
    stage: str = DEFAULT
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    stage_variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """A reply to send."""

    status: int
    headers: Headers
    body: bytes


class InvalidReply(ValueError):
    """What the function returned is not a reply: the client is answered 502."""


def make_event(request: HttpRequest, place: Place, *, request_id: str, trace_id: str, now_ms: int) -> dict[str, Any]:
    """Return the event for a request; `cookies`, `queryStringParameters` and `body` are absent where there are none."""
    headers = _joined((name.lower(), clean(value)) for name, value in request.headers)
    cookies = [part.strip() for part in headers.pop("cookie", "").split(";") if part.strip()]
    headers |= {
        "x-forwarded-for": ",".join(filter(None, (headers.get("x-forwarded-for", ""), request.source_ip))),
        "x-forwarded-proto": request.scheme,
        "x-forwarded-port": request.port,
        "x-amzn-trace-id": trace_id,
    }
    query = _joined(query_pairs(request.query))
    path, user_agent = clean(request.path), headers.get("user-agent", "")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": place.route_key,
        "rawPath": path,
        "rawQueryString": clean(request.query),
        "headers": headers,
        "requestContext": {
            "accountId": place.account,
            "apiId": place.api_id,
            "domainName": request.domain,
            "domainPrefix": place.api_id,
            "http": {
                "method": request.method,
                "path": path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": user_agent,
            },
            "requestId": request_id,
            "routeKey": place.route_key,
            "stage": place.stage,
            "time": common_log_time(now_ms),
            "timeEpoch": now_ms,
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = query
    if place.path_parameters:
        event["pathParameters"] = {name: clean(value) for name, value in place.path_parameters.items()}
    if place.stage_variables:
        event["stageVariables"] = dict(place.stage_variables)
    if request.body:
        event["body"], event["isBase64Encoded"] = encoded_body(request.body, headers)
    return event


def common_log_time(now_ms: int) -> str:
    """Write a moment as `requestContext.time` has it: `12/Mar/2020:19:03:58 +0000`."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return f"{moment:%d}/{_MONTHS[moment.month - 1]}/{moment:%Y:%H:%M:%S} +0000"


def query_pairs(query: str) -> Iterator[tuple[str, str]]:
    """Yield the decoded names and values of a query in their order."""
    return ((clean(name), clean(value)) for name, value in parse_qsl(query, keep_blank_values=True))


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _joined(pairs: Any) -> dict[str, str]:
    """Join what has the same name by commas, in its order; cookies by semicolons."""
    found: dict[str, str] = {}
    for name, value in pairs:
        separator = "; " if name == "cookie" else ","
        found[name] = f"{found[name]}{separator}{value}" if name in found else value
    return found


def clean(text: str) -> str:
    """Replace bytes that are not UTF-8, which came as lone surrogates: JSON cannot hold them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def encoded_body(body: bytes, headers: Mapping[str, str]) -> tuple[str, bool]:
    """Return a body and whether it is base64: not where its type says text and its bytes agree. Lower-case names."""
    content_type = headers.get("content-type", "").partition(";")[0].strip()
    if _TEXT_TYPE.match(content_type) and headers.get("content-encoding", "identity") == "identity":
        try:
            return body.decode("utf-8"), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def read_reply(payload: bytes) -> HttpReply:
    """Read what a function returned.

    An object with a `statusCode` says everything itself. Anything else is the body of a 200, of type JSON; a string
    without its quotes.

    Raises:
        InvalidReply: it is not JSON, or a member is not of its type.
    """
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidReply("the function did not return JSON") from error
    if isinstance(value, dict) and "statusCode" in value:
        return _structured(value)
    body = value.encode() if isinstance(value, str) else payload
    return HttpReply(status=200, headers=(("Content-Type", JSON_TYPE),), body=body)


def read_reply_v1(payload: bytes) -> HttpReply:
    """Read what a function returned under payload format 1.0, which must say everything itself.

    Raises:
        InvalidReply: it is not an object with a `statusCode`, or a member is not of its type.
    """
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidReply("the function did not return JSON") from error
    if not isinstance(value, dict) or "statusCode" not in value:
        raise InvalidReply("the function did not return a statusCode")
    many = value.get("multiValueHeaders") or {}
    if not isinstance(many, dict) or not all(isinstance(values, list) for values in many.values()):
        raise InvalidReply("multiValueHeaders is not an object of lists")
    listed = {name.lower() for name in many}
    headers = [pair for name, values in many.items() for one in values for pair in _reply_headers({name: one})]
    headers += [pair for pair in _reply_headers(value.get("headers")) if pair[0].lower() not in listed]
    return _complete(value, headers, [])


def read_prelude(data: bytes) -> HttpReply:
    """Read the metadata that a streamed response of type `PRELUDE_TYPE` begins with, up to `PRELUDE_END`: JSON of
    `statusCode`, `headers` and `cookies`. The reply has no body yet.

    Raises:
        InvalidReply: it is not JSON, or a member is not of its type.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidReply("the metadata of the stream is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidReply("the metadata of the stream is not an object")
    known = {name: value[name] for name in ("headers", "cookies") if name in value}
    return _structured({"statusCode": value.get("statusCode", 200), **known}, content_type=STREAM_TYPE)


def read_collected(payload: bytes, content_type: str) -> HttpReply:
    """Read what a function streamed to a caller that wanted it whole: its own bytes, after their metadata if it sent
    some.

    Raises:
        InvalidReply: the metadata is not whole, or wrong.
    """
    if content_type != PRELUDE_TYPE:
        return HttpReply(status=200, headers=(("Content-Type", stream_type(content_type)),), body=payload)
    prelude, end, body = payload.partition(PRELUDE_END)
    if not end:
        raise InvalidReply("the metadata of the stream has no end")
    head = read_prelude(prelude)
    return HttpReply(status=head.status, headers=head.headers, body=body)


def stream_type(content_type: str) -> str:
    """Return a stream's own type, or the one of any bytes where it is none that a header can have."""
    return content_type if content_type and _HEADER_VALUE.fullmatch(content_type) else STREAM_TYPE


def _structured(value: dict[str, Any], content_type: str = JSON_TYPE) -> HttpReply:
    headers = _reply_headers(value.get("headers"))
    cookies = value.get("cookies") or []
    if not isinstance(cookies, list):
        raise InvalidReply("cookies is not a list")
    return _complete(value, headers, [("Set-Cookie", _header_value(cookie)) for cookie in cookies], content_type)


def _complete(
    value: dict[str, Any],
    headers: list[tuple[str, str]],
    cookies: list[tuple[str, str]],
    content_type: str = JSON_TYPE,
) -> HttpReply:
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", content_type))
    headers += cookies
    return HttpReply(status=_status(value["statusCode"]), headers=tuple(headers), body=_reply_body(value))


def _status(value: object) -> int:
    status = int(value) if isinstance(value, str) and re.fullmatch(r"\d{3}", value) else value
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise InvalidReply("statusCode is not one that a reply can have")
    return status


def _reply_headers(value: object) -> list[tuple[str, str]]:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise InvalidReply("headers is not an object")
    headers = []
    for name, one in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidReply("a header has a name that no header can have")
        if name.lower() not in _OF_THE_CONNECTION and one is not None:
            headers.append((name, _header_value(one)))
    return headers


def _header_value(value: object) -> str:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str | int | float) or not _HEADER_VALUE.fullmatch(str(value)):
        raise InvalidReply("a header or cookie has a value that no header can have")
    return str(value)


def _reply_body(value: dict[str, Any]) -> bytes:
    body = value.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise InvalidReply("body is not a string")
    if not value.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidReply("body is not base64") from error
