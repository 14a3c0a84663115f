"""The constraints of the model, in AWS's own words.

Wordings and paths are those that AWS's services print: members in camelCase joined by dots, elements of a list as
`layers.1.member`, a value as Java shows it (`[a, b]`, `{key=value}`), one clause for each constraint that failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from lambent_platform.contracts.errors import ValidationFailed
from lambent_platform.gateway.aws.patterns import MATCHED_CHARACTERS_MAX, compile_pattern

if TYPE_CHECKING:  # a gateway that has not needed a model yet does not pay for botocore
    from botocore.model import Shape

ERRORS_MAX: Final = 10
"""More clauses than this are counted no further: a long list of wrong elements would fill the reply."""
VALUE_CHARACTERS_MAX: Final = 4096
NOT_NULL: Final = "Member must not be null"

_NUMBERS: Final = frozenset({"integer", "long", "float", "double"})
_SCALARS: Final = _NUMBERS | {"string", "character", "boolean", "blob", "timestamp"}


class Validator:
    """Checks parsed parameters against their shape. Keeps the compiled patterns of one service."""

    def __init__(self) -> None:
        self._patterns: dict[str, re.Pattern[str] | None] = {}

    def check(self, shape: Shape, params: Mapping[str, Any], unchecked: frozenset[str] = frozenset()) -> None:
        """Check a whole input; `unchecked` names top-level members that are left to the operation.

        Raises:
            ValidationFailed: with every clause, as AWS counts and joins them.
        """
        clauses: list[str] = []
        for clause in self._structure(shape, params, "", unchecked):
            clauses.append(clause)
            if len(clauses) == ERRORS_MAX:
                break
        if clauses:
            noun = "error" if len(clauses) == 1 else "errors"
            raise ValidationFailed(f"{len(clauses)} validation {noun} detected: {'; '.join(clauses)}")

    def _structure(
        self, shape: Shape, value: Mapping[str, Any], path: str, unchecked: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        for name in shape.required_members:
            if value.get(name) is None and name not in unchecked:
                yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: {NOT_NULL}"
        for name, member in shape.members.items():
            if value.get(name) is not None and name not in unchecked:
                yield from self._member(member, value[name], _join(path, name))

    def _member(self, shape: Shape, value: Any, path: str) -> Iterator[str]:
        for wording in self._broken(shape, value):
            yield _clause(shape, value, path, wording)
        if shape.type_name == "structure":
            yield from self._structure(shape, value, path)
        elif shape.type_name == "list":
            yield from self._list(shape, value, path)
        elif shape.type_name == "map":
            yield from self._map(shape, value, path)

    def _list(self, shape: Shape, value: list[Any], path: str) -> Iterator[str]:
        member = shape.member
        if any(item is None or (member.type_name in _SCALARS and any(self._broken(member, item))) for item in value):
            yield _clause(shape, value, path, f"Member must satisfy constraint: {_all_of(member)}")
        if member.type_name not in _SCALARS:
            for number, item in enumerate(value, start=1):
                if item is not None:
                    yield from self._member(member, item, f"{path}.{number}.member")

    def _map(self, shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
        if any(any(self._broken(shape.key, key)) for key in value):
            yield _clause(shape, value, path, f"Map keys must satisfy constraint: {_all_of(shape.key)}")
        member = shape.value
        scalar = member.type_name in _SCALARS
        if any(item is None or (scalar and any(self._broken(member, item))) for item in value.values()):
            yield _clause(shape, value, path, f"Map value must satisfy constraint: {_all_of(member)}")
        if not scalar:
            for key, item in value.items():
                if item is not None:
                    yield from self._member(member, item, f"{path}.{key}.member")

    def _broken(self, shape: Shape, value: Any) -> Iterator[str]:
        """Yield the wording of each constraint of `shape` itself that `value` breaks."""
        limits = shape.metadata
        if shape.type_name == "string":
            if "pattern" in limits and not self._matches(limits["pattern"], value):
                yield _pattern_wording(limits["pattern"])
            if limits.get("enum") and value not in limits["enum"]:
                yield _enum_wording(limits["enum"])
        size = _size(shape, value)
        if size is None:
            return
        noun = "value" if shape.type_name in _NUMBERS else "length"
        if "max" in limits and size > limits["max"]:
            yield _bound_wording(noun, "less", limits["max"])
        if "min" in limits and size < limits["min"]:
            yield _bound_wording(noun, "greater", limits["min"])

    def _matches(self, pattern: str, value: str) -> bool:
        if pattern not in self._patterns:
            self._patterns[pattern] = compile_pattern(pattern)
        compiled = self._patterns[pattern]
        return compiled is None or len(value) > MATCHED_CHARACTERS_MAX or compiled.fullmatch(value) is not None


def _size(shape: Shape, value: Any) -> float | None:
    """Return what `min` and `max` of a shape speak of: the number itself, or a length; None where they mean nothing."""
    if shape.type_name in _NUMBERS:
        return float(value) if isinstance(value, float) else int(value)
    if shape.type_name in {"string", "blob", "list", "map"}:
        return len(value)
    return None


def _all_of(shape: Shape) -> str:
    """List every constraint of an element, as AWS does whichever of them failed."""
    limits = shape.metadata
    noun = "value" if shape.type_name in _NUMBERS else "length"
    wordings = []
    if "max" in limits:
        wordings.append(_bound_wording(noun, "less", limits["max"]))
    if "min" in limits:
        wordings.append(_bound_wording(noun, "greater", limits["min"]))
    if "pattern" in limits:
        wordings.append(_pattern_wording(limits["pattern"]))
    if limits.get("enum"):
        wordings.append(_enum_wording(limits["enum"]))
    return f"[{', '.join([*wordings, NOT_NULL])}]"


def _pattern_wording(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern}"


def _enum_wording(values: list[str]) -> str:
    return f"Member must satisfy enum value set: [{', '.join(values)}]"


def _bound_wording(noun: str, direction: str, bound: float) -> str:
    return f"Member must have {noun} {direction} than or equal to {bound}"


def _clause(shape: Shape, value: Any, path: str, wording: str) -> str:
    # AWS leaves out what its model calls sensitive, such as the values of environment variables.
    shown = "" if _is_sensitive(shape) else f"'{_shown(value)}' "
    return f"Value {shown}at '{path}' failed to satisfy constraint: {wording}"


def _is_sensitive(shape: Shape) -> bool:
    if shape.metadata.get("sensitive"):
        return True
    if shape.type_name == "map":
        return _is_sensitive(shape.key) or _is_sensitive(shape.value)
    return shape.type_name == "list" and _is_sensitive(shape.member)


def _shown(value: Any) -> str:
    """Return a value as Java prints it, cut where it is longer than anyone reads."""
    text = _java(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}..."


def _java(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    if isinstance(value, list):
        return f"[{', '.join(_java(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}={_java(item)}' for key, item in value.items())}}}"
    return str(value)


def _join(path: str, name: str) -> str:
    member = name[:1].lower() + name[1:]
    return f"{path}.{member}" if path else member
