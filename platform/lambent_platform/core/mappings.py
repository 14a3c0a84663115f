"""A mapping's life: made and changed by requests, settled by the scheduler. Pure.

```
Creating ──▶ Enabled │ Disabled ──▶ Updating ──▶ Enabled │ Disabled        any settled state ──▶ Deleting ──▶ gone
```

While a mapping changes, further changes are refused, as on Lambda (`ResourceInUseException`).
Source: Lambda API reference, `CreateEventSourceMapping`, `UpdateEventSourceMapping`; texts as Lambda replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from lambent_platform.contracts.errors import ApiError, ResourceConflict, ResourceNotFound
from lambent_platform.contracts.mappings import MappingRecord, MappingState
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.configuration import invalid
from lambent_platform.core.filter_criteria import FilterCriteria
from lambent_platform.core.mapping_sources import COMMON_MEMBERS, SourceRules

STATE_REASON: Final = "USER_INITIATED"
_PASSTHROUGH: Final = ("MetricsConfig", "KMSKeyArn")
_PLAIN: Final = {
    "Enabled": "enabled",
    "BatchSize": "batch_size",
    "MaximumBatchingWindowInSeconds": "window_s",
    "StartingPosition": "starting_position",
    "ParallelizationFactor": "parallelization",
    "BisectBatchOnFunctionError": "bisect",
    "MaximumRetryAttempts": "retries_max",
    "MaximumRecordAgeInSeconds": "record_age_max_s",
    "TumblingWindowInSeconds": "tumbling_window_s",
}


def settings(params: Mapping[str, Any], rules: SourceRules, passthrough: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `MappingRecord` that a request sets; `passthrough` is what is there before.

    An empty `FilterCriteria`, `ScalingConfig`, `FunctionResponseTypes` or `DestinationConfig` takes the setting away.

    Raises:
        InvalidParameterValue: a member means nothing for this kind of source, or the filters are malformed or too many.
    """
    for name, value in params.items():
        if name not in COMMON_MEMBERS and name not in rules.members and value not in ({}, [], "", False):
            raise invalid(f"{name} is not supported for {rules.service} event sources.")
    found: dict[str, Any] = {ours: params[theirs] for theirs, ours in _PLAIN.items() if theirs in params}
    if "FilterCriteria" in params:
        found["filters"] = _filters(params["FilterCriteria"])
    if "FunctionResponseTypes" in params:
        found["report_item_failures"] = "ReportBatchItemFailures" in params["FunctionResponseTypes"]
    if "ScalingConfig" in params:
        found["concurrency_max"] = params["ScalingConfig"].get("MaximumConcurrency")
    if "DestinationConfig" in params:
        found["on_failure_arn"] = (params["DestinationConfig"].get("OnFailure") or {}).get("Destination", "")
    at = params.get("StartingPositionTimestamp")
    if isinstance(at, datetime):
        found["starting_position_ms"] = int(at.timestamp() * 1000)
    kept = {**passthrough, **{name: params[name] for name in _PASSTHROUGH if name in params}}
    found["passthrough"] = {name: value for name, value in kept.items() if value}
    return found


def _filters(criteria: Mapping[str, Any]) -> tuple[str, ...]:
    FilterCriteria.parse(criteria)
    return tuple(one["Pattern"] for one in criteria.get("Filters", ()) if one.get("Pattern"))


def changed(record: MappingRecord, fields: Mapping[str, Any], *, now_ms: int) -> MappingRecord:
    """Return the mapping with other settings, for the scheduler to settle.

    Raises:
        ApiError: it is being changed (`ResourceInUseException`).
    """
    refuse_changing(record, "update")
    return replace(record, **fields, state="Updating", last_modified_ms=now_ms)


def deleted(record: MappingRecord, *, now_ms: int) -> MappingRecord:
    """Return the mapping on its way out.

    Raises:
        ApiError: it is being changed (`ResourceInUseException`).
    """
    refuse_changing(record, "delete")
    return replace(record, state="Deleting", enabled=False, last_modified_ms=now_ms)


def refuse_changing(record: MappingRecord, verb: str) -> None:
    """Refuse to change what is being changed.

    Raises:
        ApiError: `ResourceInUseException`.
    """
    if record.changing:
        raise ApiError(
            f"Cannot {verb} the event source mapping because it is in use.",
            code="ResourceInUseException",
            status=400,
            Type="User",
        )


def retagged(record: MappingRecord, tags: Mapping[str, str]) -> MappingRecord:
    """Return the mapping with other tags, which changes nothing of what it does."""
    return replace(record, tags=tags)


def settled(record: MappingRecord) -> MappingState:
    """Return the state of a mapping that is what it is wanted to be."""
    return "Enabled" if record.enabled else "Disabled"


def described(record: MappingRecord, rules: SourceRules) -> dict[str, Any]:
    """Return Lambda's `EventSourceMappingConfiguration`; None leaves a member out."""
    return {
        "UUID": record.uuid,
        "EventSourceMappingArn": record.arn,
        "EventSourceArn": record.source_arn,
        "FunctionArn": record.function_arn,
        "BatchSize": record.batch_size,
        "MaximumBatchingWindowInSeconds": record.window_s,
        "FilterCriteria": {"Filters": [{"Pattern": one} for one in record.filters]} if record.filters else None,
        "FunctionResponseTypes": ["ReportBatchItemFailures"] if record.report_item_failures else [],
        "State": record.state,
        "StateTransitionReason": STATE_REASON,
        "LastProcessingResult": record.last_result,
        "LastModified": record.last_modified_ms / 1000,
        **record.passthrough,
        **rules.shown(record),
    }


def duplicate(source_arn: str, ref: FunctionRef, existing: str) -> ResourceConflict:
    """Make the error for a second mapping of a source to a function."""
    name = ref.name if ref.qualifier is None else f"{ref.name}:{ref.qualifier}"
    kind = source_arn.split(":")[2].upper()
    return ResourceConflict(
        f'An event source mapping with {kind} arn (" {source_arn} ") and function (" {name} ") already exists. '
        f"Please update or delete the existing mapping with UUID {existing}",
        Type="User",
    )


def not_found() -> ResourceNotFound:
    """Make the error for a mapping that does not exist."""
    return ResourceNotFound("The resource you requested does not exist.", Type="User")
