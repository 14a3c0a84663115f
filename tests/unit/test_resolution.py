"""From a name to the version that runs."""

from __future__ import annotations

import pytest

from lambent_platform.contracts.errors import ResourceConflict, ResourceNotFound
from lambent_platform.contracts.function import Alias, CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.resolution import event_meta, resolve


def version(name: str, state: str = "Active") -> FunctionVersion:
    """Make a version of function f."""
    return FunctionVersion(
        account="000000000000",
        region="us-east-1",
        name="f",
        version=name,
        revision="r",
        runtime="python3.13",
        state=state,  # type: ignore[arg-type]
        code=CodePackage(runnable_key="code/x.zip"),
    )


RECORD = FunctionRecord(
    versions={"$LATEST": version("$LATEST"), "1": version("1"), "2": version("2"), "3": version("3", "Pending")},
    aliases={
        "live": Alias(name="live", version="1", weights={"2": 0.25}),
        "next": Alias(name="next", version="3"),
    },
    event_invoke_configs={
        "live": {
            "MaximumRetryAttempts": 0,
            "MaximumEventAgeInSeconds": 90,
            "DestinationConfig": {"OnFailure": {"Destination": "arn:x"}},
        }
    },
)


@pytest.mark.parametrize(
    ("qualifier", "roll", "runs"),
    [
        (None, 0.0, "$LATEST"),
        ("$LATEST", 0.0, "$LATEST"),
        ("2", 0.0, "2"),
        ("live", 0.0, "2"),
        ("live", 0.2499, "2"),
        ("live", 0.25, "1"),
        ("live", 0.99, "1"),
    ],
)
def test_resolve(qualifier: str | None, roll: float, runs: str) -> None:
    """A qualifier is a version or an alias, and a weighted alias splits by the roll."""
    assert resolve(RECORD, FunctionRef("f", qualifier), roll=roll).version == runs


@pytest.mark.parametrize("qualifier", ["9", "gone"])
def test_unknown_qualifier(qualifier: str) -> None:
    """An unknown version or alias is not found, and the error names it."""
    with pytest.raises(ResourceNotFound, match=f"function:f:{qualifier}$"):
        resolve(RECORD, FunctionRef("f", qualifier), roll=0.0)


def test_pending_is_a_conflict() -> None:
    """A version that is not active cannot be called yet."""
    with pytest.raises(ResourceConflict, match="state: Pending"):
        resolve(RECORD, FunctionRef("f", "next"), roll=0.0)


def test_event_rules_go_by_qualifier() -> None:
    """The event invoke configuration of the qualifier that was called counts."""
    ref = FunctionRef("f", "live")
    meta = event_meta(RECORD, RECORD.versions["1"], ref, now_ms=5)
    assert (meta.retries_max, meta.age_max_s, meta.on_failure) == (0, 90, "arn:x")
    assert event_meta(RECORD, RECORD.latest, FunctionRef("f"), now_ms=5).retries_max == 2
