"""From an API to what answers its requests: compiled once for a generation, asked for each request.

Source: API Gateway Developer Guide, "Create routes for HTTP APIs", "Routing API requests": the most specific route
wins: a full match, then variables, then greedy variables, then `$default`; at the same path a method before `ANY`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from lambent_platform.contracts.apis import DEFAULT_ROUTE, DEFAULT_STAGE, HTTP, ApiRecord, Item, function_arn_of
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.apis.routes import TARGET_PREFIX
from lambent_platform.core.apis.selection import Select, compile_expression
from lambent_platform.core.apis.stages import served

_VARIABLE: Final = re.compile(r"\$\{stageVariables\.(\w+)\}")
_ANY: Final = "ANY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route as it is served."""

    key: str
    path: str
    """Of an HTTP route, with its variables; the key itself of any other."""
    function: FunctionRef | None
    """None where it leads to nothing that could be called: it is then answered as a failing integration."""
    payload_format: str = "2.0"
    timeout_s: float = 30.0
    two_way: bool = False
    """Whether what its function returns is sent to the client (WebSocket)."""
    names: tuple[str, ...] = ()
    """Of the variables, in their order."""


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    routes: dict[str, Route] = field(default_factory=dict)
    greedy: dict[str, Route] = field(default_factory=dict)


class RouteTable:
    """The routes of one stage of an HTTP API."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root = _Node()
        self._default: Route | None = None
        for route in routes:
            if route.key == DEFAULT_ROUTE:
                self._default = route
            else:
                self._add(route)

    def _add(self, route: Route) -> None:
        method, _, path = route.key.partition(" ")
        node = self._root
        for segment in path[1:].split("/"):
            if segment.endswith("+}"):
                node.greedy[method] = route
                return
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.children.setdefault(unquote(segment), _Node())
        node.routes[method] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Return the route for a percent-encoded path and the decoded values of its variables."""
        segments = [unquote(segment) if "%" in segment else segment for segment in path[1:].split("/")]
        found = _search(self._root, segments, 0, method, ())
        if found is None:
            return (self._default, {}) if self._default is not None else None
        route, values = found
        return route, dict(zip(route.names, values, strict=True))


def _search(
    node: _Node, segments: Sequence[str], at: int, method: str, values: tuple[str, ...]
) -> tuple[Route, tuple[str, ...]] | None:
    """Look below a node, the most specific way first. Each node is seen at most once."""
    if at == len(segments):
        route = node.routes.get(method) or node.routes.get(_ANY)
        return (route, values) if route is not None else None
    segment = segments[at]
    child = node.children.get(segment)
    if child is not None and (found := _search(child, segments, at + 1, method, values)) is not None:
        return found
    if (
        node.variable is not None
        and segment
        and (found := _search(node.variable, segments, at + 1, method, (*values, segment))) is not None
    ):
        return found
    greedy = node.greedy.get(method) or node.greedy.get(_ANY)
    rest = "/".join(segments[at:]) if greedy is not None else ""
    return (greedy, (*values, rest)) if greedy is not None and rest else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage as it is served."""

    name: str
    variables: Mapping[str, str]
    cors: Mapping[str, Any]
    table: RouteTable
    by_key: Mapping[str, Route]
    select: Select | None
    """Of a WebSocket API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One API as it is served."""

    id: str
    account: str
    region: str
    protocol: str
    generation: int
    stages: Mapping[str, Stage]
    """Those on which something is deployed."""

    def stage_of(self, path: str) -> tuple[Stage, str] | None:
        """Return the stage that a percent-encoded path names, or the default one, and the path within it."""
        first, slash, rest = path[1:].partition("/")
        stage = self.stages.get(unquote(first)) if first else None
        if stage is not None and stage.name != DEFAULT_STAGE:
            return stage, f"{slash}{rest}" or "/"
        default = self.stages.get(DEFAULT_STAGE)
        return (default, path) if default is not None else None


def compile_site(record: ApiRecord) -> Site:
    """Make what serves an API of what is stored of it."""
    stages = {}
    for name, stage in record.stages.items():
        deployed = served(record, name)
        if deployed is not None and not record.settings.get("DisableExecuteApiEndpoint"):
            stages[name] = _stage(deployed, stage)
    return Site(
        id=record.id,
        account=record.account,
        region=record.region,
        protocol=record.protocol,
        generation=record.generation,
        stages=stages,
    )


def _stage(record: ApiRecord, stage: Item) -> Stage:
    variables = stage["StageVariables"]
    routes = [_route(record, route, variables) for route in record.routes.values()]
    http = record.protocol == HTTP
    return Stage(
        name=stage["StageName"],
        variables=variables,
        cors=record.settings.get("CorsConfiguration", {}),
        table=RouteTable(routes if http else ()),
        by_key={route.key: route for route in routes},
        select=None if http else compile_expression(record.settings["RouteSelectionExpression"]),
    )


def _route(record: ApiRecord, route: Item, variables: Mapping[str, str]) -> Route:
    key = route["RouteKey"]
    path = key.partition(" ")[2] if record.protocol == HTTP and key != DEFAULT_ROUTE else key
    integration = record.integrations.get(route.get("Target", "").removeprefix(TARGET_PREFIX))
    responses = any(one.startswith(f"{route['RouteId']}/") for one in record.responses)
    return Route(
        key=key,
        path=path,
        function=_function(record, integration, variables) if integration else None,
        payload_format=integration["PayloadFormatVersion"] if integration else "2.0",
        timeout_s=integration["TimeoutInMillis"] / 1000 if integration else 0.0,
        two_way=responses and bool(route.get("RouteResponseSelectionExpression")),
        names=tuple(part.strip("{+}") for part in path.split("/") if part.startswith("{")),
    )


def _function(record: ApiRecord, integration: Item, variables: Mapping[str, str]) -> FunctionRef | None:
    arn = _VARIABLE.sub(lambda match: variables.get(match[1], ""), function_arn_of(integration["IntegrationUri"]))
    return FunctionRef.parse(arn, account=record.account, region=record.region)
