"""Integrations: what a route leads to. Source: API Gateway v2 API reference, `CreateIntegration`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.apis import (
    HTTP,
    INTEGRATIONS_MAX,
    TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
    ApiRecord,
    Item,
    function_arn_of,
)
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.apis.problems import bad_request, conflict, limit_reached, not_found, not_served

ID_CHARACTERS: Final = 7
_STORED: Final = (
    "ConnectionType",
    "CredentialsArn",
    "Description",
    "IntegrationMethod",
    "IntegrationType",
    "IntegrationUri",
    "PassthroughBehavior",
    "PayloadFormatVersion",
    "TimeoutInMillis",
)
_NOT_SERVED: Final = (
    "ConnectionId",
    "ContentHandlingStrategy",
    "IntegrationSubtype",
    "RequestParameters",
    "RequestTemplates",
    "ResponseParameters",
    "TemplateSelectionExpression",
    "TlsConfig",
)
_VARIABLE: Final = re.compile(r"\$\{stageVariables\.\w+\}")

NewId = Callable[[int], str]


def create_integration(record: ApiRecord, params: Mapping[str, Any], *, new_id: NewId) -> tuple[ApiRecord, Item]:
    """Return the API with one integration more, and the integration.

    Raises:
        ApiError: BadRequestException, TooManyRequestsException.
    """
    if len(record.integrations) >= INTEGRATIONS_MAX:
        raise limit_reached("integrations", INTEGRATIONS_MAX)
    made = {
        "ConnectionType": "INTERNET",
        "IntegrationMethod": "POST",
        "TimeoutInMillis": TIMEOUT_MS_MAX[record.protocol],
        **({} if record.protocol == HTTP else {"PassthroughBehavior": "WHEN_NO_MATCH", "PayloadFormatVersion": "1.0"}),
        **_given(params),
        "IntegrationId": new_id(ID_CHARACTERS),
    }
    _check(made, record.protocol)
    return replace(record, integrations={**record.integrations, made["IntegrationId"]: made}), made


def update_integration(
    record: ApiRecord, integration_id: str, params: Mapping[str, Any], *, managed: bool = False
) -> tuple[ApiRecord, Item]:
    """Return the API with one integration changed in what was given, and the integration.

    Raises:
        ApiError: BadRequestException, NotFoundException.
    """
    before = find_integration(record, integration_id)
    if before.get("ApiGatewayManaged") and not managed:
        raise bad_request("An integration that quick create made can only be changed through UpdateApi")
    made = {**before, **_given(params)}
    _check(made, record.protocol)
    return replace(record, integrations={**record.integrations, integration_id: made}), made


def delete_integration(record: ApiRecord, integration_id: str) -> ApiRecord:
    """Return the API without an integration.

    Raises:
        ApiError: NotFoundException; ConflictException where a route leads to it.
    """
    find_integration(record, integration_id)
    users = [route for route in record.routes.values() if route.get("Target") == f"integrations/{integration_id}"]
    if users:
        ids, keys = (", ".join(str(route[name]) for route in users) for name in ("RouteId", "RouteKey"))
        raise conflict(
            f"Cannot delete Integration '{integration_id}' due to routes {ids} with keys '{keys}' referencing this "
            "integration. Remove the references before deleting the Integration."
        )
    return replace(record, integrations={k: v for k, v in record.integrations.items() if k != integration_id})


def find_integration(record: ApiRecord, integration_id: str) -> Item:
    """Return an integration.

    Raises:
        ApiError: NotFoundException.
    """
    found = record.integrations.get(integration_id)
    if found is None:
        raise not_found("Integration", integration_id)
    return found


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    for name in _NOT_SERVED:
        if params.get(name):
            raise not_served(name, "an integration passes requests to its function as they are.")
    return {name: params[name] for name in _STORED if name in params}


def _check(item: Mapping[str, Any], protocol: str) -> None:
    if item["IntegrationType"] != "AWS_PROXY":
        raise not_served(f"IntegrationType {item['IntegrationType']}", "use AWS_PROXY with a function.")
    if item["ConnectionType"] != "INTERNET":
        raise not_served(f"ConnectionType {item['ConnectionType']}", "use INTERNET.")
    uri = item.get("IntegrationUri")
    if not uri:
        raise bad_request("IntegrationUri is a required parameter for integration")
    # A stage variable in the ARN is filled in for each stage when it is called.
    if FunctionRef.parse(_VARIABLE.sub("x", function_arn_of(uri))) is None or not uri.startswith("arn:"):
        raise bad_request(f"Invalid function ARN or invalid uri: {uri[:512]}")
    if "PayloadFormatVersion" not in item:
        raise bad_request("PayloadFormatVersion is a required parameter for integration")
    versions = ("1.0", "2.0") if protocol == HTTP else ("1.0",)
    if item["PayloadFormatVersion"] not in versions:
        raise bad_request(f"PayloadFormatVersion must be {' or '.join(versions)} for this integration")
    most = TIMEOUT_MS_MAX[protocol]
    if not TIMEOUT_MS_MIN <= item["TimeoutInMillis"] <= most:
        raise bad_request(f"Timeout should be between {TIMEOUT_MS_MIN} ms and {most} ms")
