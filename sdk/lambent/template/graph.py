"""Resources as the platform's APIs know them, what they refer to, and the order in which they can be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lambent.template.values import Intrinsic, Map, Place

DEPLOYED: Final = "*"
"""An attribute of functions that no template can name: it is another after anything of them changed, so that aliases
which follow a function are changed as well.
"""

ATTRIBUTES: Final[Mapping[str, frozenset[str]]] = {
    "AWS::Lambda::Function": frozenset({"Arn", DEPLOYED}),
    "AWS::Lambda::Alias": frozenset({"AliasArn", "VersionArn"}),
    "AWS::Lambda::Version": frozenset({"Version", "FunctionArn"}),
    "AWS::Lambda::Url": frozenset({"FunctionUrl", "FunctionArn"}),
    "AWS::Lambda::EventInvokeConfig": frozenset(),
    "AWS::Lambda::EventSourceMapping": frozenset({"Id", "EventSourceMappingArn"}),
    "AWS::SQS::Queue": frozenset({"Arn", "QueueName", "QueueUrl"}),
    "AWS::Scheduler::Schedule": frozenset({"Arn"}),
    "AWS::Scheduler::ScheduleGroup": frozenset({"Arn"}),
    "AWS::Events::Rule": frozenset({"Arn"}),
    "AWS::ApiGatewayV2::Api": frozenset({"ApiId", "ApiEndpoint"}),
    "AWS::ApiGatewayV2::Integration": frozenset({"IntegrationId"}),
    "AWS::ApiGatewayV2::Route": frozenset({"RouteId"}),
    "AWS::ApiGatewayV2::Stage": frozenset(),
    "AWS::ApiGatewayV2::Deployment": frozenset({"DeploymentId"}),
    "AWS::IAM::Role": frozenset({"Arn", "RoleId"}),
    "AWS::IAM::Policy": frozenset({"Id"}),
    "AWS::IAM::ManagedPolicy": frozenset({"PolicyArn"}),
    "AWS::Lambda::Permission": frozenset({"Id"}),
    "AWS::SQS::QueuePolicy": frozenset({"Id"}),
    "AWS::Logs::LogGroup": frozenset({"Arn"}),
}
"""What `Fn::GetAtt` can ask of each type; `Ref` can be asked of all."""


@dataclass(slots=True)
class Resource:
    """One resource of one AWS API; `properties` may hold functions that wait for others."""

    logical_id: str
    type: str
    properties: Map
    place: Place
    depends_on: set[str] = field(default_factory=set)
    retain: bool = False
    """DeletionPolicy: Retain."""


def references(value: Any) -> Iterator[tuple[str, str | None, int]]:
    """Yield what a tree refers to: logical id, attribute (None for `Ref`), line."""
    if isinstance(value, Intrinsic):
        if value.name == "Ref":
            yield str(value.argument), None, value.line
        elif value.name == "Fn::GetAtt":
            yield str(value.argument[0]), str(value.argument[1]), value.line
        else:
            yield from references(value.argument)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


class Names:
    """Finds the resource behind a reference, those included that SAM lets people say (`Function.Alias`)."""

    def __init__(self, types: Mapping[str, str], parts: Mapping[tuple[str, str], tuple[str, str | None]]) -> None:
        self._types = types
        self._parts = parts

    def find(self, logical_id: str, attribute: str | None, place: Place) -> tuple[str, str | None]:
        """Return (logical id, attribute) of the resource itself.

        Raises:
            TemplateError: there is no such resource, or it has no such attribute.
        """
        name, dot, part = logical_id.partition(".")
        if dot and attribute is None:
            attribute = part
        if attribute is not None and (name, attribute) in self._parts:
            return self._parts[name, attribute]
        if dot or name not in self._types:
            raise place.error(f"refers to {logical_id}, and there is no such parameter or resource")
        known = ATTRIBUTES[self._types[name]]
        if attribute is not None and attribute not in known:
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise place.error(f"{name} ({self._types[name]}) has no attribute {attribute} here; {has}")
        return name, attribute


def in_order(resources: Mapping[str, Resource], names: Names) -> tuple[list[Resource], dict[str, list[str]]]:
    """Return the resources with every one after those that it needs, and what each needs.

    Raises:
        TemplateError: a reference leads nowhere, or resources need each other in a circle.
    """
    needs: dict[str, list[str]] = {}
    for resource in resources.values():
        found: dict[str, None] = {}
        for logical_id, attribute, line in references(resource.properties):
            place = Place(resource.place.path, line or resource.place.line)
            found[names.find(logical_id, attribute, place)[0]] = None
        for logical_id in sorted(resource.depends_on):
            found[names.find(logical_id, None, resource.place)[0]] = None
        needs[resource.logical_id] = [each for each in found if each in resources]
    ordered: list[Resource] = []
    state: dict[str, int] = {}
    # Without recursion: a chain of references may be longer than the interpreter's stack.
    for start in resources:
        path: list[tuple[str, int]] = [(start, 0)] if start not in state else []
        while path:
            current, at = path.pop()
            state[current] = 1
            if at < len(needs[current]):
                path.append((current, at + 1))
                following = needs[current][at]
                if state.get(following) == 1:
                    circle = [name for name, _ in path]
                    circle = [*circle[circle.index(following) :], following]
                    raise resources[following].place.error(f"resources need each other: {' → '.join(circle)}")
                if following not in state:
                    path.append((following, 0))
            else:
                state[current] = 2
                ordered.append(resources[current])
    return ordered, needs
