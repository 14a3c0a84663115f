"""From a name that a caller used to the version that runs, and the rules for its events."""

from __future__ import annotations

from typing import Any

from lambent_platform.contracts.errors import ResourceConflict, ResourceNotFound
from lambent_platform.contracts.events import EventMeta
from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.contracts.invocation import Invocation
from lambent_platform.contracts.limits import ASYNC_MAX_AGE_S_DEFAULT, ASYNC_RETRIES_DEFAULT
from lambent_platform.contracts.names import LATEST, FunctionRef


def not_found(ref: FunctionRef) -> ResourceNotFound:
    """The error for a function, version or alias that does not exist, in Lambda's words."""
    arn = ref.named_arn
    return ResourceNotFound(f"Function not found: {arn}", Type="User")


def resolve(record: FunctionRecord | None, ref: FunctionRef, *, roll: float) -> FunctionVersion:
    """Return the version that a call of `ref` runs; `roll` (0 ≤ roll < 1) decides for an alias with weights.

    Raises:
        ResourceNotFound: no such function, version or alias.
        ResourceConflict: it cannot be invoked in its state.
    """
    if record is None:
        raise not_found(ref)
    qualifier = ref.qualifier or LATEST
    alias = record.aliases.get(qualifier)
    if alias is not None:
        qualifier = alias.version
        for version, weight in alias.weights.items():
            if roll < weight:
                qualifier = version
                break
            roll -= weight
    deployed = record.versions.get(qualifier)
    if deployed is None:
        raise not_found(ref)
    found = deployed.serving
    if found.state != "Active" or not (found.code.runnable_key or found.code.hot_reload_path):
        raise ResourceConflict(
            "The operation cannot be performed at this time. "
            f"The function is currently in the following state: {found.state}",
            Type="User",
        )
    return found


def event_meta(record: FunctionRecord, version: FunctionVersion, ref: FunctionRef, *, now_ms: int) -> EventMeta:
    """The rules that an asynchronous event of `ref` is accepted under."""
    config: dict[str, Any] = dict(record.event_invoke_configs.get(ref.qualifier or LATEST, {}))
    destinations = config.get("DestinationConfig") or {}
    retries = config.get("MaximumRetryAttempts")
    age_s = config.get("MaximumEventAgeInSeconds")
    return EventMeta(
        accepted_at_ms=now_ms,
        function_arn=ref.qualified_arn,
        retries_max=ASYNC_RETRIES_DEFAULT if retries is None else int(retries),
        age_max_s=ASYNC_MAX_AGE_S_DEFAULT if age_s is None else int(age_s),
        on_success=(destinations.get("OnSuccess") or {}).get("Destination", ""),
        on_failure=(destinations.get("OnFailure") or {}).get("Destination", ""),
        dead_letter=version.dead_letter_arn,
    )


def event_invocation(
    version: FunctionVersion,
    ref: FunctionRef,
    payload: bytes,
    *,
    event_id: str,
    trace_id: str,
    client_context: str = "",
    placed_at_ms: int,
) -> Invocation:
    """Describe the asynchronous invocation of the version that an event of `ref` runs."""
    return Invocation(
        id=event_id,
        target=version.target,
        kind="event",
        qualified_arn=ref.named_arn,
        payload=payload,
        client_context=client_context,
        trace_id=trace_id,
        placed_at_ms=placed_at_ms,
    )
