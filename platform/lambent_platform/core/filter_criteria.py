"""Filter criteria of event source mappings: which records of a queue or stream reach the function.

A record passes by any of up to five filters, each an EventBridge pattern over the record as the function would see
it. Two parts of a record are looked into: the `body` of a queue's message, and `data`, by which the fields of a
stream's entry are named.

    format of the content   pattern for it is an object   is a list of values   is not there
    JSON object or array    looked into                   dropped               passes on the rest alone
    any other text          dropped                       compared as text      passes on the rest alone

Source: Lambda Developer Guide, "Control which events Lambda sends to your function" and "Using event filtering with
an Amazon SQS event source".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lambent_platform.contracts.errors import InvalidParameterValue
from lambent_platform.core.event_pattern import InvalidPattern, Pattern, TextNumber, compile_pattern

FILTERS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class FilterCriteria:
    """The filters of one mapping; without any, everything passes."""

    patterns: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, criteria: Mapping[str, Any] | None, *, filters_max: int = FILTERS_MAX) -> FilterCriteria:
        """Read the model's shape, `{"Filters": [{"Pattern": "<JSON>"}, …]}`.

        Raises:
            InvalidParameterValue: there are too many filters, or one of them is malformed.
        """
        filters = (criteria or {}).get("Filters") or []
        if len(filters) > filters_max:
            raise InvalidParameterValue(
                f"Filter criteria have {len(filters)} filters, and at most {filters_max} are allowed.", Type="User"
            )
        return cls.of([str(each.get("Pattern", "")) for each in filters])

    @classmethod
    def of(cls, patterns: Sequence[str]) -> FilterCriteria:
        """Read patterns, as JSON.

        Raises:
            InvalidParameterValue: one of them is malformed.
        """
        try:
            return cls(tuple(compile_pattern(each) for each in patterns))
        except InvalidPattern as error:
            raise InvalidParameterValue(
                f"Invalid filter pattern definition. {error.message}".strip(), Type="User"
            ) from None

    def passes_message(self, record: Mapping[str, Any]) -> bool:
        """Whether a queue's record, in the shape of Lambda's SQS event, reaches the function."""
        if not self.patterns:
            return True
        content, decoded = _content(str(record.get("body", "")))
        event = {**record, "body": content}
        mismatch = "values" if decoded else "object"
        return any(each.form_of("body") != mismatch and each.matches(event) for each in self.patterns)

    def passes_entry(self, record: Mapping[str, Any], fields: Mapping[str, str | list[str]]) -> bool:
        """Whether a stream's record does; `fields` are the texts of its entry, which patterns see as `data`.

        A field that holds a JSON object or array can be looked into. Redis knows only text, so that one that spells
        a number can be compared as a number too.
        """
        if not self.patterns:
            return True
        data = {name: _field(value) for name, value in fields.items()}
        event = {**record, "data": data}
        return any(each.matches(event) for each in self.patterns)


def _content(text: str) -> tuple[Any, bool]:
    """A text decoded where it is a JSON object or array, and whether it was."""
    if text.lstrip()[:1] in {"{", "["}:
        try:
            return orjson.loads(text), True
        except orjson.JSONDecodeError:
            pass
    return text, False


def _field(value: str | Iterable[str]) -> Any:
    if not isinstance(value, str):
        return [_field(each) for each in value]
    content, decoded = _content(value)
    return content if decoded else TextNumber.of(value)
