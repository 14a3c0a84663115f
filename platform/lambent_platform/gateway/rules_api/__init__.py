"""EventBridge: rules with a schedule or a pattern, their targets, tags, and the one bus that there is."""

from __future__ import annotations

from typing import Final

from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.rules_api.access import RuleAccess
from lambent_platform.gateway.rules_api.events import EventOperations
from lambent_platform.gateway.rules_api.rules import RuleOperations
from lambent_platform.gateway.rules_api.tags_and_buses import TagAndBusOperations
from lambent_platform.gateway.rules_api.targets import TargetOperations

SERVICE: Final = "events"
RULE_OPERATIONS: Final = (RuleOperations, TargetOperations, EventOperations, TagAndBusOperations)

__all__ = ["RULE_OPERATIONS", "RuleAccess", "serve_rules"]


def serve_rules(registry: Registry, access: RuleAccess) -> None:
    """Serve every operation that is served."""
    for operations in RULE_OPERATIONS:
        registry.serve(SERVICE, operations(access))
