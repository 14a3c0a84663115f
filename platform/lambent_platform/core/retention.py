"""How long what nobody needs any more is kept.

Pure: what refers to which object, what is known of the objects, and the time in; what may go out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from lambent_platform.contracts.build import log_key
from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.contracts.runtimes import RUNTIMES, Runtime
from lambent_platform.core.preparation import dependency_order, image_order

METERING_KEPT_DAYS: Final = 62
"""This month and the last one, whichever these are."""
PUT_KEPT_MS: Final = 3_600_000
"""Far longer than it takes from putting an object to writing the function that refers to it."""
UNUSED_KEPT_MS: Final = 120_000
"""For who was told of an object while it was in use: a worker that starts an environment, a download."""
MARKS_KEPT_MS: Final = 6 * 3_600_000
"""After that what was found in use is not believed any more. Far below how long a build's result is known, which is
the one way in which an old package comes into use without being put again."""
DELETED_KEPT_MS: Final = 24 * 3_600_000
"""How long a deleted function may leave more behind: its last event is as old as an event can be, then given up."""


def objects_in_use(record: FunctionRecord, image_tag: Callable[[Runtime], str]) -> set[str]:
    """Return the keys of all objects that a function's versions refer to: packages, and logs of their builds.

    `image_tag` names a runtime's image, as where builds are ordered.
    """
    keys: set[str] = set()
    for version in record.versions.values():
        for state in (version, version.serving):
            keys |= _objects_of(state, image_tag)
    return keys


def _objects_of(version: FunctionVersion, image_tag: Callable[[Runtime], str]) -> set[str]:
    keys = {version.code.source_key, version.code.runnable_key} - {""}
    if version.code.needs_build:
        keys.add(log_key(dependency_order(version).id))
    runtime = RUNTIMES.get(version.runtime)
    if runtime is not None:
        keys.add(log_key(image_order(runtime.name, image_tag(runtime)).id))
    return keys


def unused_since(known: Mapping[str, int], unused: Iterable[str], *, marked_at_ms: int) -> dict[str, int]:
    """Carry on since when objects are in no use: what was known, `marked_at_ms` for those that are new."""
    return {key: known.get(key, marked_at_ms) for key in unused}


def may_go(*, modified_ms: int, unused_since_ms: int, marked_at_ms: int) -> bool:
    """Whether an object may be removed that nothing referred to when references were read, from `marked_at_ms` on.

    It must have been put (liveness time) long before: whoever puts it refers to it only afterwards.
    """
    return modified_ms <= marked_at_ms - PUT_KEPT_MS and unused_since_ms <= marked_at_ms - UNUSED_KEPT_MS


def marks_hold(marked_at_ms: int, now_ms: int) -> bool:
    """Whether what was found in use since `marked_at_ms` still says what is in no use."""
    return now_ms - marked_at_ms < MARKS_KEPT_MS


def expired_buckets(fields: Iterable[str], now_ms: int) -> list[str]:
    """Return the fields of a meter, `<hour>:<what>`, whose hour is past its retention (event time)."""
    oldest = datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(days=METERING_KEPT_DAYS)
    first = oldest.strftime("%Y-%m-%dT%H")  # names of hours sort as the hours do
    return [field for field in fields if field.partition(":")[0] < first]


def leaves_no_more(deleted_ms: int, now_ms: int) -> bool:
    """Whether nothing more is to be expected of a function that was deleted then (liveness time)."""
    return now_ms - deleted_ms >= DELETED_KEPT_MS
