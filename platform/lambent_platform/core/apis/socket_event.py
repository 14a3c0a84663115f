"""Events of WebSocket APIs: CONNECT, MESSAGE and DISCONNECT.

Source: API Gateway Developer Guide, "Set up Lambda proxy integrations for WebSocket APIs".
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from lambent_platform.contracts.connections import ConnectionRecord
from lambent_platform.core.http_event import HttpRequest, Place, common_log_time
from lambent_platform.core.http_event_v1 import make_event_v1

CONNECT: Final = "$connect"
DISCONNECT: Final = "$disconnect"
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
REASONS: Final[Mapping[int, str]] = {
    1000: "Connection Closed Normally",
    1001: "Going away",
    NO_STATUS: "Client-side close frame status not set",
    ABNORMAL: "Connection Closed Abnormally",
}


def connect_event(
    record: ConnectionRecord,
    request: HttpRequest,
    variables: Mapping[str, str],
    *,
    request_id: str,
    trace_id: str,
) -> dict[str, Any]:
    """Return the event of `$connect`, with all that the client asked with; what there is none of is absent."""
    place = Place(api_id=record.api_id)
    plain = make_event_v1(request, place, request_id=request_id, trace_id=trace_id, now_ms=record.connected_ms)
    kept = ("headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters")
    return {
        **{name: plain[name] for name in kept if plain[name]},
        **_common(record, variables, CONNECT, "CONNECT", request_id=request_id, now_ms=record.connected_ms),
    }


def message_event(
    record: ConnectionRecord, variables: Mapping[str, str], route_key: str, body: str, *, request_id: str, now_ms: int
) -> dict[str, Any]:
    """Return the event of a message from the client."""
    event = _common(record, variables, route_key, "MESSAGE", request_id=request_id, now_ms=now_ms)
    event["requestContext"]["messageId"] = str(uuid.uuid4())
    return {**event, "body": body}


def disconnect_event(
    record: ConnectionRecord,
    variables: Mapping[str, str],
    status: int,
    reason: str,
    *,
    request_id: str,
    now_ms: int,
) -> dict[str, Any]:
    """Return the event of `$disconnect`; without a reason, one is made of the status."""
    event = _common(record, variables, DISCONNECT, "DISCONNECT", request_id=request_id, now_ms=now_ms)
    event["requestContext"] |= {
        "disconnectStatusCode": status,
        "disconnectReason": reason or REASONS.get(status, ""),
    }
    headers = {"Host": record.domain, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    return {"headers": headers, "multiValueHeaders": {name: [value] for name, value in headers.items()}, **event}


def _common(
    record: ConnectionRecord,
    variables: Mapping[str, str],
    route_key: str,
    kind: str,
    *,
    request_id: str,
    now_ms: int,
) -> dict[str, Any]:
    return {
        **({"stageVariables": dict(variables)} if variables else {}),
        "requestContext": {
            "routeKey": route_key,
            "eventType": kind,
            "extendedRequestId": request_id,
            "requestTime": common_log_time(now_ms),
            "messageDirection": "IN",
            "stage": record.stage,
            "connectedAt": record.connected_ms,
            "requestTimeEpoch": now_ms,
            "identity": {
                "sourceIp": record.source_ip,
                **({"userAgent": record.user_agent} if record.user_agent else {}),
            },
            "requestId": request_id,
            "domainName": record.domain,
            "connectionId": record.id,
            "apiId": record.api_id,
        },
        "isBase64Encoded": False,
    }
