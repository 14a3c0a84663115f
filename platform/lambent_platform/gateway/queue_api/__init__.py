"""The queue service: SQS's operations over the queue store."""

from __future__ import annotations

from typing import Final

from lambent_platform.gateway.queue_api.access import QueueServices
from lambent_platform.gateway.queue_api.messages import MessageOperations
from lambent_platform.gateway.queue_api.moves import MoveTaskOperations
from lambent_platform.gateway.queue_api.permissions import PermissionOperations
from lambent_platform.gateway.queue_api.queues import QueueOperations

QUEUE_OPERATIONS: Final = (QueueOperations, PermissionOperations, MessageOperations, MoveTaskOperations)

__all__ = ["QUEUE_OPERATIONS", "QueueServices"]
