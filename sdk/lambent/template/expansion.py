"""`AWS::Serverless::*` as the resources that it stands for.

Source: AWS SAM Developer Guide, "Generated CloudFormation resources" for what comes of what, and under which name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lambent.template.expansion_apis import ApiExpansion
from lambent.template.graph import DEPLOYED, Resource
from lambent.template.properties import EVENT_INVOKE, REFUSED_EVENTS, SAM_EVENTS
from lambent.template.shapes import Notes, check
from lambent.template.values import Intrinsic, Map, Place, Seq, is_deferred

_COPIED: Final = (
    "FunctionName", "Description", "Runtime", "Handler", "MemorySize", "Timeout", "EphemeralStorage", "Architectures",
    "Environment", "ReservedConcurrentExecutions", "LoggingConfig", "RecursiveLoop", "Tags",
)  # fmt: skip
_MAPPED: Final = (
    "BatchSize", "Enabled", "FilterCriteria", "FunctionResponseTypes", "MaximumBatchingWindowInSeconds",
    "ScalingConfig",
)  # fmt: skip
_SCHEDULED: Final = (
    "Name", "GroupName", "Description", "ScheduleExpression", "ScheduleExpressionTimezone", "StartDate", "EndDate",
    "State",
)  # fmt: skip


@dataclass(slots=True)
class Expanded:
    """What came of a template's resources."""

    resources: dict[str, Resource] = field(default_factory=dict)
    parts: dict[tuple[str, str], tuple[str, str | None]] = field(default_factory=dict)
    """What SAM lets people refer to: (`Function`, `Alias`) → the resource that is meant."""
    implied: dict[str, str] = field(default_factory=dict)
    """Resources that SAM makes and that are nothing here: logical id → type."""

    def add(
        self, logical_id: str, type: str, properties: Mapping[str, Any], origin: Resource, *, place: Place | None = None
    ) -> Intrinsic:
        """Add one resource, and return a reference to it.

        Raises:
            TemplateError: the template has another of this name.
        """
        where = place or origin.place
        if logical_id in self.resources:
            raise where.error(f"makes a resource {logical_id}, and the template has another one of this name")
        values = properties if isinstance(properties, Map) else Map(properties, line=where.line)
        self.resources[logical_id] = Resource(
            logical_id, type, values, where, set(origin.depends_on), retain=origin.retain
        )
        return Intrinsic.ref(logical_id, where.line)


def expand(resources: Mapping[str, Resource], notes: Notes, common: Mapping[str, Map] | None = None) -> Expanded:
    """Return the resources of AWS's APIs behind a template's, whose properties are checked already.

    `common` is what `Globals` says of each type, for the APIs that nobody declares.

    Raises:
        TemplateError: an event or something else in them is not served or makes no sense.
    """
    expanded = Expanded()
    functions = [each for each in resources.values() if each.type == "AWS::Serverless::Function"]
    apis = ApiExpansion(resources, expanded, notes, common or {})
    for resource in resources.values():
        if resource.type.startswith("AWS::Serverless::"):
            continue
        expanded.add(resource.logical_id, resource.type, resource.properties, resource)
    for resource in functions:
        _Function(resource, expanded, apis, notes).expand()
    apis.expand()
    return expanded


class _Function:
    """One `AWS::Serverless::Function`."""

    def __init__(self, resource: Resource, expanded: Expanded, apis: ApiExpansion, notes: Notes) -> None:
        self._resource = resource
        self._id = resource.logical_id
        self._properties = resource.properties
        self._expanded = expanded
        self._apis = apis
        self._notes = notes
        self._place = Place(f"{self._id}.Properties", resource.place.line)
        self._target: Any = Intrinsic.attribute(self._id, "Arn", resource.place.line)

    def expand(self) -> None:
        """Add the function, its version and alias, its URL, and its events."""
        properties = self._properties
        if "Role" not in properties:
            self._expanded.implied[f"{self._id}Role"] = "AWS::IAM::Role"
        function = Map({key: properties[key] for key in _COPIED if key in properties}, line=properties.line)
        function.lines = dict(properties.lines)
        function.put("Code", self._code(), properties.lines.get("CodeUri", properties.line))
        if "DeadLetterQueue" in properties:
            queue = properties["DeadLetterQueue"]
            self._only(queue.get("Type", "SQS"), ("SQS",), self._place.at(properties, "DeadLetterQueue"))
            function["DeadLetterConfig"] = Map({"TargetArn": queue["TargetArn"]})
        self._expanded.add(self._id, "AWS::Lambda::Function", function, self._resource)
        qualifier = self._alias()
        self._url(qualifier)
        self._event_invoke_config(qualifier)
        handlers: Mapping[str, Callable[[str, Map, Place], None]] = {
            "SQS": self._queue_event,
            "Schedule": self._schedule_event,
            "ScheduleV2": self._schedule_v2_event,
            "EventBridgeRule": self._rule_event,
            "CloudWatchEvent": self._rule_event,
            "HttpApi": self._http_api_event,
            "Api": self._api_event,
        }
        events = properties.get("Events", Map())
        for name, event in events.items():
            place = self._place.at(properties, "Events").at(events, name)
            kind = event["Type"]
            if kind not in handlers:
                raise place.at(event, "Type").error(REFUSED_EVENTS.get(str(kind), f"{kind} events are not served here"))
            where = place.at(event, "Properties")
            given = event.get("Properties", Map(line=place.line))
            handlers[kind](name, check(given, SAM_EVENTS[kind], where, self._notes), where)

    def _code(self) -> Any:
        properties = self._properties
        if "InlineCode" in properties:
            if "CodeUri" in properties:
                raise self._place.at(properties, "InlineCode").error("cannot go together with CodeUri")
            return Map({"ZipFile": properties["InlineCode"]})
        uri = properties.get("CodeUri")
        if uri is None:
            raise self._place.error("has no CodeUri and no InlineCode")
        if isinstance(uri, Map):
            return Map({"S3Bucket": uri["Bucket"], "S3Key": uri["Key"]})
        if is_deferred(uri):
            raise self._place.at(properties, "CodeUri").error("must be known before anything is deployed")
        return uri

    def _alias(self) -> str | None:
        properties = self._properties
        if "AutoPublishAlias" not in properties:
            return None
        name = properties["AutoPublishAlias"]
        place = self._place.at(properties, "AutoPublishAlias")
        if not isinstance(name, str):
            raise place.error("must be known before anything is deployed")
        logical_id = f"{self._id}Alias{name}"
        alias = self._expanded.add(
            logical_id,
            "AWS::Lambda::Alias",
            {
                "FunctionName": Intrinsic.ref(self._id),
                "Name": name,
                "Publish": Intrinsic.attribute(self._id, DEPLOYED),
                "Description": properties.get("VersionDescription", ""),
            },
            self._resource,
            place=place,
        )
        self._expanded.parts[self._id, "Alias"] = (logical_id, None)
        self._expanded.parts[self._id, "Version"] = (logical_id, "VersionArn")
        self._target = alias
        return name

    def _url(self, qualifier: str | None) -> None:
        if "FunctionUrlConfig" not in self._properties:
            return
        config = Map(self._properties["FunctionUrlConfig"])
        config["TargetFunctionArn"] = Intrinsic.ref(self._id)
        if qualifier is not None:
            config["Qualifier"] = qualifier
            self._after_alias(config)
        place = self._place.at(self._properties, "FunctionUrlConfig")
        self._expanded.add(f"{self._id}Url", "AWS::Lambda::Url", config, self._resource, place=place)

    def _after_alias(self, config: Map) -> None:
        # The alias must be there first; only a reference says so.
        config["After"] = self._target

    def _event_invoke_config(self, qualifier: str | None) -> None:
        if "EventInvokeConfig" not in self._properties:
            return
        given = self._properties["EventInvokeConfig"]
        place = self._place.at(self._properties, "EventInvokeConfig")
        config = Map({key: given[key] for key in EVENT_INVOKE if key in given})
        config["FunctionName"] = Intrinsic.ref(self._id)
        config["Qualifier"] = qualifier or "$LATEST"
        if qualifier is not None:
            self._after_alias(config)
        destinations = Map()
        for side, destination in given.get("DestinationConfig", Map()).items():
            where = place.at(given, "DestinationConfig").at(given["DestinationConfig"], side)
            self._only(destination.get("Type", "SQS"), ("SQS", "Lambda"), where)
            arn = destination.get("Destination")
            if arn is None:
                if destination.get("Type") != "SQS":
                    raise where.error("has no Destination")
                made = f"{self._id}EventInvokeConfig{side}Queue"
                self._expanded.add(made, "AWS::SQS::Queue", {}, self._resource, place=where)
                arn = Intrinsic.attribute(made, "Arn")
            destinations[side] = Map({"Destination": arn})
        config["DestinationConfig"] = destinations
        self._expanded.add(
            f"{self._id}EventInvokeConfig", "AWS::Lambda::EventInvokeConfig", config, self._resource, place=place
        )

    def _queue_event(self, name: str, event: Map, place: Place) -> None:
        mapping = Map({key: event[key] for key in _MAPPED if key in event}, line=place.line)
        mapping["EventSourceArn"] = event["Queue"]
        mapping["FunctionName"] = self._target
        self._expanded.add(f"{self._id}{name}", "AWS::Lambda::EventSourceMapping", mapping, self._resource, place=place)

    def _schedule_event(self, name: str, event: Map, place: Place) -> None:
        self._rule(name, event, place, {"ScheduleExpression": event["Schedule"]})

    def _rule_event(self, name: str, event: Map, place: Place) -> None:
        self._rule(name, event, place, {"EventPattern": event["Pattern"]})

    def _rule(self, name: str, event: Map, place: Place, when: Mapping[str, Any]) -> None:
        logical_id = f"{self._id}{name}"
        state = event.get("State")
        if "Enabled" in event:
            if state is not None:
                raise place.at(event, "State").error("cannot go together with Enabled")
            state = "ENABLED" if event["Enabled"] else "DISABLED"
        id = event.get("Target", {}).get("Id", f"{logical_id}LambdaTarget"[-64:])
        target = Map({"Id": id, "Arn": self._target})
        target |= {key: event[key] for key in ("Input", "InputPath", "InputTransformer") if key in event}
        self._delivery(logical_id, event, target, place)
        rule = Map({**when, "Targets": Seq([target])}, line=place.line)
        rule |= {key: event[key] for key in ("Name", "Description") if key in event}
        if "RuleName" in event:
            rule["Name"] = event["RuleName"]
        if state is not None:
            rule["State"] = state
        self._expanded.add(logical_id, "AWS::Events::Rule", rule, self._resource, place=place)

    def _schedule_v2_event(self, name: str, event: Map, place: Place) -> None:
        logical_id = f"{self._id}{name}"
        if event.get("OmitName") and "Name" in event:
            raise place.at(event, "Name").error("cannot go together with OmitName")
        target = Map({"Arn": self._target})
        if "Input" in event:
            target["Input"] = event["Input"]
        self._delivery(logical_id, event, target, place)
        schedule = Map({key: event[key] for key in _SCHEDULED if key in event}, line=place.line)
        schedule["FlexibleTimeWindow"] = event.get("FlexibleTimeWindow", Map({"Mode": "OFF"}))
        schedule["Target"] = target
        self._expanded.add(logical_id, "AWS::Scheduler::Schedule", schedule, self._resource, place=place)

    def _delivery(self, logical_id: str, event: Map, target: Map, place: Place) -> None:
        """Add what becomes of an event that cannot be delivered."""
        if "RetryPolicy" in event:
            target["RetryPolicy"] = event["RetryPolicy"]
        given = event.get("DeadLetterConfig")
        if given is None:
            return
        where = place.at(event, "DeadLetterConfig")
        if "Arn" in given:
            if "Type" in given or "QueueLogicalId" in given:
                raise where.error("takes either Arn or Type")
            target["DeadLetterConfig"] = Map({"Arn": given["Arn"]})
            return
        self._only(given.get("Type"), ("SQS",), where)
        queue = str(given.get("QueueLogicalId", f"{logical_id}Queue"))
        self._expanded.add(queue, "AWS::SQS::Queue", {}, self._resource, place=where)
        target["DeadLetterConfig"] = Map({"Arn": Intrinsic.attribute(queue, "Arn")})

    def _http_api_event(self, name: str, event: Map, place: Place) -> None:
        self._apis.http_route(f"{self._id}{name}", event, self._target, self._resource, place)

    def _api_event(self, name: str, event: Map, place: Place) -> None:
        self._apis.rest_route(f"{self._id}{name}", event, self._target, self._resource, place)

    def _only(self, kind: Any, served: tuple[str, ...], place: Place) -> None:
        if kind not in served:
            raise place.error(f"Type must be {' or '.join(served)} here, not {kind}")
