"""Filter patterns of CloudWatch Logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.core.log_filter import FilterPatternError, LogFilter

LINE = 'ERROR init failed: "disk" is full [7]'


@pytest.mark.parametrize(
    ("pattern", "passes"),
    [
        ("", True), ("   ", True), ("ERROR", True), ("error", False), ("ERROR full", True), ("ERROR empty", False),
        ('"init failed"', True), ('"failed init"', False), ("?WARN ?ERROR", True), ("?WARN ?INFO", False),
        ("-DEBUG", True), ("-ERROR", False), ("ERROR -full", False), ('-"init failed"', False),
        ('?"init failed"', True),
        ("ERROR ?full ?empty", True), ("ERROR ?empty", False), (r'"\"disk\""', True), (r'"\"tape\""', False),
        ("failed:", True), ('""', True), ('full"disk"', True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, passes: bool) -> None:
    """Terms and phrases are all wanted, question marks ask for one of them, hyphens exclude; case counts."""
    assert LogFilter.parse(pattern).matches(LINE) is passes


@pytest.mark.parametrize("pattern", ["{ $.level = 1 }", "[a, b]", "%[0-9]+%", '"open', 'a "b'])
def test_patterns_that_are_refused(pattern: str) -> None:
    """Other kinds of patterns, and broken ones, are refused rather than misread."""
    with pytest.raises(FilterPatternError):
        LogFilter.parse(pattern)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_pattern_is_read_or_refused(pattern: str, line: str) -> None:
    """No pattern makes the parser loop or fail in any other way."""
    try:
        LogFilter.parse(pattern).matches(line)
    except FilterPatternError:
        assert pattern.strip()[:1] in {"{", "[", "%"} or '"' in pattern


@given(st.text(min_size=1, max_size=30))
def test_a_quoted_line_finds_itself(line: str) -> None:
    """Any text, quoted and escaped, matches itself."""
    quoted = line.replace("\\", "\\\\").replace('"', '\\"')
    assert LogFilter.parse(f'"{quoted}"').matches(line)
