"""What becomes of a function through creation, updates and publishing, as tables."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from lambent_platform.contracts.errors import InvalidParameterValue, ResourceConflict, ValidationFailed
from lambent_platform.contracts.function import Alias, CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST
from lambent_platform.core.configuration import check_tags, configuration_fields
from lambent_platform.core.functions import (
    awaits_preparation,
    being_created,
    fingerprint,
    preparation_failed,
    prepared,
    published,
    refuse_while_busy,
    timestamp,
    updated,
    with_tags,
    without_version,
)

BASE = FunctionVersion(
    account="000000000000",
    region="us-east-1",
    name="f",
    revision="r1",
    runtime="python3.13",
    code=CodePackage(sha256="s1", source_key="code/1.zip"),
)
NEW = being_created(BASE)
ACTIVE = prepared(NEW, revision_id="i1")
FAILED = preparation_failed(NEW, reason="no", code="FunctionError", revision_id="i1")


def update(version: FunctionVersion, revision: str = "r2", **changes: Any) -> FunctionVersion:
    """Begin an update."""
    return updated(version, changes, revision=revision, revision_id=f"i-{revision}", now_ms=0)


UPDATING = update(ACTIVE, timeout_s=9)
UPDATE_FAILED = preparation_failed(UPDATING, reason="no", code="FunctionError", revision_id="i3")


@pytest.mark.parametrize(
    ("version", "state", "last_update", "waits", "serves"),
    [
        (NEW, "Pending", "", True, "r1"),
        (ACTIVE, "Active", "Successful", False, "r1"),
        (FAILED, "Failed", "Failed", False, "r1"),
        (UPDATING, "Active", "InProgress", True, "r1"),
        (UPDATE_FAILED, "Active", "Failed", False, "r1"),
        (prepared(UPDATING, revision_id="i3"), "Active", "Successful", False, "r2"),
        (update(UPDATE_FAILED, "r3"), "Active", "InProgress", True, "r1"),
        (prepared(update(UPDATE_FAILED, "r3"), revision_id="i4"), "Active", "Successful", False, "r3"),
        (update(FAILED), "Pending", "", True, "r2"),
    ],
)
def test_states(version: FunctionVersion, state: str, last_update: str, waits: bool, serves: str) -> None:
    """A version's states, whether the scheduler has work with it, and which revision calls run meanwhile."""
    assert (version.state, version.last_update_status) == (state, last_update)
    assert awaits_preparation(version) is waits
    assert version.serving.revision == serves
    assert FunctionVersion.from_dict(version.to_dict()) == version


def test_reasons_come_and_go_with_their_state() -> None:
    """A reason stays as long as the state that it explains."""
    assert (NEW.state_reason, NEW.state_reason_code) == ("The function is being created.", "Creating")
    assert (ACTIVE.state_reason, ACTIVE.last_update_reason) == ("", "")
    assert (FAILED.state_reason, FAILED.state_reason_code) == ("no", "FunctionError")
    assert (UPDATE_FAILED.state_reason, UPDATE_FAILED.last_update_reason) == ("", "no")


def test_a_record_finds_what_an_environment_runs() -> None:
    """During an update both the old and the new state of a version are found by their revisions."""
    record = FunctionRecord(versions={LATEST: UPDATING})
    old, new = record.deployed(LATEST, "r1"), record.deployed(LATEST, "r2")
    assert old is not None
    assert new is not None
    assert (old.timeout_s, new.timeout_s) == (3, 9)
    assert record.deployed(LATEST, "r0") is None
    assert record.deployed("7", "r1") is None


def test_preparation_decides_what_runs() -> None:
    """Without a build what was uploaded runs; else what was built."""
    assert ACTIVE.code.runnable_key == "code/1.zip"
    assert prepared(NEW, revision_id="i", runnable_key="code/2.zip").code.runnable_key == "code/2.zip"


@pytest.mark.parametrize("version", [NEW, UPDATING])
def test_busy_functions_refuse_updates(version: FunctionVersion) -> None:
    """One update at a time."""
    with pytest.raises(ResourceConflict, match="The operation cannot be performed at this time"):
        refuse_while_busy(version)


@pytest.mark.parametrize("version", [ACTIVE, FAILED, UPDATE_FAILED])
def test_others_do_not(version: FunctionVersion) -> None:
    """A function that is ready, or that failed, can be updated."""
    refuse_while_busy(version)


def publish(record: FunctionRecord, **more: Any) -> tuple[FunctionRecord, FunctionVersion]:
    """Publish with made-up ids."""
    ids = {"revision": "p", "revision_id": "ip", "latest_revision_id": "il", "now_ms": 0}
    return published(record, **{**ids, **more})


def test_publishing_twice_is_publishing_once() -> None:
    """Nothing new is published where nothing changed, also when the description was given with the version."""
    record, first = publish(FunctionRecord(versions={LATEST: ACTIVE}), description="mine")
    assert (first.version, first.description, record.latest.description) == ("1", "mine", "")
    assert record.latest.revision_id == "il"
    again, same = publish(record, description="other")
    assert again is record
    assert same is first


@pytest.mark.parametrize(
    "change",
    [
        {"description": "d"},
        {"timeout_s": 9},
        {"environment": {"A": "1"}},
        {"code": CodePackage(sha256="s2")},
        {"code": CodePackage(sha256="s1", hot_reload_path="/x")},
        {"passthrough": {"TracingConfig": {"Mode": "Active"}}},
    ],
)
def test_every_change_that_counts_makes_a_version(change: dict[str, Any]) -> None:
    """Code, configuration and description count."""
    record, _ = publish(FunctionRecord(versions={LATEST: ACTIVE}))
    changed = replace(record, versions={**record.versions, LATEST: replace(record.latest, **change)})
    assert publish(changed)[1].version == "2"


def test_states_and_ids_do_not_count() -> None:
    """What environments and readers see of time and state is not part of what is published."""
    other = replace(ACTIVE, revision="x", revision_id="y", last_modified="z", state="Failed", pool="p")
    assert fingerprint(other) == fingerprint(ACTIVE)


def test_a_version_of_something_pending_is_pending_itself() -> None:
    """Published at its creation or with an update, a version has still to be prepared."""
    for latest in (NEW, UPDATING):
        version = publish(FunctionRecord(versions={LATEST: latest}))[1]
        assert version.state == "Pending"
        assert version.serving is version


def test_versions_in_use_are_kept() -> None:
    """An alias holds its version and the one it weighs; settings of a deleted version go with it."""
    record, _ = publish(FunctionRecord(versions={LATEST: ACTIVE}))
    record = replace(record, event_invoke_configs={"1": {}}, policies={"1": {}, "": {}})
    for alias in (Alias(name="a", version="1"), Alias(name="a", version=LATEST, weights={"1": 0.5})):
        with pytest.raises(ResourceConflict, match=r"aliases reference it: \[a\]"):
            without_version(replace(record, aliases={"a": alias}), "1")
    left = without_version(record, "1")
    assert (set(left.versions), left.event_invoke_configs, set(left.policies)) == ({LATEST}, {}, {""})


def test_the_pool_tag_moves_a_function() -> None:
    """A changed pool gives new revisions, so that no environment of the old pool is used; other tags do not."""
    record, _ = publish(FunctionRecord(versions={LATEST: ACTIVE}))
    ids = (f"n{n}" for n in count())
    same = with_tags(record, {"a": "b"}, revisions=ids)
    assert {v.revision for v in same.versions.values()} == {"r1", "p"}
    moved = with_tags(record, {"lambent:pool": "gpu"}, revisions=ids)
    assert {(v.pool, v.revision) for v in moved.versions.values()} == {("gpu", "n0"), ("gpu", "n1")}


def test_timestamps() -> None:
    """`LastModified` is written as Lambda does, to the millisecond."""
    assert timestamp(1_711_530_875_007) == "2024-03-27T09:14:35.007+0000"


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, {}),
        ({"Timeout": 900, "MemorySize": 10240}, {"timeout_s": 900, "memory_mb": 10240}),
        ({"Environment": {}}, {"environment": {}}),
        ({"Environment": {"Variables": {"AB": "c"}}}, {"environment": {"AB": "c"}}),
        ({"Architectures": ["arm64"]}, {"architecture": "arm64"}),
        ({"EphemeralStorage": {"Size": 10240}}, {"ephemeral_mb": 10240}),
        ({"Layers": [], "DeadLetterConfig": {"TargetArn": ""}}, {"dead_letter_arn": ""}),
        ({"DeadLetterConfig": {"TargetArn": "arn:q"}}, {"dead_letter_arn": "arn:q"}),
    ],
)
def test_configuration_fields(params: dict[str, Any], fields: dict[str, Any]) -> None:
    """Only what is given is set."""
    assert configuration_fields(params, {}) == {**fields, "passthrough": {}}


def test_what_is_only_shown_is_kept_and_cleared() -> None:
    """Settings that change nothing here are replaced one by one; an empty one is forgotten."""
    before = {"KMSKeyArn": "k", "TracingConfig": {"Mode": "Active"}}
    after = configuration_fields({"KMSKeyArn": "", "LoggingConfig": {"LogFormat": "JSON"}}, before)
    assert after["passthrough"] == {"TracingConfig": {"Mode": "Active"}, "LoggingConfig": {"LogFormat": "JSON"}}


@pytest.mark.parametrize(
    "params",
    [{"Timeout": 901}, {"Timeout": 0}, {"MemorySize": 10241}, {"MemorySize": 127}, {"EphemeralStorage": {"Size": 511}}],
)
def test_ranges(params: dict[str, Any]) -> None:
    """Outside of Lambda's ranges is a ValidationException."""
    with pytest.raises(ValidationFailed, match="Member must have value"):
        configuration_fields(params, {})


def test_the_limit_on_variables_counts_bytes_of_all() -> None:
    """Exactly 4,096 bytes, names, quotes and braces included, are taken; one more is not."""
    fitting = {"AB": "é" * 2043 + "x"}  # {"AB":"…"} has nine characters of its own
    assert configuration_fields({"Environment": {"Variables": fitting}}, {})["environment"] == fitting
    with pytest.raises(InvalidParameterValue, match="exceeded the 4KB limit"):
        configuration_fields({"Environment": {"Variables": {"AB": fitting["AB"] + "x"}}}, {})


def test_tags_have_a_limit() -> None:
    """Fifty are taken."""
    check_tags({f"k{n}": "" for n in range(50)})
    with pytest.raises(InvalidParameterValue):
        check_tags({f"k{n}": "" for n in range(51)})
