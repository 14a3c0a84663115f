"""EventBridge event patterns: what rules and filter criteria choose events by.

    {"source": ["a", "b"]}                            one of these values
    {"detail": {"kind": [{"prefix": "x"}]}}           nested fields, all of which must match
    {"$or": [{"a": [1]}, {"b": [{"exists": false}]}]} one of these patterns

An array in an event matches by any of its elements, and an object pattern by one element as a whole. Matching takes
time in proportion to pattern and event, whatever they hold: nothing is ever tried twice.

Source: EventBridge User Guide, "Creating Amazon EventBridge event patterns" and "Comparison operators"; the words of
errors are those of its open rule engine (aws/event-ruler).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lambent_platform.core.pattern_tests import InvalidPattern, Test, TextNumber, read_test

__all__ = ["InvalidPattern", "Pattern", "TextNumber", "compile_pattern"]

PATTERN_CHARS_MAX: Final = 4096
DEPTH_MAX: Final = 64
OR: Final = "$or"
_RESERVED_INSIDE_OR: Final = frozenset(
    {"prefix", "suffix", "equals-ignore-case", "anything-but", "numeric", "exists", "cidr", "wildcard", "exactly"}
)
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What one field may hold: any of the tests, or nothing at all."""

    path: tuple[str, ...]
    tests: tuple[Test, ...]
    absent: bool


@dataclass(frozen=True, slots=True)
class _Node:
    """An object pattern: all of its fields, and one of each group of alternatives."""

    fields: tuple[tuple[str, _Node | _Leaf], ...]
    choices: tuple[tuple[_Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that has been read."""

    _root: _Node

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether an event (as JSON is decoded) has what the pattern asks for."""
        return _node_matches(self._root, event, event)

    def form_of(self, name: str) -> Literal["", "values", "object"]:
        """What the pattern has for a field of the event itself: a list of values, an object, or nothing."""
        for field, wanted in self._root.fields:
            if field == name:
                return "values" if isinstance(wanted, _Leaf) else "object"
        return ""


def compile_pattern(pattern: Mapping[str, Any] | str) -> Pattern:
    """Read a pattern, as JSON text of up to 4,096 characters or decoded.

    Raises:
        InvalidPattern: it is no pattern; the message says why.
    """
    if isinstance(pattern, str):
        if len(pattern) > PATTERN_CHARS_MAX:
            raise InvalidPattern(f"Pattern must have length less than or equal to {PATTERN_CHARS_MAX}")
        pattern = _decode(pattern)
    if not isinstance(pattern, Mapping):
        raise InvalidPattern("Filter is not an object")
    return Pattern(_read_object(pattern, (), inside_or=False, depth=1))


def _decode(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise InvalidPattern(f"Match value must be String, number, true, false, or null, not {constant}")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise InvalidPattern(f"Pattern is nested more than {DEPTH_MAX} levels deep") from None
    except ValueError as error:
        raise InvalidPattern(f"Pattern is not JSON: {error}") from None


def _read_object(source: Mapping[str, Any], path: tuple[str, ...], *, inside_or: bool, depth: int) -> _Node:
    if depth > DEPTH_MAX:
        raise InvalidPattern(f"Pattern is nested more than {DEPTH_MAX} levels deep")
    if not source:
        raise InvalidPattern("Empty objects are not allowed")
    fields: list[tuple[str, _Node | _Leaf]] = []
    choices: list[tuple[_Node, ...]] = []
    for name, value in source.items():
        if name == OR and _is_choice(value):
            choices.append(tuple(_read_object(each, path, inside_or=True, depth=depth + 1) for each in value))
            continue
        if inside_or and name in _RESERVED_INSIDE_OR:
            raise InvalidPattern(f"{name} is a reserved field name which cannot be used inside {OR}.")
        below = (*path, name)
        if isinstance(value, Mapping):
            fields.append((name, _read_object(value, below, inside_or=inside_or, depth=depth + 1)))
        elif isinstance(value, list):
            fields.append((name, _read_leaf(value, below)))
        else:
            raise InvalidPattern(f'"{name}" must be an object or an array')
    return _Node(tuple(fields), tuple(choices))


def _is_choice(value: Any) -> bool:
    """Whether the value of a key `$or` joins patterns; otherwise `$or` is the name of a field, as in old rules."""
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(isinstance(each, Mapping) and not _RESERVED_INSIDE_OR & each.keys() for each in value)
    )


def _read_leaf(values: list[Any], path: tuple[str, ...]) -> _Leaf:
    if not values:
        raise InvalidPattern("Empty arrays are not allowed")
    tests: list[Test] = []
    absent = False
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidPattern("Match value must be String, number, true, false, or null")
        test = read_test(value)
        if test is None:
            absent = True
        else:
            tests.append(test)
    return _Leaf(path, tuple(tests), absent)


def _node_matches(node: _Node, value: Any, event: Mapping[str, Any]) -> bool:
    """Whether an object does, or one object of an array; where there is none, its fields are absent."""
    objects = (
        [value] if isinstance(value, Mapping) else [each for each in _elements(value) if isinstance(each, Mapping)]
    )
    return any(_object_matches(node, each, event) for each in objects or ({},))


def _object_matches(node: _Node, value: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    for name, wanted in node.fields:
        found = value.get(name, _MISSING)
        if isinstance(wanted, _Leaf):
            if not _leaf_matches(wanted, found, event):
                return False
        elif not _node_matches(wanted, found, event):
            return False
    return all(any(_object_matches(each, value, event) for each in choice) for choice in node.choices)


def _leaf_matches(leaf: _Leaf, value: Any, event: Mapping[str, Any]) -> bool:
    for element in _elements(value):
        if not isinstance(element, Mapping) and any(test(element) for test in leaf.tests):
            return True
    return leaf.absent and not _has_leaf(event, leaf.path)


def _elements(value: Any) -> Iterator[Any]:
    """A value itself, or what an array holds, arrays within it included; nothing where there is none."""
    if value is _MISSING:
        return
    if not isinstance(value, list):
        yield value
        return
    stack = [iter(value)]
    while stack:
        for element in stack[-1]:
            if isinstance(element, list):
                stack.append(iter(element))
                break
            yield element
        else:
            stack.pop()


def _has_leaf(value: Any, path: tuple[str, ...]) -> bool:
    """Whether anything of the event's is at a path: a field is absent only where no element of an array has it."""
    level: list[Any] = [value]
    for name in path:
        found = (each[name] for each in level if isinstance(each, Mapping) and name in each)
        level = [element for each in found for element in _elements(each)]
    return any(not isinstance(each, Mapping) for each in level)
