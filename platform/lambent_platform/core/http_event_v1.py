"""HTTP into a function: API Gateway's payload format 1.0, as HTTP APIs use it.

Source: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lambent_platform.core.http_event import (
    HttpRequest,
    Place,
    clean,
    common_log_time,
    encoded_body,
    query_pairs,
)


def make_event_v1(request: HttpRequest, place: Place, *, request_id: str, trace_id: str, now_ms: int) -> dict[str, Any]:
    """Return the event for a request; what there is none of is null."""
    headers = _grouped(((name, clean(value)) for name, value in request.headers), fold=True)
    plain = {name.lower(): values[-1] for name, values in headers.items()}
    forwarded = ",".join(filter(None, (plain.get("x-forwarded-for", ""), request.source_ip)))
    own = {
        "X-Amzn-Trace-Id": trace_id,
        "X-Forwarded-For": forwarded,
        "X-Forwarded-Port": request.port,
        "X-Forwarded-Proto": request.scheme,
    }
    named = {name.lower() for name in own}
    headers = {name: values for name, values in headers.items() if name.lower() not in named}
    headers |= {name: [value] for name, value in own.items()}
    query = _grouped(query_pairs(request.query))
    path = clean(request.path)
    body, encoded = encoded_body(request.body, plain) if request.body else (None, False)
    return {
        "version": "1.0",
        "resource": place.resource,
        "path": path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "requestContext": {
            "accountId": place.account,
            "apiId": place.api_id,
            "domainName": request.domain,
            "domainPrefix": place.api_id,
            "extendedRequestId": request_id,
            "httpMethod": request.method,
            "identity": _identity(request.source_ip, plain.get("user-agent", "")),
            "path": path,
            "protocol": request.protocol,
            "requestId": request_id,
            "requestTime": common_log_time(now_ms),
            "requestTimeEpoch": now_ms,
            "resourceId": place.route_key,
            "resourcePath": place.resource,
            "stage": place.stage,
        },
        "pathParameters": {name: clean(value) for name, value in place.path_parameters.items()} or None,
        "stageVariables": dict(place.stage_variables) or None,
        "body": body,
        "isBase64Encoded": encoded,
    }


def _identity(source_ip: str, user_agent: str) -> dict[str, Any]:
    """Who calls: an address and a program, since nobody is authenticated."""
    nobody = (
        "accessKey", "accountId", "caller", "cognitoAmr", "cognitoAuthenticationProvider",
        "cognitoAuthenticationType", "cognitoIdentityId", "cognitoIdentityPoolId", "principalOrgId", "user", "userArn",
    )  # fmt: skip
    return {**dict.fromkeys(nobody), "sourceIp": source_ip, "userAgent": user_agent}


def _grouped(pairs: Iterable[tuple[str, str]], *, fold: bool = False) -> dict[str, list[str]]:
    """Collect the values of each name in their order; folded, names that differ in case alone are one, as first met."""
    found: dict[str, list[str]] = {}
    written: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(written.setdefault(name.lower(), name) if fold else name, []).append(value)
    return found
