"""What mappings can poll, and which settings each kind of source takes.

A new kind of source is one `SourceRules` in `SOURCES`; its poller is named after `kind` in the scheduler
(`scheduler/pollers`), and what must be looked up before a mapping is made after the same `kind` in the gateway
(`gateway/lambda_api/mapping_sources.py`).

Sources: Lambda API reference, `CreateEventSourceMapping`; Lambda Developer Guide, "Using Lambda with Amazon SQS" and,
for streams, "Using Lambda to process records from Amazon Kinesis Data Streams"; texts as Lambda replies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lambent_platform.contracts.mappings import MappingRecord
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.contracts.streams import StreamRef
from lambent_platform.core.configuration import invalid

COMMON_MEMBERS: Final = frozenset(
    {"UUID", "FunctionName", "EventSourceArn", "Enabled", "BatchSize", "FilterCriteria", "KMSKeyArn", "Tags",
     "MetricsConfig", "FunctionResponseTypes", "MaximumBatchingWindowInSeconds"}
)  # fmt: skip
"""Members of the requests that every kind of source takes."""
UNWINDOWED_BATCH_MAX: Final = 10
FIFO_BATCH_MAX: Final = 10
RECORD_AGE_S_MIN: Final = 60


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


def _check_stream(record: MappingRecord) -> None:
    if StreamRef.parse(record.source_arn) is None:
        raise invalid(
            f"Unrecognized event source: {record.source_arn}. A Redis stream is named "
            "arn:aws:redis-streams:<region>:<account>:stream/<key>, and no key of the platform's own can be one."
        )
    if not record.starting_position:
        raise invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
            "Member must not be null."
        )
    if (record.starting_position == "AT_TIMESTAMP") != (record.starting_position_ms is not None):
        raise invalid("StartingPositionTimestamp goes with the starting position AT_TIMESTAMP, and with no other.")
    if record.starting_position_ms is not None and record.starting_position_ms < 0:
        raise invalid("StartingPositionTimestamp must not be before 1970.")
    if -1 < record.record_age_max_s < RECORD_AGE_S_MIN:
        raise invalid(f"MaximumRecordAgeInSeconds must be -1 or at least {RECORD_AGE_S_MIN}.")
    if record.tumbling_window_s:
        raise invalid("TumblingWindowInSeconds is not supported for redis-streams event sources.")
    destination = record.on_failure_arn
    if not destination:
        return
    dead_letters = StreamRef.parse(destination)
    if dead_letters is not None and dead_letters.key == (StreamRef.parse(record.source_arn) or dead_letters).key:
        raise invalid("A stream cannot be the on-failure destination of its own records.")
    queue = ":sqs:" in destination and not is_fifo(destination)
    if dead_letters is None and not queue and FunctionRef.parse(destination) is None:
        raise invalid(
            f"The on-failure destination {destination} is none of a standard queue, a function and a Redis stream."
        )


def _shown_stream(record: MappingRecord) -> dict[str, Any]:
    at_ms = record.starting_position_ms
    return {
        "StartingPosition": record.starting_position,
        "StartingPositionTimestamp": at_ms / 1000 if at_ms is not None else None,
        "ParallelizationFactor": record.parallelization,
        "BisectBatchOnFunctionError": record.bisect,
        "MaximumRetryAttempts": record.retries_max,
        "MaximumRecordAgeInSeconds": record.record_age_max_s,
        "TumblingWindowInSeconds": 0,
        "DestinationConfig": {"OnFailure": {"Destination": record.on_failure_arn} if record.on_failure_arn else {}},
    }


STREAM: Final = SourceRules(
    kind="redis-streams",
    service="redis-streams",
    batch_size_default=100,
    members=frozenset(
        {"StartingPosition", "StartingPositionTimestamp", "ParallelizationFactor", "BisectBatchOnFunctionError",
         "MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "TumblingWindowInSeconds", "DestinationConfig"}
    ),
    check=_check_stream,
    shown=_shown_stream,
)  # fmt: skip
SOURCES: Final = (QUEUE, STREAM)
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
