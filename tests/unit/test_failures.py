"""Lambda's words for what a runtime cannot report itself, and whose call they are about."""

from __future__ import annotations

import json

import pytest

from lambent_workers import failures
from lambent_workers.drivers.port import Exit


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (failures.exited("", Exit(1)), "RequestId: r-1 Error: Runtime exited with error: exit status 1"),
        (
            failures.no_entrypoint("fork/exec x: permission denied"),
            "RequestId: r-1 Error: fork/exec x: permission denied",
        ),
        (failures.exited("r-0", Exit(0)), "RequestId: r-0 Error: Runtime exited without providing a reason"),
        (failures.code_refused("no such folder"), "no such folder"),
    ],
)
def test_a_failure_before_any_call_is_addressed_to_the_one_it_answers(described: bytes, message: str) -> None:
    """The request's id goes where there was none, and nowhere else."""
    found = json.loads(failures.addressed(described, "r-1"))
    assert found == json.loads(described) | {"errorMessage": message}


@pytest.mark.parametrize("error", [b"", b"no json", b"[1]", b'{"errorMessage": 7}', b'{"errorType": "Mine"}'])
def test_what_a_runtime_sent_is_passed_on_as_it_is(error: bytes) -> None:
    """Whatever it is."""
    assert failures.addressed(error, "r-1") is error
