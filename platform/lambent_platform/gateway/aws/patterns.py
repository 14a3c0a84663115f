"""The regular expressions of service models, which are Java's, as Python compiles them."""

from __future__ import annotations

import re
from typing import Final

_CATEGORY: Final = re.compile(r"\\p\{(\w+)\}")
_CATEGORIES: Final = {
    # Python has no Unicode categories; `\w` is letters and numbers of every script, and the underscore.
    "L": r"\w",
    "N": r"\w",
    "Z": " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "ASCII": r"\x00-\x7f",
    "Print": r"\x20-\x7e",
}
_RANGE_FROM_CLASS: Final = re.compile(r"(\\[wdsWDS])-(?!\])")
MATCHED_CHARACTERS_MAX: Final = 65_536
"""Longer values are not matched at all: their length is refused anyway, and matching would only cost time."""


def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """Compile a model's pattern; None where Python cannot say what it means, so that it is not checked."""
    names = set(_CATEGORY.findall(pattern))
    if not names <= _CATEGORIES.keys():
        return None
    translated = _CATEGORY.sub(lambda match: _CATEGORIES[match[1]], pattern)
    # Java reads the hyphen of `[\w-_]` as itself.
    translated = _RANGE_FROM_CLASS.sub(r"\1\\-", translated)
    try:
        # Java's `\w`, `\d` and `\s` are ASCII's.
        return re.compile(translated, re.NOFLAG if names else re.ASCII)
    except re.error:
        return None
