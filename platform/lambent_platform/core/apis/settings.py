"""An API's own settings, and what quick create makes. Source: API Gateway v2 API reference, `CreateApi`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.apis import DEFAULT_ROUTE, DEFAULT_STAGE, HTTP, WEBSOCKET, ApiRecord
from lambent_platform.core.apis.integrations import create_integration, update_integration
from lambent_platform.core.apis.problems import bad_request
from lambent_platform.core.apis.routes import create_route, update_route
from lambent_platform.core.apis.selection import InvalidExpression, compile_expression
from lambent_platform.core.apis.stages import auto_deployed, create_stage
from lambent_platform.core.apis.tags import check_tags

NAME_CHARACTERS_MAX: Final = 128
HTTP_SELECTION: Final = "${request.method} ${request.path}"
KEY_SELECTION: Final = "$request.header.x-api-key"
_MEMBERS: Final = (
    "ApiKeySelectionExpression",
    "CorsConfiguration",
    "Description",
    "DisableExecuteApiEndpoint",
    "DisableSchemaValidation",
    "IpAddressType",
    "Name",
    "RouteSelectionExpression",
    "Version",
)
_QUICK: Final = ("Target", "RouteKey", "CredentialsArn")
_ORIGIN: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", re.IGNORECASE)
CORS_MAX_AGE_S: Final = 86_400

NewId = Callable[[int], str]


def create_api(
    params: Mapping[str, Any], *, api_id: str, account: str, region: str, now: str, new_id: NewId
) -> ApiRecord:
    """Return a new API; with `Target`, one that has a route, an integration and a stage.

    Raises:
        ApiError: BadRequestException.
    """
    protocol = params["ProtocolType"]
    if protocol == WEBSOCKET and not params.get("RouteSelectionExpression"):
        raise bad_request("RouteSelectionExpression is a required parameter for WebSocket APIs")
    check_tags(params.get("Tags", {}))
    settings = {
        "ApiKeySelectionExpression": KEY_SELECTION,
        "CreatedDate": now,
        "DisableExecuteApiEndpoint": False,
        "IpAddressType": "ipv4",
        "ProtocolType": protocol,
        "RouteSelectionExpression": HTTP_SELECTION,
        "Tags": params.get("Tags", {}),
        **_given(params, protocol),
    }
    record = ApiRecord(id=api_id, account=account, region=region, settings=settings)
    target = params.get("Target")
    if target is None:
        if "RouteKey" in params or "CredentialsArn" in params:
            raise bad_request("RouteKey and CredentialsArn can only be given together with Target")
        return record
    record, stage = create_stage(record, {"StageName": DEFAULT_STAGE, "AutoDeploy": True}, now=now, new_id=new_id)
    record, integration = create_integration(
        record,
        {
            "IntegrationType": "AWS_PROXY" if target.startswith("arn:") else "HTTP_PROXY",
            "IntegrationUri": target,
            "PayloadFormatVersion": "2.0",
            **{name: params[name] for name in ("CredentialsArn",) if name in params},
        },
        new_id=new_id,
    )
    wanted = {
        "RouteKey": params.get("RouteKey", DEFAULT_ROUTE),
        "Target": f"integrations/{integration['IntegrationId']}",
    }
    record, route = create_route(record, wanted, new_id=new_id)
    managed = {"ApiGatewayManaged": True}
    record = replace(
        record,
        stages={DEFAULT_STAGE: {**stage, **managed}},
        integrations={integration["IntegrationId"]: {**integration, **managed}},
        routes={route["RouteId"]: {**route, **managed}},
    )
    return auto_deployed(record, now=now, new_id=new_id)


def update_api(record: ApiRecord, params: Mapping[str, Any]) -> ApiRecord:
    """Return the API with what was given changed; `Target`, `RouteKey` and `CredentialsArn` are of quick create.

    Raises:
        ApiError: BadRequestException, ConflictException.
    """
    after = replace(record, settings={**record.settings, **_given(params, record.protocol)})
    if not any(name in params for name in _QUICK):
        return after
    integration = _managed(record.integrations)
    route = _managed(record.routes)
    if integration is None or route is None:
        raise bad_request("Target, RouteKey and CredentialsArn can only be changed on an API that was quick created")
    changed = {"IntegrationUri": params.get("Target"), "CredentialsArn": params.get("CredentialsArn")}
    after, _ = update_integration(after, integration, {k: v for k, v in changed.items() if v is not None}, managed=True)
    if "RouteKey" in params:
        after, _ = update_route(after, route, {"RouteKey": params["RouteKey"]})
    return after


def without_cors(record: ApiRecord) -> ApiRecord:
    """Return the API without its cross-origin rules."""
    return replace(record, settings={k: v for k, v in record.settings.items() if k != "CorsConfiguration"})


def _managed(items: Mapping[str, Mapping[str, Any]]) -> str | None:
    return next((key for key, item in items.items() if item.get("ApiGatewayManaged")), None)


def _given(params: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    given = {name: params[name] for name in _MEMBERS if name in params}
    if "Name" in given and not 1 <= len(given["Name"]) <= NAME_CHARACTERS_MAX:
        raise bad_request(f"Name must have between 1 and {NAME_CHARACTERS_MAX} characters")
    if "RouteSelectionExpression" in given:
        _check_selection(given["RouteSelectionExpression"], protocol)
    if protocol == WEBSOCKET:
        for name in ("CorsConfiguration", *_QUICK):
            if name in params:
                raise bad_request(f"{name} is supported only for HTTP APIs")
    if "CorsConfiguration" in given:
        _check_cors(given["CorsConfiguration"])
    return given


def _check_selection(expression: str, protocol: str) -> None:
    if protocol == HTTP:
        if expression != HTTP_SELECTION:
            raise bad_request(f"RouteSelectionExpression of an HTTP API must be {HTTP_SELECTION}")
        return
    try:
        compile_expression(expression)
    except InvalidExpression as error:
        raise bad_request(f"Invalid RouteSelectionExpression: {error}") from error


def _check_cors(cors: Mapping[str, Any]) -> None:
    for origin in cors.get("AllowOrigins", ()):
        if not _ORIGIN.fullmatch(origin):
            raise bad_request(f"Invalid origin {origin}: it must be * or of the form scheme://host[:port]")
    if cors.get("AllowCredentials"):
        for name in ("AllowOrigins", "AllowMethods", "AllowHeaders", "ExposeHeaders"):
            if "*" in cors.get(name, ()) and name == "AllowOrigins":
                raise bad_request("AllowOrigins cannot contain * when AllowCredentials is true")
    if not -1 <= cors.get("MaxAge", 0) <= CORS_MAX_AGE_S:
        raise bad_request(f"MaxAge must be between -1 and {CORS_MAX_AGE_S}")
