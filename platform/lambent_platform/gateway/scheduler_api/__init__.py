"""EventBridge Scheduler: schedules, their groups, and the tags of groups."""

from __future__ import annotations

from typing import Final

from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.scheduler_api.access import ScheduleServices
from lambent_platform.gateway.scheduler_api.groups import GroupOperations
from lambent_platform.gateway.scheduler_api.schedules import ScheduleOperations

SERVICE: Final = "scheduler"
SCHEDULER_OPERATIONS: Final = (ScheduleOperations, GroupOperations)

__all__ = ["SCHEDULER_OPERATIONS", "ScheduleServices", "serve_scheduler"]


def serve_scheduler(registry: Registry, services: ScheduleServices) -> None:
    """Serve every operation of the service."""
    for operations in SCHEDULER_OPERATIONS:
        registry.serve(SERVICE, operations(services))
