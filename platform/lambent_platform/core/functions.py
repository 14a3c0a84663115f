"""What becomes of a function: its states, its versions, and what an update changes.

Pure: a record in, a record out; times and random ids are arguments. Source of states and texts: Lambda Developer
Guide, "Lambda function states", and replies recorded from Lambda.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from lambent_platform.contracts.errors import ResourceConflict
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST

BEING_CREATED: Final = "The function is being created."
CREATING: Final = "Creating"
POOL_TAG: Final = "lambent:pool"
DEFAULT_POOL: Final = "default"


def timestamp(now_ms: int) -> str:
    """Write a time as Lambda does in `LastModified`: `2024-03-27T09:14:35.123+0000`."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{now_ms % 1000:03d}+0000"


def awaits_preparation(version: FunctionVersion) -> bool:
    """Whether the scheduler has still to make a version callable."""
    return version.state == "Pending" or version.last_update_status == "InProgress"


def awaiting_preparation(record: FunctionRecord) -> Iterator[FunctionVersion]:
    """The versions of a function that the scheduler has still to make callable."""
    return (version for version in record.versions.values() if awaits_preparation(version))


def refuse_while_busy(version: FunctionVersion) -> None:
    """Let an update pass only while no other is under way.

    Raises:
        ResourceConflict: the function is being created or updated.
    """
    again = "The operation cannot be performed at this time."
    if version.last_update_status == "InProgress":
        raise ResourceConflict(f"{again} An update is in progress for resource: {version.ref.arn}", Type="User")
    if version.state == "Pending":
        raise ResourceConflict(f"{again} The function is currently in the following state: Pending", Type="User")


def being_created(version: FunctionVersion) -> FunctionVersion:
    """Put a version in the state that a new one begins in."""
    return replace(
        version,
        state="Pending",
        state_reason=BEING_CREATED,
        state_reason_code=CREATING,
        last_update_status="",
        last_update_reason="",
        last_update_reason_code="",
        previous={},
    )


def updated(
    version: FunctionVersion, changes: Mapping[str, Any], *, revision: str, revision_id: str, now_ms: int
) -> FunctionVersion:
    """Begin an update of `$LATEST`: the new state is in progress, and what was served before goes on being served.

    A version that never became active has nothing to go on with: it is pending again.
    """
    served = version.serving
    common = {"revision": revision, "revision_id": revision_id, "last_modified": timestamp(now_ms), **changes}
    if version.state != "Active":
        return being_created(replace(version, **common))
    return replace(
        version,
        **common,
        last_update_status="InProgress",
        last_update_reason=BEING_CREATED,
        last_update_reason_code=CREATING,
        previous=replace(served, previous={}).to_dict(),
    )


def prepared(version: FunctionVersion, *, revision_id: str, runnable_key: str | None = None) -> FunctionVersion:
    """End a version's preparation: it can be called.

    `runnable_key` names the package to run where one was built; by default it is what was uploaded.
    """
    key = version.code.source_key if runnable_key is None else runnable_key
    return replace(
        version,
        code=replace(version.code, runnable_key=key),
        revision_id=revision_id,
        state="Active",
        state_reason="",
        state_reason_code="",
        last_update_status="Successful",
        last_update_reason="",
        last_update_reason_code="",
        previous={},
    )


def preparation_failed(version: FunctionVersion, *, reason: str, code: str, revision_id: str) -> FunctionVersion:
    """End a version's preparation: it cannot be called, or goes on as it was before the update.

    `code` is one of the model's `StateReasonCode` (`FunctionError`, `InvalidRuntime`, `InternalError` …).
    """
    failed = replace(
        version,
        revision_id=revision_id,
        last_update_status="Failed",
        last_update_reason=reason,
        last_update_reason_code=code,
    )
    if version.state == "Active":
        return failed
    return replace(failed, state="Failed", state_reason=reason, state_reason_code=code)


_PUBLISHED_FIELDS: Final = (
    "runtime", "handler", "role", "description", "timeout_s", "memory_mb", "ephemeral_mb", "environment",
    "architecture", "dead_letter_arn", "passthrough",
)  # fmt: skip


def fingerprint(version: FunctionVersion) -> str:
    """Stand for everything of a version that publishing fixes: equal where nothing changed."""
    data = version.to_dict()
    fixed = {name: data[name] for name in _PUBLISHED_FIELDS}
    fixed["code"] = [version.code.sha256, version.code.hot_reload_path]
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:32]


def last_published(record: FunctionRecord) -> FunctionVersion | None:
    """Return the newest published version that is still there."""
    numbers = [int(version) for version in record.versions if version != LATEST]
    return record.versions[str(max(numbers))] if numbers else None


def published(
    record: FunctionRecord,
    *,
    description: str | None = None,
    revision: str,
    revision_id: str,
    latest_revision_id: str,
    now_ms: int,
) -> tuple[FunctionRecord, FunctionVersion]:
    """Publish `$LATEST`: the record with a new version, and that version.

    Where nothing changed since the last one was published, that one and the same record. A version of a function
    that is not prepared yet is pending itself; otherwise it is active from the start.
    """
    latest = record.latest
    mark = fingerprint(latest)
    last = last_published(record)
    if last is not None and last.published_as == mark:
        return record, last
    version = replace(
        latest,
        version=str(record.next_version),
        revision=revision,
        revision_id=revision_id,
        description=latest.description if description is None else description,
        last_modified=timestamp(now_ms),
        published_as=mark,
        previous={},
    )
    if awaits_preparation(latest):
        version = being_created(version)
    versions = {
        **record.versions,
        LATEST: replace(latest, revision_id=latest_revision_id),
        version.version: version,
    }
    return replace(record, versions=versions, next_version=record.next_version + 1), version


def without_version(record: FunctionRecord, number: str) -> FunctionRecord:
    """Take a published version out, with the settings that hang on it.

    Raises:
        ResourceConflict: an alias points to it.
    """
    users = sorted(a.name for a in record.aliases.values() if a.version == number or number in a.weights)
    if users:
        names = ", ".join(users)
        raise ResourceConflict(
            f"Unable to delete version because the following aliases reference it: [{names}]", Type="User"
        )
    return replace(without_settings(record, number), versions=_without(record.versions, number))


def without_settings(record: FunctionRecord, qualifier: str) -> FunctionRecord:
    """Take out what hangs on one qualifier: its policy, URL and settings of asynchronous calls."""
    return replace(
        record,
        policies=_without(record.policies, qualifier),
        url_configs=_without(record.url_configs, qualifier),
        event_invoke_configs=_without(record.event_invoke_configs, qualifier),
    )


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in mapping.items() if k != key}


def with_tags(record: FunctionRecord, tags: Mapping[str, str], *, revisions: Iterator[str]) -> FunctionRecord:
    """Replace a function's tags; where that moves it to another worker pool, its versions get new revisions.

    `revisions` yields as many new short ids as are asked of it.
    """
    pool = tags.get(POOL_TAG) or DEFAULT_POOL
    versions = {
        number: version if version.pool == pool else replace(version, pool=pool, revision=next(revisions))
        for number, version in record.versions.items()
    }
    return replace(record, tags=dict(tags), versions=versions)


def code_bytes(record: FunctionRecord) -> int:
    """Storage that a function's packages count for, as the account's usage shows it."""
    return sum(version.code.size_bytes for version in record.versions.values())


def hot_reload(path: str) -> CodePackage:
    """Describe a package that is a folder of the machine; its hash is that of its path, since contents change."""
    return CodePackage(sha256=b64encode(hashlib.sha256(path.encode()).digest()).decode(), hot_reload_path=path)
