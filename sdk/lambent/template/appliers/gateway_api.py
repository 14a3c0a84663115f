"""`AWS::ApiGatewayV2::Api`, with its tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lambent.errors import ApiError
from lambent.services import segment
from lambent.template.appliers.base import LOGICAL_TAG, STACK_TAG, Applier, Target, flat, known, owner_of, unflat
from lambent.template.plan import Desired, Existing
from lambent.template.values import Unknown

APIS: Final = "/v2/apis"
MISSING: Final = "NotFoundException"
_PLAIN: Final = ("Name", "Description", "Version", "RouteSelectionExpression", "DisableExecuteApiEndpoint")


class ApiApplier(Applier):
    """HTTP and WebSocket APIs. Their ids are the platform's; one is found again by the stack's tags."""

    fixed = frozenset({"ProtocolType"})
    optional = frozenset({"RouteSelectionExpression", "Version", "DisableExecuteApiEndpoint"})

    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Name, protocol, CORS and tags."""
        settings: dict[str, Any] = {
            "Name": properties.get("Name") or target.name(logical_id, 128),
            "ProtocolType": properties["ProtocolType"],
            "Description": properties.get("Description", ""),
            "CorsConfiguration": known(properties.get("CorsConfiguration", {})),
            **{
                key: properties[key]
                for key in ("Version", "RouteSelectionExpression", "DisableExecuteApiEndpoint")
                if key in properties
            },
            **flat("Tags", target.tags(logical_id, known(properties.get("Tags")))),
        }
        quick = {key: properties[key] for key in ("Target", "RouteKey") if key in properties}
        return Desired({}, settings, payload=quick)

    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Read it."""
        try:
            found = await target.services.rest("apigateway", "GET", f"{APIS}/{segment(identity['ApiId'])}")
        except ApiError as error:
            if error.code == MISSING:
                return None
            raise
        return _existing(found)

    async def find(self, target: Target, logical_id: str, desired: Desired) -> Existing | None:
        """Look for one with the tags of this stack: names of APIs are not unique."""
        async for found in target.services.pages("apigateway", APIS, "items", ("nextToken", "nextToken")):
            tags = found.get("tags", {})
            if tags.get(STACK_TAG) == target.stack and tags.get(LOGICAL_TAG) == logical_id:
                return _existing(found)
        return None

    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Its id is the platform's."""
        name = desired.settings["Name"]
        return {"": Unknown(f"{name}'s id"), "ApiId": Unknown(f"{name}'s id"), "ApiEndpoint": Unknown(f"{name}'s URL")}

    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Make it."""
        settings = desired.settings
        body = {
            "protocolType": settings["ProtocolType"],
            "tags": unflat("Tags", settings),
            **_body(settings),
            **{key[0].lower() + key[1:]: value for key, value in desired.payload.items()},
        }
        return _existing(await target.services.rest("apigateway", "POST", APIS, body))

    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Change it, and its tags."""
        path = f"{APIS}/{segment(existing.identity['ApiId'])}"
        if any(not key.startswith("Tags.") for key in changed):
            await target.services.rest("apigateway", "PATCH", path, _body(desired.settings))
            if "CorsConfiguration" in changed and not desired.settings["CorsConfiguration"]:
                await target.services.rest("apigateway", "DELETE", f"{path}/cors")
        await change_tags(target, f"/apis/{existing.identity['ApiId']}", desired, changed)
        found = await self.read(target, existing.identity)
        if found is None:
            raise ApiError("the API is gone again", code=MISSING, status=404)
        return found

    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Delete it with everything in it."""
        try:
            await target.services.rest("apigateway", "DELETE", f"{APIS}/{segment(identity['ApiId'])}")
        except ApiError as error:
            if error.code != MISSING:
                raise


async def change_tags(target: Target, resource: str, desired: Desired, changed: frozenset[str]) -> None:
    """Set and take away the tags of an API or a stage."""
    wanted = unflat("Tags", desired.settings)
    names = {key.removeprefix("Tags.") for key in changed if key.startswith("Tags.")}
    path = f"/v2/tags/{segment(f'arn:aws:apigateway:{target.environment.region}::{resource}')}"
    if names - set(wanted):
        query = "&".join(f"tagKeys={segment(key)}" for key in sorted(names - set(wanted)))
        await target.services.rest("apigateway", "DELETE", f"{path}?{query}")
    if names & set(wanted):
        await target.services.rest(
            "apigateway", "POST", path, {"tags": {key: wanted[key] for key in names & set(wanted)}}
        )


def _body(settings: Mapping[str, Any]) -> dict[str, Any]:
    body = {key[0].lower() + key[1:]: settings[key] for key in _PLAIN if key in settings}
    cors = settings["CorsConfiguration"]
    if cors:
        body["corsConfiguration"] = {key[0].lower() + key[1:]: value for key, value in cors.items()}
    return body


def _existing(found: Mapping[str, Any]) -> Existing:
    tags = found.get("tags", {})
    settings: dict[str, Any] = {
        "Name": found.get("name", ""),
        "ProtocolType": found.get("protocolType", "HTTP"),
        "Description": found.get("description", ""),
        "Version": found.get("version", ""),
        "RouteSelectionExpression": found.get("routeSelectionExpression", ""),
        "DisableExecuteApiEndpoint": found.get("disableExecuteApiEndpoint", False),
        "CorsConfiguration": {
            key[0].upper() + key[1:]: value
            for key, value in found.get("corsConfiguration", {}).items()
            if value not in (None, [], False, 0)
        },
        **flat("Tags", tags),
    }
    ident = found["apiId"]
    return Existing(
        {"ApiId": ident},
        settings,
        {"": ident, "ApiId": ident, "ApiEndpoint": found.get("apiEndpoint", "")},
        owner_of(tags),
    )
