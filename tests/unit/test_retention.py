"""How long what nobody needs is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST
from lambent_platform.core import retention
from lambent_platform.core.retention import PUT_KEPT_MS, UNUSED_KEPT_MS

MARKED_MS = 1_700_000_000_000
VERSION = FunctionVersion(
    account="000000000000", region="us-east-1", name="f", revision="r", runtime="python3.13",
    code=CodePackage(source_key="code/s.zip", runnable_key="code/r.zip"),
)  # fmt: skip


def test_what_a_function_refers_to() -> None:
    """Packages of every version, of what is served during an update, and the logs of their builds; no empty names."""
    updating = replace(
        VERSION,
        code=CodePackage(source_key="code/new.zip", needs_build=True),
        previous=VERSION.to_dict(),
    )
    hot = replace(VERSION, version="3", runtime="gone1.x", code=CodePackage(hot_reload_path="/srv/app"))
    record = FunctionRecord(versions={LATEST: updating, "3": hot})
    assert retention.objects_in_use(record, lambda runtime: f"i:{runtime.name}") == {
        "code/s.zip", "code/r.zip", "code/new.zip",
        "builds/dependencies-new-python3-13.log", "builds/image-i-python3-13.log",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("put_ago_ms", "unused_ago_ms", "goes"),
    [
        (PUT_KEPT_MS, UNUSED_KEPT_MS, True),
        (PUT_KEPT_MS * 100, UNUSED_KEPT_MS * 100, True),
        (PUT_KEPT_MS - 1, UNUSED_KEPT_MS * 100, False),
        (PUT_KEPT_MS * 100, UNUSED_KEPT_MS - 1, False),
        (PUT_KEPT_MS * 100, 0, False),
        (-5000, UNUSED_KEPT_MS, False),
    ],
)
def test_what_may_go(put_ago_ms: int, unused_ago_ms: int, goes: bool) -> None:
    """An object goes that was put long ago and was seen in no use before; one that was just put stays."""
    said = retention.may_go(
        modified_ms=MARKED_MS - put_ago_ms, unused_since_ms=MARKED_MS - unused_ago_ms, marked_at_ms=MARKED_MS
    )
    assert said is goes


def test_since_when_objects_are_unused() -> None:
    """What was known is carried on, what is new begins now, and what came into use again is forgotten."""
    known = {"code/a.zip": 5, "code/used.zip": 6}
    assert retention.unused_since(known, ["code/a.zip", "code/b.zip"], marked_at_ms=9) == {
        "code/a.zip": 5,
        "code/b.zip": 9,
    }


def test_meters_keep_62_days() -> None:
    """Buckets go by their hour, over the ends of months and years."""
    now_ms = int(datetime(2026, 2, 1, 10, 59, tzinfo=UTC).timestamp() * 1000)
    fields = ["2025-12-01T09:requests", "2025-12-01T09:ms_mb", "2025-12-01T10:requests", "2026-02-01T10:ms_mb"]
    assert retention.expired_buckets(fields, now_ms) == fields[:2]


def test_bounds_of_a_round_and_of_the_deleted() -> None:
    """References read too long ago are not believed, and a deleted function is remembered for a day."""
    assert retention.marks_hold(MARKED_MS, MARKED_MS + retention.MARKS_KEPT_MS - 1)
    assert not retention.marks_hold(MARKED_MS, MARKED_MS + retention.MARKS_KEPT_MS)
    assert retention.leaves_no_more(MARKED_MS, MARKED_MS + retention.DELETED_KEPT_MS)
    assert not retention.leaves_no_more(MARKED_MS, MARKED_MS + retention.DELETED_KEPT_MS - 1)
