"""Filter patterns of CloudWatch Logs, as far as plain text goes.

    ERROR timeout       both, anywhere in the line, by case
    "init failed"       a phrase
    ?ERROR ?WARN        at least one of these
    -DEBUG -"health"    none of these

Source: CloudWatch Logs User Guide, "Filter pattern syntax". JSON (`{ $.a = 1 }`), space-delimited (`[a, b]`) and
regular-expression (`%a%`) patterns are refused rather than misread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_TERM: Final = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))')


class FilterPatternError(ValueError):
    """The pattern is malformed, or of a kind that is not served."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """A parsed pattern; the empty one lets everything through."""

    every: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    @classmethod
    def parse(cls, pattern: str) -> LogFilter:
        """Read a pattern.

        Raises:
            FilterPatternError: it cannot be read.
        """
        text = pattern.strip()
        if text[:1] in {"{", "[", "%"}:
            raise FilterPatternError("only patterns of terms and quoted phrases are served")
        terms: dict[str, list[str]] = {"": [], "?": [], "-": []}
        position = 0
        while position < len(text):
            match = _TERM.match(text, position)
            if match is None:
                raise FilterPatternError("unbalanced quotation mark")
            position = match.end()
            term = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            if term:
                terms[match[1]].append(term)
        return cls(tuple(terms[""]), tuple(terms["?"]), tuple(terms["-"]))

    def matches(self, message: str) -> bool:
        """Whether a line passes."""
        return (
            all(term in message for term in self.every)
            and (not self.some or any(term in message for term in self.some))
            and not any(term in message for term in self.none)
        )
