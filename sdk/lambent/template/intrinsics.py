"""Functions of CloudFormation's, evaluated as far as is known.

Twice: once without the resources, when the template is expanded (what names a resource stays as it is), and again for
each resource, when what it refers to has a name or an ARN; what the platform has not given yet is `Unknown`, and so is
everything that is made of it.

Source of the rules: AWS CloudFormation User Guide, "Intrinsic function reference".
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from lambent.template.values import NO_VALUE, Intrinsic, Map, Place, Seq, Unknown, is_deferred, plain

Lookup = Callable[[str, str | None, Place], Any]
"""(logical id, attribute; None for `Ref`) → the value, or `Unknown`."""
VALUES_MAX: Final = 200_000
"""How many values one evaluation may make: functions in each other could make more of them than the text is long."""
TEXT_CHARS_MAX: Final = 1_000_000
CONDITIONS_MAX: Final = 50
"""How many conditions may stand on each other."""

_PLACEHOLDER: Final = re.compile(r"\$\{(!?)([^{}]*)\}")
_REFUSED: Final[Mapping[str, str]] = {
    "Fn::ImportValue": "values of other stacks are not served here: make it a parameter",
    "Fn::GetAZs": "there are no availability zones here",
    "Fn::Cidr": "there are no networks here",
    "Fn::Transform": "macros are not served here",
}


class Evaluator:
    """Evaluates with parameters, pseudo parameters, mappings and conditions."""

    def __init__(
        self,
        *,
        parameters: Mapping[str, Any] | None = None,
        pseudo: Mapping[str, str] | None = None,
        mappings: Any = None,
        conditions: Any = None,
    ) -> None:
        self._values = {**(pseudo or {}), **(parameters or {})}
        self._mappings = mappings if mappings is not None else Map()
        self._conditions = conditions if conditions is not None else Map()
        self._decided: dict[str, bool] = {}
        self._deciding: list[str] = []
        self._functions: Mapping[str, Callable[[Any, Place, Lookup | None], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::If": self._if,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Base64": self._base64,
            "Fn::Length": self._length,
            "Fn::ToJsonString": self._to_json,
        }
        self._count = 0

    def evaluate(self, value: Any, place: Place, lookup: Lookup | None = None) -> Any:
        """Return the value with its functions carried out; without a lookup, references to resources stay.

        Raises:
            TemplateError: a function is not known, not served, or given what it cannot take.
        """
        self._count = 0
        return self._evaluate(value, place, lookup)

    def holds(self, name: Any, place: Place) -> bool:
        """Decide a condition of the `Conditions` section."""
        if not isinstance(name, str) or name not in self._conditions:
            raise place.error(f"there is no condition {name!r}")
        if name in self._deciding:
            raise place.error(f"the conditions go in a circle: {' → '.join([*self._deciding, name])}")
        if name not in self._decided:
            if len(self._deciding) >= CONDITIONS_MAX:
                raise place.error(f"more than {CONDITIONS_MAX} conditions stand on each other")
            self._deciding.append(name)
            try:
                here = Place("Conditions").at(self._conditions, name)
                self._decided[name] = self._condition(self._conditions[name], here)
            finally:
                self._deciding.pop()
        return self._decided[name]

    def _evaluate(self, value: Any, place: Place, lookup: Lookup | None) -> Any:
        self._count += 1
        if self._count > VALUES_MAX:
            raise place.error(f"its functions make more than {VALUES_MAX:,} values")
        if isinstance(value, Intrinsic):
            function = self._functions.get(value.name)
            here = place.of(value)
            if function is None:
                reason = _REFUSED.get(value.name)
                raise here.error(f"{value.name}: {reason}" if reason else f"{value.name} is not known here")
            return function(value.argument, here, lookup)
        if isinstance(value, Map):
            found = Map(line=value.line)
            for key, each in value.items():
                result = self._evaluate(each, place.at(value, key), lookup)
                if result is not NO_VALUE:
                    found.put(key, result, value.lines.get(key, value.line))
            return found
        if isinstance(value, Seq):
            items = Seq(line=value.line)
            for index, each in enumerate(value):
                here = place.at(value, index)
                result = self._evaluate(each, here, lookup)
                if result is not NO_VALUE:
                    items.append(result)
                    items.lines.append(here.line)
            return items
        if isinstance(value, str) and "{{resolve:" in value:
            raise place.error("dynamic references ({{resolve:…}}) are not served here: make it a parameter")
        return value

    def _ref(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        if not isinstance(argument, str):
            raise place.error("Ref takes a name")
        if argument == "AWS::NoValue":
            return NO_VALUE
        if argument in self._values:
            return self._values[argument]
        if argument.startswith("AWS::"):
            raise place.error(f"there is no pseudo parameter {argument}")
        return Intrinsic.ref(argument, place.line) if lookup is None else lookup(argument, None, place)

    def _get_att(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        parts = self._evaluate(argument, place, lookup)
        if not isinstance(parts, list) or len(parts) < 2 or not all(isinstance(each, str) and each for each in parts):
            raise place.error("Fn::GetAtt takes a resource and the name of an attribute")
        logical, attribute = parts[0], ".".join(parts[1:])
        if lookup is None:
            return Intrinsic.attribute(logical, attribute, place.line)
        return lookup(logical, attribute, place)

    def _sub(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        given: Any = Map()
        text = argument
        if isinstance(argument, Seq):
            if len(argument) != 2 or not isinstance(argument[1], Map):
                raise place.error("Fn::Sub takes a text, or a list of a text and a mapping")
            text, given = argument
        if not isinstance(text, str):
            raise place.error("Fn::Sub takes a text, or a list of a text and a mapping")
        parts: list[Any] = []
        at = 0
        for match in _PLACEHOLDER.finditer(text):
            parts.append(text[at : match.start()])
            at = match.end()
            literal, name = match[1], match[2].strip()
            if literal:
                parts.append(f"${{{match[2]}}}")
            elif name in given:
                parts.append(self._evaluate(given[name], place.at(given, name), lookup))
            elif "." in name and name not in self._values:
                logical, _, attribute = name.partition(".")
                parts.append(self._get_att(Seq([logical, attribute]), place, lookup))
            else:
                parts.append(self._ref(name, place, lookup))
        parts.append(text[at:])
        return self._joined("", parts, place)

    def _join(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        if not isinstance(argument, Seq) or len(argument) != 2 or not isinstance(argument[0], str):
            raise place.error("Fn::Join takes a list of a separator and a list")
        parts = self._evaluate(argument[1], place.at(argument, 1), lookup)
        if isinstance(parts, Intrinsic):
            return Intrinsic("Fn::Join", Seq([argument[0], parts]), place.line)
        if isinstance(parts, Unknown):
            return parts
        if not isinstance(parts, list):
            raise place.error("Fn::Join takes a list of a separator and a list")
        return self._joined(argument[0], parts, place)

    def _joined(self, separator: str, parts: list[Any], place: Place) -> Any:
        unknown = next((each for each in parts if isinstance(each, Unknown)), None)
        if unknown is not None:
            texts = [f"${{{each.text}}}" if isinstance(each, Unknown) else self._text(each, place) for each in parts]
            return Unknown(separator.join(texts)) if len([each for each in texts if each]) > 1 else unknown
        if any(isinstance(each, Intrinsic) for each in parts):
            return Intrinsic(
                "Fn::Join", Seq([separator, Seq(list(parts), line=place.line)], line=place.line), place.line
            )
        text = separator.join(self._text(each, place) for each in parts)
        if len(text) > TEXT_CHARS_MAX:
            raise place.error(f"it makes a text of {len(text):,} characters")
        return text

    def _text(self, value: Any, place: Place) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int):
            return str(value)
        if isinstance(value, list):
            return ",".join(self._text(each, place) for each in value)
        raise place.error(f"{'a mapping' if isinstance(value, Mapping) else 'nothing'} cannot be part of a text")

    def _select(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        if not isinstance(argument, Seq) or len(argument) != 2:
            raise place.error("Fn::Select takes a list of an index and a list")
        index = self._evaluate(argument[0], place, lookup)
        items = self._evaluate(argument[1], place, lookup)
        if isinstance(index, Unknown) or isinstance(items, Unknown):
            return items if isinstance(items, Unknown) else index
        if isinstance(index, Intrinsic) or isinstance(items, Intrinsic):
            return Intrinsic("Fn::Select", Seq([index, items], line=place.line), place.line)
        if not isinstance(items, list):
            raise place.error("Fn::Select takes a list of an index and a list")
        if not str(index).isdecimal() or int(index) >= len(items):
            raise place.error(f"Fn::Select: there is no item {index!r} among {len(items)}")
        return items[int(index)]

    def _split(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        if not isinstance(argument, Seq) or len(argument) != 2 or not isinstance(argument[0], str) or not argument[0]:
            raise place.error("Fn::Split takes a list of a separator and a text")
        text = self._evaluate(argument[1], place, lookup)
        if isinstance(text, Unknown):
            return text
        if isinstance(text, Intrinsic):
            return Intrinsic("Fn::Split", Seq([argument[0], text], line=place.line), place.line)
        if not isinstance(text, str):
            raise place.error("Fn::Split takes a list of a separator and a text")
        return Seq(list(text.split(argument[0])), line=place.line)

    def _if(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        if not isinstance(argument, Seq) or len(argument) != 3:
            raise place.error("Fn::If takes a list of a condition, what holds if it is true, and what if not")
        chosen = 1 if self.holds(argument[0], place) else 2
        return self._evaluate(argument[chosen], place.at(argument, chosen), lookup)

    def _find_in_map(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        if not isinstance(argument, Seq) or len(argument) not in (3, 4):
            raise place.error("Fn::FindInMap takes a list of a mapping, a first and a second key")
        names = [self._evaluate(each, place.at(argument, index), None) for index, each in enumerate(argument[:3])]
        if any(is_deferred(each) for each in names):
            raise place.error("Fn::FindInMap cannot depend on a resource")
        found: Any = self._mappings
        for name in names:
            if not isinstance(found, Map) or str(name) not in found:
                if len(argument) == 4 and isinstance(argument[3], Map) and "DefaultValue" in argument[3]:
                    return self._evaluate(argument[3]["DefaultValue"], place, lookup)
                raise place.error(f"Fn::FindInMap: there is no {'.'.join(map(str, names))} in Mappings")
            found = found[str(name)]
        if is_deferred(found):
            raise place.error("Mappings hold plain values alone")
        return found

    def _base64(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        text = self._evaluate(argument, place, lookup)
        if isinstance(text, Intrinsic):
            return Intrinsic("Fn::Base64", text, place.line)
        return text if isinstance(text, Unknown) else base64.b64encode(self._text(text, place).encode()).decode()

    def _length(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        items = self._evaluate(argument, place, lookup)
        if isinstance(items, Intrinsic):
            return Intrinsic("Fn::Length", items, place.line)
        if isinstance(items, Unknown):
            return items
        if not isinstance(items, list):
            raise place.error("Fn::Length takes a list")
        return len(items)

    def _to_json(self, argument: Any, place: Place, lookup: Lookup | None) -> Any:
        value = self._evaluate(argument, place, lookup)
        if is_deferred(value):
            return Intrinsic("Fn::ToJsonString", value, place.line) if lookup is None else _first_unknown(value)
        return json.dumps(plain(value), separators=(",", ":"))

    def _condition(self, value: Any, place: Place) -> bool:
        if isinstance(value, Map) and list(value) == ["Condition"]:
            return self.holds(value["Condition"], place.of(value))
        if not isinstance(value, Intrinsic):
            raise place.error("a condition is one of Fn::Equals, Fn::And, Fn::Or, Fn::Not and Condition")
        here = place.of(value)
        name, argument = value.name, value.argument
        if name == "Condition":
            return self.holds(argument, here)
        if not isinstance(argument, Seq):
            raise here.error(f"{name} takes a list")
        if name == "Fn::Equals" and len(argument) == 2:
            sides = [self._evaluate(each, here, None) for each in argument]
            if any(is_deferred(each) for each in sides):
                raise here.error("a condition cannot depend on a resource")
            return bool(self._comparable(sides[0]) == self._comparable(sides[1]))
        if name == "Fn::Not" and len(argument) == 1:
            return not self._condition(argument[0], here)
        if name in ("Fn::And", "Fn::Or") and 2 <= len(argument) <= 10:
            decided = [self._condition(each, here) for each in argument]
            return all(decided) if name == "Fn::And" else any(decided)
        raise here.error(f"{name} is no condition, or has the wrong number of arguments")

    def _comparable(self, value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, int) else plain(value)


def _first_unknown(value: Any) -> Any:
    """Return the first unknown in a tree, which then stands for all of it."""
    if isinstance(value, Unknown):
        return value
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        found = _first_unknown(each)
        if found is not None:
            return found
    return None
