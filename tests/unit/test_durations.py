"""Spans of time as people write them."""

from __future__ import annotations

import pytest

from lambent_platform.contracts.durations import parse_duration_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("250ms", 250),
        ("90s", 90_000),
        ("2h", 7_200_000),
        ("1h30m", 5_400_000),
        ("1d 12h", 129_600_000),
        ("1.5m", 90_000),
        ("0s", 0),
        ("1m500ms", 60_500),
    ],
)
def test_spans_are_added_up(text: str, ms: int) -> None:
    """Each part counts by its unit, and parts add up."""
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1h-30m", "1w", "1h30", "1 hour", "9" * 80 + "s"])
def test_what_is_no_span_is_refused(text: str) -> None:
    """A number without a unit, an unknown unit, a sign and nothing at all are refused in one line."""
    with pytest.raises(ValueError, match="span of time"):
        parse_duration_ms(text)
