"""What an operator is told of a dead event."""

from __future__ import annotations

from typing import Any

import pytest

from lambent_platform.contracts.events import DeliveryKind, Ending
from lambent_platform.core.dead_events import reason


@pytest.mark.parametrize(
    ("ending", "refusals", "text"),
    [
        ({"error_type": "E", "error_message": "a\nb"}, {}, "RetriesExhausted after 3: E: a b"),
        ({"error_message": "text"}, {}, "RetriesExhausted after 3: text"),
        ({"error_message": "x" * 1000}, {}, "RetriesExhausted after 3: " + "x" * 159 + "…"),
        ({}, {}, "RetriesExhausted"),
        (
            {"condition": "EventAgeExceeded", "error_type": "EventAgeExceeded", "error_message": "too old"},
            {},
            "EventAgeExceeded: too old",
        ),
        (
            {"error_type": "E", "error_message": "m"},
            {"dead_letter": "gone", "on_failure": "too\nlarge"},
            "RetriesExhausted after 3: E: m; the dead-letter queue did not take it: gone; "
            "the on-failure destination did not take it: too large",
        ),
        (
            {"condition": "Success"},
            {"on_success": "gone"},
            "It ran well; the on-success destination did not take it: gone",
        ),
    ],
)
def test_reason(ending: dict[str, Any], refusals: dict[DeliveryKind, str], text: str) -> None:
    """One line, of bounded length, says what ended it, and who did not take it."""
    values = {"condition": "RetriesExhausted", "ended_at_ms": 0, "attempts": 3, **ending}
    assert reason(Ending(**values), refusals) == text
