"""Routes and their responses. Source: API Gateway v2 API reference, `CreateRoute`; Developer Guide, "Routes"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.apis import DEFAULT_ROUTE, HTTP, ROUTES_MAX, ApiRecord, Item
from lambent_platform.core.apis.integrations import find_integration
from lambent_platform.core.apis.problems import bad_request, conflict, limit_reached, not_found, not_served

ID_CHARACTERS: Final = 7
KEY_CHARACTERS_MAX: Final = 1024
METHODS: Final = ("ANY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
TARGET_PREFIX: Final = "integrations/"
_STORED: Final = (
    "ApiKeyRequired",
    "AuthorizationType",
    "ModelSelectionExpression",
    "OperationName",
    "RequestParameters",
    "RouteKey",
    "RouteResponseSelectionExpression",
    "Target",
)
_HTTP_KEY: Final = re.compile(rf"(?:{'|'.join(METHODS)}) (?P<path>/\S*)")
_SEGMENT: Final = re.compile(r"[^{}]*|\{[a-zA-Z0-9._-]+\+?\}")

NewId = Callable[[int], str]


def create_route(record: ApiRecord, params: Mapping[str, Any], *, new_id: NewId) -> tuple[ApiRecord, Item]:
    """Return the API with one route more, and the route.

    Raises:
        ApiError: BadRequestException, ConflictException, NotFoundException, TooManyRequestsException.
    """
    if len(record.routes) >= ROUTES_MAX:
        raise limit_reached("routes", ROUTES_MAX)
    defaults = {"ApiKeyRequired": False, "AuthorizationType": "NONE", "RouteId": new_id(ID_CHARACTERS)}
    return _put(record, {**defaults, **_given(params)})


def update_route(record: ApiRecord, route_id: str, params: Mapping[str, Any]) -> tuple[ApiRecord, Item]:
    """Return the API with one route changed in what was given, and the route.

    Raises:
        ApiError: as `create_route`.
    """
    return _put(record, {**find_route(record, route_id), **_given(params)})


def delete_route(record: ApiRecord, route_id: str) -> ApiRecord:
    """Return the API without a route and its responses.

    Raises:
        ApiError: NotFoundException.
    """
    find_route(record, route_id)
    return replace(
        record,
        routes={k: v for k, v in record.routes.items() if k != route_id},
        responses={k: v for k, v in record.responses.items() if not k.startswith(f"{route_id}/")},
    )


def find_route(record: ApiRecord, route_id: str) -> Item:
    """Return a route.

    Raises:
        ApiError: NotFoundException.
    """
    found = record.routes.get(route_id)
    if found is None:
        raise not_found("Route", route_id)
    return found


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    kind = params.get("AuthorizationType", "NONE")
    if kind != "NONE":
        # Storing it would leave a route open that its owner believes to be closed.
        raise not_served(
            f"AuthorizationType {kind}", "the route would be open to everybody. Use NONE if you want that."
        )
    for name in ("AuthorizerId", "AuthorizationScopes", "ApiKeyRequired"):
        if params.get(name):
            raise not_served(name, "the route would be open to everybody.")
    if params.get("RequestModels"):
        raise not_served("RequestModels", "requests are not validated.")
    return {name: params[name] for name in _STORED if name in params}


def _put(record: ApiRecord, route: Item) -> tuple[ApiRecord, Item]:
    key, route_id = route["RouteKey"], route["RouteId"]
    if record.protocol == HTTP:
        _check_http_key(key)
        if route.get("RouteResponseSelectionExpression"):
            raise bad_request("RouteResponseSelectionExpression is supported only for WebSocket APIs")
    elif not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        raise bad_request(f"RouteKey must have between 1 and {KEY_CHARACTERS_MAX} characters")
    elif route.get("RouteResponseSelectionExpression", "$default") != "$default":
        raise bad_request("RouteResponseSelectionExpression can only be $default")
    if any(other["RouteKey"] == key for known, other in record.routes.items() if known != route_id):
        raise conflict(f"Route with key {key} already exists for this API")
    target = route.get("Target")
    if target is not None:
        if not target.startswith(TARGET_PREFIX):
            raise bad_request(f"Invalid target {target[:128]}: it must be {TARGET_PREFIX}<integration id>")
        find_integration(record, target.removeprefix(TARGET_PREFIX))
    return replace(record, routes={**record.routes, route_id: route}), route


def _check_http_key(key: str) -> None:
    if key == DEFAULT_ROUTE:
        return
    match = _HTTP_KEY.fullmatch(key)
    if match is None or len(key) > KEY_CHARACTERS_MAX:
        raise bad_request(
            "The provided route key is not formatted properly for HTTP protocol. "
            'Format should be "<HTTP METHOD> /<RESOURCE PATH>" or "$default"'
        )
    segments = match["path"][1:].split("/")
    names = [segment for segment in segments if segment.startswith("{")]
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise bad_request(f"Invalid path in route key {key}: a variable is a whole segment, {{name}} or {{name+}}")
    if any(segment.endswith("+}") for segment in segments[:-1]):
        raise bad_request(f"Invalid path in route key {key}: a greedy variable can only be at the end of the path")
    if len({name.strip("{+}") for name in names}) != len(names):
        raise bad_request(f"Invalid path in route key {key}: a variable occurs twice")


def create_response(
    record: ApiRecord, route_id: str, params: Mapping[str, Any], *, new_id: NewId
) -> tuple[ApiRecord, Item]:
    """Return the API with a response more on a route, and the response.

    Raises:
        ApiError: BadRequestException, ConflictException, NotFoundException.
    """
    return put_response(record, route_id, new_id(ID_CHARACTERS), params)


def put_response(
    record: ApiRecord, route_id: str, response_id: str, params: Mapping[str, Any]
) -> tuple[ApiRecord, Item]:
    """Return the API with a response of a route made or changed, and the response.

    Raises:
        ApiError: BadRequestException, ConflictException, NotFoundException.
    """
    find_route(record, route_id)
    if record.protocol == HTTP:
        raise bad_request("Route responses are supported only for WebSocket APIs")
    for name in ("ResponseModels", "ResponseParameters"):
        if params.get(name):
            raise not_served(name, "a function's reply is passed on as it is.")
    item = {
        "RouteResponseId": response_id,
        **record.responses.get(f"{route_id}/{response_id}", {}),
        **{name: params[name] for name in ("RouteResponseKey", "ModelSelectionExpression") if name in params},
    }
    if item["RouteResponseKey"] != "$default":
        raise bad_request("RouteResponseKey can only be $default")
    for key, other in record.responses.items():
        if key.startswith(f"{route_id}/") and other["RouteResponseId"] != response_id:
            raise conflict(f"RouteResponse with key {item['RouteResponseKey']} already exists for this route")
    return replace(record, responses={**record.responses, f"{route_id}/{response_id}": item}), item


def find_response(record: ApiRecord, route_id: str, response_id: str) -> Item:
    """Return a response of a route.

    Raises:
        ApiError: NotFoundException.
    """
    find_route(record, route_id)
    found = record.responses.get(f"{route_id}/{response_id}")
    if found is None:
        raise not_found("RouteResponse", response_id)
    return found


def delete_response(record: ApiRecord, route_id: str, response_id: str) -> ApiRecord:
    """Return the API without a response of a route.

    Raises:
        ApiError: NotFoundException.
    """
    find_response(record, route_id, response_id)
    return replace(record, responses={k: v for k, v in record.responses.items() if k != f"{route_id}/{response_id}"})
