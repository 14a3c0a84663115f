"""What an event pattern can ask of one value: equality, and the comparison operators.

Source: EventBridge User Guide, "Comparison operators for use in event patterns".
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

Test = Callable[[Any], bool]

NUMBER_MAX: Final = 5.0e9
"""EventBridge compares numbers between -5.0e9 and 5.0e9."""


class InvalidPattern(ValueError):
    """The pattern is malformed; the message says how, in words for its author."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TextNumber(str):
    """Text of an event that may also be compared as the number that it spells, from a source that has only text."""

    __slots__ = ("number",)
    number: float

    @classmethod
    def of(cls, text: str) -> str:
        """Mark text that spells a finite number; any other is returned as it is."""
        try:
            number = float(text)
        except ValueError:
            return text
        if not math.isfinite(number) or "_" in text:
            return text
        marked = cls(text)
        marked.number = number
        return marked


def read_test(value: Any) -> Test | None:
    """Read one element of a field's list; None is `{"exists": false}`, which no value can pass.

    Raises:
        InvalidPattern: it is none of the comparisons.
    """
    if isinstance(value, Mapping):
        return _read_expression(value)
    if isinstance(value, str):
        return lambda found: isinstance(found, str) and found == value
    if value is None or isinstance(value, bool):
        return lambda found: found is value
    if isinstance(value, int | float):
        return lambda found: number_of(found) == value
    raise InvalidPattern("Match value must be String, number, true, false, or null")


def number_of(found: Any) -> float | None:
    """A value of an event as a number, where it is one."""
    if isinstance(found, TextNumber):
        return found.number
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _read_expression(expression: Mapping[str, Any]) -> Test | None:
    if not expression:
        raise InvalidPattern("Match expression name not found")
    if len(expression) > 1:
        raise InvalidPattern("Only one key allowed in match expression")
    ((name, operand),) = expression.items()
    if name == "exists":
        if not isinstance(operand, bool):
            raise InvalidPattern("exists match pattern must be either true or false.")
        return (lambda _: True) if operand else None
    read = _OPERATORS.get(name)
    if read is None:
        raise InvalidPattern(f"Unrecognized match type {name}")
    return read(operand)


def _text(operand: Any, name: str) -> str:
    if not isinstance(operand, str):
        raise InvalidPattern(f"{name} match pattern must be a string")
    return operand


def _ignoring_case(operand: Any, name: str) -> str | None:
    """The text of `{"equals-ignore-case": text}`; None where the operand is none."""
    if not isinstance(operand, Mapping):
        return None
    if set(operand) != {"equals-ignore-case"}:
        raise InvalidPattern(f"Unsupported {name} pattern: {', '.join(operand) or 'nothing'}")
    return _text(operand["equals-ignore-case"], "equals-ignore-case").lower()


def _prefix(operand: Any) -> Test:
    if (folded := _ignoring_case(operand, "prefix")) is not None:
        return lambda found: isinstance(found, str) and found.lower().startswith(folded)
    start = _text(operand, "prefix")
    return lambda found: isinstance(found, str) and found.startswith(start)


def _suffix(operand: Any) -> Test:
    if (folded := _ignoring_case(operand, "suffix")) is not None:
        return lambda found: isinstance(found, str) and found.lower().endswith(folded)
    end = _text(operand, "suffix")
    return lambda found: isinstance(found, str) and found.endswith(end)


def _equals_ignore_case(operand: Any) -> Test:
    folded = _text(operand, "equals-ignore-case").lower()
    return lambda found: isinstance(found, str) and found.lower() == folded


def _wildcard(operand: Any) -> Test:
    """`*` is any run of characters. The parts between are looked for once each, from left to right."""
    start, *rest = _wildcard_parts(_text(operand, "wildcard"))
    if not rest:
        return lambda found: isinstance(found, str) and found == start
    *middle, end = rest

    def test(found: Any) -> bool:
        if not isinstance(found, str) or not found.startswith(start):
            return False
        position, limit = len(start), len(found) - len(end)
        for part in middle:
            at = found.find(part, position, limit) if position <= limit else -1
            if at < 0:
                return False
            position = at + len(part)
        return position <= limit and found.endswith(end)

    return test


def _wildcard_parts(text: str) -> list[str]:
    parts: list[list[str]] = [[]]
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
            if text[position : position + 1] not in {"*", "\\"}:
                raise InvalidPattern(f"Invalid escape character at pos {position}")
            parts[-1].append(text[position])
        elif character == "*":
            if text[position + 1 : position + 2] == "*":
                raise InvalidPattern(f"Consecutive wildcard characters at pos {position}")
            parts.append([])
        else:
            parts[-1].append(character)
        position += 1
    return ["".join(part) for part in parts]


def _cidr(operand: Any) -> Test:
    text = _text(operand, "cidr")
    if text.count("/") != 1:
        raise InvalidPattern("Malformed CIDR, one '/' required")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidPattern(f"Malformed CIDR: {text}") from None

    def test(found: Any) -> bool:
        if not isinstance(found, str):
            return False
        try:
            return ipaddress.ip_address(found) in network
        except ValueError:
            return False

    return test


def _numeric(operand: Any) -> Test:
    if not isinstance(operand, list):
        raise InvalidPattern("Value of numeric must be an array.")
    if not operand or not isinstance(operand[0], str):
        raise InvalidPattern(f"Invalid member in numeric match: {operand[0] if operand else ']'}")
    operator, limit = operand[0], _limit(operand, 1)
    first = _comparison(operator, limit)
    if first is None:
        raise InvalidPattern(f"Unrecognized numeric range operator: {operator}")
    if len(operand) == 2:
        return lambda found: (number := number_of(found)) is not None and first(number)
    if operator not in {">", ">="}:
        raise InvalidPattern("Too many elements in numeric expression")
    if not isinstance(operand[2], str):
        raise InvalidPattern(f"Bad value in numeric range: {operand[2]}")
    second = _comparison(operand[2], _limit(operand, 3)) if operand[2] in {"<", "<="} else None
    if second is None:
        raise InvalidPattern(f"Bad numeric range operator: {operand[2]}")
    if len(operand) > 4:
        raise InvalidPattern("Too many terms in numeric range expression")
    if operand[3] <= limit:
        raise InvalidPattern("Bottom must be less than top")
    return lambda found: (number := number_of(found)) is not None and first(number) and second(number)


def _limit(operand: list[Any], index: int) -> float:
    value = operand[index] if index < len(operand) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidPattern(f"Value of {operand[index - 1]} must be numeric")
    if not -NUMBER_MAX <= value <= NUMBER_MAX:
        raise InvalidPattern(f"Value must be between {-NUMBER_MAX} and {NUMBER_MAX}, inclusive")
    return value


def _comparison(operator: str, limit: float) -> Callable[[float], bool] | None:
    comparisons: dict[str, Callable[[float], bool]] = {
        "=": lambda number: number == limit,
        "<": lambda number: number < limit,
        "<=": lambda number: number <= limit,
        ">": lambda number: number > limit,
        ">=": lambda number: number >= limit,
    }
    return comparisons.get(operator)


def _anything_but(operand: Any) -> Test:
    """Negate values of one kind, or one operator on one or several texts; a value of another kind always passes."""
    if isinstance(operand, Mapping):
        if len(operand) != 1:
            raise InvalidPattern("Only one key allowed in match expression")
        ((name, texts),) = operand.items()
        if name not in _NEGATABLE:
            raise InvalidPattern(f"Unsupported anything-but pattern: {name}")
        listed = texts if isinstance(texts, list) else [texts]
        if not listed:
            raise InvalidPattern("Empty arrays are not allowed")
        if not all(isinstance(text, str) for text in listed):
            raise InvalidPattern(f"{name} match pattern must be a string")
        if name in {"prefix", "suffix"} and not all(listed):
            raise InvalidPattern("Null prefix/suffix not allowed")
        tests = [_NEGATABLE[name](text) for text in listed]
        return lambda found: not any(test(found) for test in tests)
    values = operand if isinstance(operand, list) else [operand]
    if any(isinstance(value, bool) or not isinstance(value, str | int | float) for value in values):
        raise InvalidPattern("Inside anything but list, start|null|boolean is not supported.")
    if len({isinstance(value, str) for value in values}) != 1:
        raise InvalidPattern(
            "Inside anything but list, either all values are number or string, mixed type is not supported"
        )
    if isinstance(values[0], str):
        texts = frozenset(values)
        return lambda found: not (isinstance(found, str) and found in texts)
    numbers = frozenset(values)
    return lambda found: number_of(found) not in numbers


_NEGATABLE: Final[dict[str, Callable[[Any], Test]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}
_OPERATORS: Final[dict[str, Callable[[Any], Test]]] = {
    **_NEGATABLE,
    "cidr": _cidr,
    "numeric": _numeric,
    "anything-but": _anything_but,
}
