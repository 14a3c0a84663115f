"""`AWS::Serverless::HttpApi`, `AWS::Serverless::Api` and the events of both, as one HTTP API each.

A REST API is served as an HTTP API whose integrations use payload format 1.0, which is the event that REST APIs give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from lambent.template.graph import Resource
from lambent.template.properties import CORS
from lambent.template.shapes import Notes, check
from lambent.template.values import Intrinsic, Map, Place, Seq, is_deferred

if TYPE_CHECKING:
    from lambent.template.expansion import Expanded

IMPLIED_HTTP: Final = "ServerlessHttpApi"
IMPLIED_REST: Final = "ServerlessRestApi"
_REST_TIMEOUT_MS: Final = 29_000
_NOT_REST: Final = "served by an HTTP API with payload format 1.0: same events, no API keys, models or stages' caches"


class ApiExpansion:
    """Collects routes, then adds the APIs that they belong to."""

    def __init__(
        self, resources: Mapping[str, Resource], expanded: Expanded, notes: Notes, common: Mapping[str, Map]
    ) -> None:
        self._declared = {
            each.logical_id: each
            for each in resources.values()
            if each.type in ("AWS::Serverless::HttpApi", "AWS::Serverless::Api")
        }
        self._expanded = expanded
        self._notes = notes
        self._implied: dict[str, Resource] = {}
        self._seen: dict[tuple[str, str], str] = {}
        self._common = common

    def http_route(self, logical_id: str, event: Map, target: Any, origin: Resource, place: Place) -> None:
        """Add the route of an HttpApi event."""
        api = self._api(event.get("ApiId"), IMPLIED_HTTP, "AWS::Serverless::HttpApi", origin, place.at(event, "ApiId"))
        path, method = event.get("Path"), event.get("Method")
        if (path is None) != (method is None):
            raise place.error("takes Path and Method together, or neither for $default")
        version = str(event.get("PayloadFormatVersion", "2.0"))
        self._route(logical_id, api, path, method, version, event.get("TimeoutInMillis"), target, origin, place)

    def rest_route(self, logical_id: str, event: Map, target: Any, origin: Resource, place: Place) -> None:
        """Add the route of an Api event."""
        api = self._api(
            event.get("RestApiId"), IMPLIED_REST, "AWS::Serverless::Api", origin, place.at(event, "RestApiId")
        )
        timeout_ms = event.get("TimeoutInMillis", _REST_TIMEOUT_MS)
        self._route(logical_id, api, event["Path"], event["Method"], "1.0", timeout_ms, target, origin, place)

    def expand(self) -> None:
        """Add every API, declared or implied, with its stage."""
        for resource in (*self._declared.values(), *self._implied.values()):
            if resource.type == "AWS::Serverless::HttpApi":
                self._http_api(resource)
            else:
                self._rest_api(resource)

    def _api(self, given: Any, implied: str, type: str, origin: Resource, place: Place) -> Any:
        """Return a reference to the API that an event names, or to the one that SAM implies."""
        if given is None:
            if implied in self._declared:
                raise place.error(f"the name {implied} is that of the API which events without one share")
            if implied not in self._implied:
                properties = Map(self._common.get(type, Map()), line=origin.place.line)
                if implied == IMPLIED_REST:
                    properties.setdefault("StageName", "Prod")
                self._implied[implied] = Resource(implied, type, properties, Place(implied, origin.place.line))
            return Intrinsic.ref(implied, place.line)
        named = given.argument if isinstance(given, Intrinsic) and given.name == "Ref" else None
        if named in self._declared and self._declared[named].type != type:
            raise place.error(f"{named} is an {self._declared[named].type}, which this kind of event cannot use")
        return given

    def _route(
        self,
        logical_id: str,
        api: Any,
        path: Any,
        method: Any,
        version: str,
        timeout_ms: Any,
        target: Any,
        origin: Resource,
        place: Place,
    ) -> None:
        if is_deferred(path) or is_deferred(method):
            raise place.error("Path and Method must be known before anything is deployed")
        key = "$default" if path is None or path == "$default" else f"{_method(str(method))} {path}"
        known = (repr(api.argument) if isinstance(api, Intrinsic) else str(api), key)
        if known in self._seen:
            raise place.error(f"{self._seen[known]} has the route {key!r} already")
        self._seen[known] = logical_id
        integration = Map(
            {
                "ApiId": api,
                "IntegrationType": "AWS_PROXY",
                "IntegrationMethod": "POST",
                "IntegrationUri": target,
                "PayloadFormatVersion": version,
            },
            line=place.line,
        )
        if timeout_ms is not None:
            integration["TimeoutInMillis"] = timeout_ms
        made = self._expanded.add(
            f"{logical_id}Integration", "AWS::ApiGatewayV2::Integration", integration, origin, place=place
        )
        route = Map({"ApiId": api, "RouteKey": key, "Target": Intrinsic.join("integrations/", made)}, line=place.line)
        self._expanded.add(f"{logical_id}Route", "AWS::ApiGatewayV2::Route", route, origin, place=place)

    def _http_api(self, resource: Resource) -> None:
        given = resource.properties
        api = Map({"ProtocolType": "HTTP"}, line=given.line)
        api |= {key: given[key] for key in ("Name", "Description", "DisableExecuteApiEndpoint", "Tags") if key in given}
        cors = given.get("CorsConfiguration")
        if cors is not None and cors is not False:
            place = Place(f"{resource.logical_id}.Properties").at(given, "CorsConfiguration")
            api["CorsConfiguration"] = (
                Map({"AllowOrigins": Seq(["*"]), "AllowHeaders": Seq(["*"]), "AllowMethods": Seq(["*"])})
                if cors is True or cors == "true"
                else check(cors, CORS.shape, place, self._notes)
            )
        self._add(resource, api, given.get("StageName", "$default"), given.get("StageVariables"))

    def _rest_api(self, resource: Resource) -> None:
        given = resource.properties
        self._notes(resource.place, _NOT_REST)
        api = Map({"ProtocolType": "HTTP"}, line=given.line)
        api |= {key: given[key] for key in ("Name", "Description", "Tags") if key in given}
        if given.get("Cors") is not None:
            api["CorsConfiguration"] = _rest_cors(
                given["Cors"], Place(f"{resource.logical_id}.Properties").at(given, "Cors")
            )
        self._add(resource, api, given["StageName"], given.get("Variables"))

    def _add(self, resource: Resource, api: Map, stage: Any, variables: Any) -> None:
        if not isinstance(stage, str):
            raise resource.place.error("StageName must be known before anything is deployed")
        made = self._expanded.add(resource.logical_id, "AWS::ApiGatewayV2::Api", api, resource)
        suffix = "ApiGatewayDefaultStage" if stage == "$default" else f"{stage}Stage"
        properties = Map({"ApiId": made, "StageName": stage, "AutoDeploy": True}, line=resource.place.line)
        if variables is not None:
            properties["StageVariables"] = variables
        self._expanded.add(f"{resource.logical_id}{suffix}", "AWS::ApiGatewayV2::Stage", properties, resource)
        self._expanded.parts[resource.logical_id, "Stage"] = (f"{resource.logical_id}{suffix}", None)


def _method(text: str) -> str:
    return "ANY" if text.lower() in ("any", "x-amazon-apigateway-any-method") else text.upper()


def _rest_cors(cors: Any, place: Place) -> Map:
    """Return a REST API's CORS setting, texts with quotes in them, as an HTTP API's."""

    def listed(value: Any) -> Seq:
        if not isinstance(value, str):
            raise place.error("must be text with quotes in it, such as \"'*'\"")
        return Seq([part.strip() for part in value.strip().strip("'").split(",") if part.strip()])

    if not isinstance(cors, Map):
        return Map({"AllowOrigins": listed(cors), "AllowHeaders": Seq(["*"]), "AllowMethods": Seq(["*"])})
    found = Map()
    for key, value in cors.items():
        where = place.at(cors, key)
        if key == "AllowOrigin":
            found["AllowOrigins"] = listed(value)
        elif key in ("AllowHeaders", "AllowMethods"):
            found[key] = listed(value)
        elif key == "MaxAge":
            text = str(value).strip("'")
            if not text.isdecimal():
                raise where.error("must be a number of seconds")
            found[key] = int(text)
        elif key == "AllowCredentials":
            found[key] = str(value).lower() == "true"
        else:
            raise where.error("is not a property that is known here")
    return found
