"""The lines that the platform writes into a function's log."""

from __future__ import annotations

import pytest

from lambent_platform.core import report

ID = "8f5a4c1e-1d0c-4b6e-9a53-000000000001"


def test_report_of_a_first_call_has_its_init() -> None:
    """A first call's REPORT shows the init, bills it, and ends in a tab."""
    line = report.report_line(ID, duration_ms=2.9, memory_size_mb=128, memory_used_mb=36, init_ms=110.1)
    assert line == (
        f"REPORT RequestId: {ID}\tDuration: 2.90 ms\tBilled Duration: 113 ms\tMemory Size: 128 MB"
        "\tMax Memory Used: 36 MB\tInit Duration: 110.10 ms\t"
    )


def test_report_of_a_later_call() -> None:
    """A warm call's REPORT has no init."""
    line = report.report_line(ID, duration_ms=2.9, memory_size_mb=128, memory_used_mb=36)
    assert line == (
        f"REPORT RequestId: {ID}\tDuration: 2.90 ms\tBilled Duration: 3 ms\tMemory Size: 128 MB"
        "\tMax Memory Used: 36 MB\t"
    )


def test_report_of_a_timeout_and_of_a_crash() -> None:
    """The status stands at the end, with the error's type where there is one."""
    line = report.report_line(ID, duration_ms=3000, memory_size_mb=128, memory_used_mb=36, status="timeout")
    assert line.endswith("\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tStatus: timeout")
    line = report.report_line(
        ID, duration_ms=5, memory_size_mb=128, memory_used_mb=36, status="error", error_type="Runtime.ExitError"
    )
    assert line.endswith("\tMax Memory Used: 36 MB\tStatus: error\tError Type: Runtime.ExitError")


@pytest.mark.parametrize(
    ("duration_ms", "init_ms", "billed"),
    [(0.0, 0.0, 1), (2.9, 0.0, 3), (3.0, 0.0, 3), (3.001, 0.0, 3), (3.01, 0.0, 4), (0.1, 0.2, 1), (2.9, 110.1, 113)],
)
def test_billed_duration_rounds_up_to_a_millisecond(duration_ms: float, init_ms: float, billed: int) -> None:
    """What is billed follows from the figures that the line shows."""
    assert report.billed_ms(duration_ms, init_ms) == billed


def test_other_lines() -> None:
    """START, END and the init's lines are Lambda's."""
    assert report.start_line(ID, "$LATEST") == f"START RequestId: {ID} Version: $LATEST"
    assert report.end_line(ID) == f"END RequestId: {ID}"
    assert report.init_start_line("python", "3.13") == "INIT_START Runtime Version: python:3.13"
    assert report.init_report_line(init_ms=9.5, status="error", error_type="Runtime.ExitError") == (
        "INIT_REPORT Init Duration: 9.50 ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError"
    )
    assert (
        report.timeout_line(ID, 1, 1_700_000_000_045)
        == f"2023-11-14T22:13:20.045Z {ID} Task timed out after 1.00 seconds"
    )
