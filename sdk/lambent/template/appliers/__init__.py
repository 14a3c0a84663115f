"""One applier for each type of resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lambent.template.appliers.alias import AliasApplier
from lambent.template.appliers.base import Applier
from lambent.template.appliers.event_invoke import EventInvokeApplier
from lambent.template.appliers.function import FunctionApplier
from lambent.template.appliers.function_url import FunctionUrlApplier
from lambent.template.appliers.gateway_api import ApiApplier
from lambent.template.appliers.gateway_parts import DeploymentApplier, IntegrationApplier, RouteApplier, StageApplier
from lambent.template.appliers.mapping import MappingApplier
from lambent.template.appliers.queue import QueueApplier
from lambent.template.appliers.rule import RuleApplier
from lambent.template.appliers.schedule import ScheduleApplier
from lambent.template.appliers.schedule_group import ScheduleGroupApplier
from lambent.template.appliers.version import VersionApplier

APPLIERS: Final[Mapping[str, Applier]] = {
    "AWS::Lambda::Function": FunctionApplier(),
    "AWS::Lambda::Alias": AliasApplier(),
    "AWS::Lambda::Version": VersionApplier(),
    "AWS::Lambda::Url": FunctionUrlApplier(),
    "AWS::Lambda::EventInvokeConfig": EventInvokeApplier(),
    "AWS::Lambda::EventSourceMapping": MappingApplier(),
    "AWS::SQS::Queue": QueueApplier(),
    "AWS::Scheduler::Schedule": ScheduleApplier(),
    "AWS::Scheduler::ScheduleGroup": ScheduleGroupApplier(),
    "AWS::Events::Rule": RuleApplier(),
    "AWS::ApiGatewayV2::Api": ApiApplier(),
    "AWS::ApiGatewayV2::Integration": IntegrationApplier(),
    "AWS::ApiGatewayV2::Route": RouteApplier(),
    "AWS::ApiGatewayV2::Stage": StageApplier(),
    "AWS::ApiGatewayV2::Deployment": DeploymentApplier(),
}
