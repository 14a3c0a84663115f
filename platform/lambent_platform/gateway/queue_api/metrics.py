"""What a gateway counts of queues. Queues are no labels: there may be tens of thousands."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class QueueMetrics:
    """Messages that went through one gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        messages = Counter(
            "lambent_gateway_queue_messages",
            "Messages of queues that this gateway took, handed out or deleted.",
            ["what"],
            registry=registry,
        )
        # Looking a labelled counter up costs more than counting, and this is on the path of every message.
        self.sent = messages.labels("sent")
        self.received = messages.labels("received")
        self.deleted = messages.labels("deleted")
