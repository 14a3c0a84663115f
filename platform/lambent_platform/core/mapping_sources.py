"""What mappings can poll, and which settings each kind of source takes.

A new kind of source is one `SourceRules` in `SOURCES`; its poller is named after `kind` in the scheduler
(`scheduler/pollers`), and what must be looked up before a mapping is made after the same `kind` in the gateway
(`gateway/lambda_api/mapping_sources.py`).

Sources: Lambda API reference, `CreateEventSourceMapping`; Lambda Developer Guide, "Using Lambda with Amazon SQS";
texts as Lambda replies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lambent_platform.contracts.mappings import MappingRecord
from lambent_platform.core.configuration import invalid

COMMON_MEMBERS: Final = frozenset(
    {"UUID", "FunctionName", "EventSourceArn", "Enabled", "BatchSize", "FilterCriteria", "KMSKeyArn", "Tags",
     "MetricsConfig", "FunctionResponseTypes", "MaximumBatchingWindowInSeconds"}
)  # fmt: skip
"""Members of the requests that every kind of source takes."""
UNWINDOWED_BATCH_MAX: Final = 10
FIFO_BATCH_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRules:
    """What one kind of source is, and takes."""

    kind: str
    service: str
    """The service in the source's ARN."""
    batch_size_default: int
    members: frozenset[str]
    """Members of the requests that it takes besides `COMMON_MEMBERS`; any other that says something is refused."""
    check: Callable[[MappingRecord], None]
    """Refuse settings that do not go together. Raises InvalidParameterValue."""
    shown: Callable[[MappingRecord], dict[str, Any]]
    """Its own part of `EventSourceMappingConfiguration`; None leaves a member out."""


def _check_queue(record: MappingRecord) -> None:
    if record.batch_size > UNWINDOWED_BATCH_MAX and record.window_s == 0 and not is_fifo(record.source_arn):
        raise invalid("Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
    if is_fifo(record.source_arn):
        if record.window_s > 0:
            raise invalid("Batching window is not supported for FIFO queues")
        if record.batch_size > FIFO_BATCH_MAX:
            raise invalid(f"Batch size must be less than or equal to {FIFO_BATCH_MAX} for FIFO queues")


def _shown_queue(record: MappingRecord) -> dict[str, Any]:
    limit = record.concurrency_max
    return {"ScalingConfig": {"MaximumConcurrency": limit} if limit is not None else None}


def is_fifo(arn: str) -> bool:
    """Whether an ARN is a FIFO queue's."""
    return arn.endswith(".fifo")


QUEUE: Final = SourceRules(
    kind="sqs",
    service="sqs",
    batch_size_default=10,
    members=frozenset({"ScalingConfig"}),
    check=_check_queue,
    shown=_shown_queue,
)
SOURCES: Final = (QUEUE,)
_OTHERS: Final = {
    "kinesis": "Kinesis streams",
    "dynamodb": "DynamoDB streams",
    "kafka": "Managed Kafka clusters",
    "mq": "Amazon MQ brokers",
    "rds": "DocumentDB clusters",
}


def source_rules(arn: str | None) -> SourceRules:
    """Return the rules of the source that an ARN names.

    Raises:
        InvalidParameterValue: there is none, or it is of a kind that is not served.
    """
    if not arn:
        raise invalid("Unrecognized event source, must be kinesis, dynamodb stream or sqs.")
    service = arn.split(":")[2] if arn.count(":") >= 5 and not any(c.isspace() for c in arn) else ""
    for rules in SOURCES:
        if rules.service == service:
            return rules
    served = ", ".join(rules.service for rules in SOURCES)
    if service in _OTHERS:
        raise invalid(f"{_OTHERS[service]} are not served as event sources here; what is served: {served}.")
    raise invalid(f"Unrecognized event source: {arn}. What is served: {served}.")
