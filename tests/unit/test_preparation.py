"""What a version still needs before it can be called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lambent_platform.contracts.build import BuildRecord
from lambent_platform.contracts.environment import WorkerRecord
from lambent_platform.contracts.function import CodePackage, FunctionVersion
from lambent_platform.core.preparation import (
    ATTEMPTS_MAX,
    IMAGE_SEEN_MS,
    Build,
    Failed,
    Runnable,
    Wait,
    dependency_order,
    image_order,
    next_step,
    retry_delay_s,
)

IMAGE = image_order("python3.13", "lambent/python:3.13-abc")
PLAIN = FunctionVersion(
    account="000000000000",
    region="us-east-1",
    name="f",
    revision="r1",
    runtime="python3.13",
    code=CodePackage(source_key="code/aa.zip"),
)
UNBUILT = replace(PLAIN, code=replace(PLAIN.code, needs_build=True))
ORDER = dependency_order(UNBUILT)


def worker(standing: str, **changes: object) -> WorkerRecord:
    """A worker that says this of python3.13."""
    record = WorkerRecord(id="w", driver="docker", capacity_mb=1024, runtimes={"python3.13": standing})
    return replace(record, **changes)  # type: ignore[arg-type]


def known(build_id: str, phase: str, **more: object) -> dict[str, BuildRecord]:
    """What is known of one build."""
    return {build_id: BuildRecord(id=build_id, phase=phase, **more)}  # type: ignore[arg-type]


def step(version: FunctionVersion, *workers: WorkerRecord, builds: dict[str, BuildRecord] | None = None) -> object:
    """The next step under these workers and builds."""
    return next_step(version, workers, image=IMAGE, builds=builds or {})


def test_a_package_that_lacks_nothing_is_runnable_at_once() -> None:
    """Neither image nor dependencies missing: no build, no wait."""
    assert step(PLAIN, worker("ready")) == Runnable()


def test_nothing_is_decided_before_a_worker_has_joined_the_pool() -> None:
    """An empty pool, or one that only drains, says nothing about what it could run."""
    assert step(PLAIN) == Wait()
    assert step(PLAIN, worker("ready", pool="other")) == Wait()
    assert step(PLAIN, worker("ready", draining=True)) == Wait()


def test_an_image_is_built_only_where_no_worker_has_it() -> None:
    """One ready worker is enough; with none, a buildable runtime is ordered."""
    assert step(PLAIN, worker("buildable")) == Build(IMAGE)
    assert step(PLAIN, worker("buildable"), worker("ready")) == Runnable()


@pytest.mark.parametrize("phase", ["queued", "running", "waiting"])
def test_a_build_under_way_stays_ordered(phase: str) -> None:
    """Ordering again is how a lost build is noticed."""
    assert step(PLAIN, worker("buildable"), builds=known(IMAGE.id, phase)) == Build(IMAGE)
    assert step(UNBUILT, worker("ready"), builds=known(ORDER.id, phase)) == Build(ORDER)


def test_a_built_image_counts_when_a_worker_has_it() -> None:
    """The scheduler places on what workers say, so a version waits for that; but not for ever."""
    fresh = known(IMAGE.id, "succeeded", ended_at_ms=1000, read_at_ms=1000 + IMAGE_SEEN_MS - 1)
    assert step(PLAIN, worker("buildable"), builds=fresh) == Wait()
    old = known(IMAGE.id, "succeeded", ended_at_ms=1000, read_at_ms=1000 + IMAGE_SEEN_MS)
    failed = step(PLAIN, worker("buildable"), builds=old)
    assert isinstance(failed, Failed)
    assert failed.code == "InvalidImage"


def test_dependencies_wait_for_the_image() -> None:
    """The install runs in the runtime's own container."""
    assert step(UNBUILT, worker("buildable")) == Build(IMAGE)
    assert step(UNBUILT, worker("ready")) == Build(ORDER)


def test_built_dependencies_are_what_runs() -> None:
    """The built package takes the uploaded one's place."""
    builds = known(ORDER.id, "succeeded", result="code/bb.zip")
    assert step(UNBUILT, worker("ready"), builds=builds) == Runnable("code/bb.zip")


def test_a_failed_build_fails_the_version_in_its_own_words() -> None:
    """pip's line is what people search for."""
    builds = known(
        ORDER.id, "failed", reason="ERROR: No matching distribution found for x", reason_code="DependencyError"
    )
    assert step(UNBUILT, worker("ready"), builds=builds) == Failed(
        "ERROR: No matching distribution found for x", "DependencyError"
    )


def test_a_missing_interpreter_says_what_was_found() -> None:
    """The process driver cannot build interpreters: the operator reads what it has instead."""
    failed = step(PLAIN, worker("python3.13 was not found; found 3.11 (/usr/bin/python3)"))
    assert isinstance(failed, Failed)
    assert failed.code == "InvalidRuntime"
    assert "found 3.11" in failed.reason


def test_another_architecture_fails_and_names_what_there_is() -> None:
    """No worker will ever place it."""
    failed = step(replace(PLAIN, architecture="arm64"), worker("ready"))
    assert isinstance(failed, Failed)
    assert "x86_64" in failed.reason


def test_hot_reload_is_never_built() -> None:
    """Its folder is the user's own."""
    version = replace(UNBUILT, code=replace(UNBUILT.code, hot_reload_path="/src"))
    assert step(version, worker("ready")) == Runnable()


def test_who_wants_the_same_waits_for_the_same_job() -> None:
    """Ids are made of what is built, in characters that a job's id may have."""
    other = replace(UNBUILT, name="g", revision="r2")
    assert dependency_order(other).id == ORDER.id
    assert dependency_order(replace(UNBUILT, runtime="python3.11")).id != ORDER.id
    assert all(c.isalnum() or c in "-_" for c in ORDER.id + IMAGE.id)


def test_retries_are_bounded_and_grow() -> None:
    """Infrastructure gets a few more tries, each later than the last."""
    delays = [retry_delay_s(n) for n in range(1, ATTEMPTS_MAX)]
    assert delays == sorted(delays, key=lambda d: d or 0)
    assert None not in delays
    assert retry_delay_s(ATTEMPTS_MAX) is None
