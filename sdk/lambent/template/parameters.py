"""The `Parameters` section: declared values, what was given for them, and what of it is a secret.

Source of the rules: AWS CloudFormation User Guide, "Parameters".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lambent.template.values import Intrinsic, Map, Place, Seq

_KEYS: Final = {
    "Type", "Default", "AllowedValues", "AllowedPattern", "MinLength", "MaxLength", "MinValue", "MaxValue",
    "ConstraintDescription", "Description", "NoEcho",
}  # fmt: skip
_LISTS: Final = ("CommaDelimitedList", "List<")


@dataclass(frozen=True, slots=True)
class Parameters:
    """Values by name, and the texts that must not be shown."""

    values: Mapping[str, Any] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()


def read_parameters(section: Any, given: Mapping[str, str]) -> Parameters:
    """Give every declared parameter its value.

    Raises:
        TemplateError: one is declared wrongly, has no value, or has one that its declaration does not allow; or one
            was given that is not declared.
    """
    place = Place("Parameters")
    declared = section if section is not None else Map()
    if not isinstance(declared, Map):
        raise place.of(section).error("must be a mapping")
    unknown = sorted(set(given) - set(declared))
    if unknown:
        known = f"it has {', '.join(declared)}" if declared else "it has none"
        raise Place("").error(f"the template has no parameter {unknown[0]!r} ({known})")
    values: dict[str, Any] = {}
    secrets: set[str] = set()
    for name, declaration in declared.items():
        here = place.at(declared, name)
        if not isinstance(declaration, Map):
            raise here.error("must be a mapping with a Type")
        for key in declaration:
            if key not in _KEYS:
                raise here.at(declaration, key).error("is not known")
        values[name] = _value(name, declaration, given, here)
        if str(declaration.get("NoEcho", "")).lower() == "true":
            secrets.add(str(values[name]))
    return Parameters(values, frozenset(secret for secret in secrets if secret))


def _value(name: str, declaration: Map, given: Mapping[str, str], place: Place) -> Any:
    kind = declaration.get("Type")
    if not isinstance(kind, str):
        raise place.error("has no Type")
    if kind.startswith("AWS::SSM::"):
        raise place.error(f"{kind} is not served here: declare it as String and pass a value")
    if kind not in ("String", "Number") and not kind.startswith((*_LISTS, "AWS::")):
        raise place.error(f"{kind!r} is no type of a parameter")
    if name in given:
        text = given[name]
    elif "Default" in declaration:
        if isinstance(declaration["Default"], Map | Seq | Intrinsic):
            raise place.at(declaration, "Default").error("must be text")
        text = _text(declaration["Default"])
    else:
        raise place.error(f"has no Default: pass one by --parameter {name}=VALUE")
    parts = [part.strip() for part in text.split(",")] if kind.startswith(_LISTS) else [text]
    for part in parts:
        _check(part, kind, declaration, place)
    return Seq(list(parts), line=place.line) if kind.startswith(_LISTS) else text


def _check(text: str, kind: str, declaration: Map, place: Place) -> None:
    said = declaration.get("ConstraintDescription")
    hidden = "its value" if str(declaration.get("NoEcho", "")).lower() == "true" else repr(text)

    def refuse(reason: str) -> None:
        raise place.error(f"{hidden} {reason}" + (f" ({said})" if said else ""))

    if kind in ("Number", "List<Number>"):
        try:
            number = float(text)
        except ValueError:
            refuse("is not a number")
        else:
            if "MinValue" in declaration and number < _limit(declaration, "MinValue", place):
                refuse(f"is below the minimum of {declaration['MinValue']}")
            if "MaxValue" in declaration and number > _limit(declaration, "MaxValue", place):
                refuse(f"is over the maximum of {declaration['MaxValue']}")
    allowed = declaration.get("AllowedValues")
    if allowed is not None:
        if not isinstance(allowed, Seq):
            raise place.at(declaration, "AllowedValues").error("must be a list")
        texts = [_text(each) for each in allowed]
        if text not in texts:
            refuse(f"is not one of the allowed values: {', '.join(texts)}")
    if "MinLength" in declaration and len(text) < _limit(declaration, "MinLength", place):
        refuse(f"is shorter than {declaration['MinLength']}")
    if "MaxLength" in declaration and len(text) > _limit(declaration, "MaxLength", place):
        refuse(f"is longer than {declaration['MaxLength']}")
    if "AllowedPattern" in declaration:
        try:
            pattern = re.compile(str(declaration["AllowedPattern"]))
        except re.error as error:
            raise place.at(declaration, "AllowedPattern").error(f"is no regular expression: {error}") from error
        if pattern.fullmatch(text) is None:
            refuse(f"does not match {declaration['AllowedPattern']}")


def _limit(declaration: Map, name: str, place: Place) -> float:
    try:
        return float(_text(declaration[name]))
    except ValueError:
        raise place.at(declaration, name).error("must be a number") from None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
