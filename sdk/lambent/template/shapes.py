"""Which properties a type has, and what they are. What is not in a shape is an error: nothing is ignored in silence."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lambent.template.values import Intrinsic, Map, Place, Seq, Unknown, is_deferred, plain

Notes = Callable[[Place, str], None]
"""Takes what is accepted and has no effect here: where it is, and what is to be said about it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a property must be. `read` returns it in its own type."""

    says: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """A mapping with known keys."""

    keys: Mapping[str, Any]
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; one item alone stands for a list of it, as CloudFormation has it."""

    item: Any


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping with keys of the user's own."""

    value: Any


@dataclass(frozen=True, slots=True)
class Either:
    """A text, or a mapping of this shape."""

    shape: Any


@dataclass(frozen=True, slots=True)
class Noted:
    """Accepted, and without effect here."""

    text: str = "accepted, not enforced"


@dataclass(frozen=True, slots=True)
class Refused:
    """Understood and not served."""

    reason: str
    unless: tuple[Any, ...] = field(default=(None, False, "false", [], {}))
    """Values that ask for nothing."""


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value
    raise ValueError


def _integer(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError
    return int(value)


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError


def _json_text(value: Any) -> Any:
    if not isinstance(value, Map | Seq):
        return _text(value)
    if is_deferred(value):
        return Intrinsic("Fn::ToJsonString", value, value.line)
    return json.dumps(plain(value), separators=(",", ":"))


TEXT: Final = Kind("text", _text)
INTEGER: Final = Kind("a whole number", _integer)
BOOLEAN: Final = Kind("true or false", _boolean)
ANY: Final = Kind("anything", lambda value: value)
JSON_TEXT: Final = Kind("JSON", _json_text)
TEXTS: Final = ListOf(TEXT)
TEXT_MAP: Final = MapOf(TEXT)
TAG_LIST: Final = ListOf(Shape({"Key": TEXT, "Value": TEXT}, ("Key", "Value")))


def check(value: Any, kind: Any, place: Place, notes: Notes) -> Any:
    """Return a value in the types of its kind. What waits for a resource is passed on unchecked.

    Raises:
        TemplateError: it is of another type, has a key that is not known or not served, or lacks one.
    """
    here = place.of(value)
    if isinstance(kind, Refused):
        if plain(value) in kind.unless:
            return None
        raise here.error(kind.reason)
    if isinstance(kind, Noted):
        notes(place, kind.text)
        return None
    if isinstance(value, Intrinsic | Unknown):
        return value
    if isinstance(kind, Kind):
        try:
            return kind.read(value)
        except (ValueError, TypeError):
            raise here.error(f"must be {kind.says}, not {_shown(value)}") from None
    if isinstance(kind, Either):
        return check(value, kind.shape if isinstance(value, Map) else TEXT, place, notes)
    if isinstance(kind, ListOf):
        items = value if isinstance(value, Seq) else Seq([value], line=here.line)
        if value is None:
            raise here.error("must be a list")
        found = Seq(line=items.line)
        for index, each in enumerate(items):
            found.append(check(each, kind.item, here.at(items, index), notes))
        found.lines = list(items.lines)
        return found
    if not isinstance(value, Map):
        raise here.error(f"must be a mapping, not {_shown(value)}")
    result = Map(line=value.line)
    for key, each in value.items():
        inner = place.at(value, key)
        found_kind = kind.value if isinstance(kind, MapOf) else kind.keys.get(key)
        if found_kind is None:
            raise inner.error(_unknown(key, kind.keys))
        if each is None and not isinstance(found_kind, Refused | Noted):
            raise inner.error("has no value")
        checked = check(each, found_kind, inner, notes)
        if checked is not None:
            result.put(key, checked, value.lines.get(key, value.line))
    if isinstance(kind, Shape):
        for key in kind.required:
            if key not in result:
                raise here.error(f"has no {key}")
    return result


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return "is not a property that is known here" + (f"; did you mean {close[0]}?" if close else "")


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(plain(value), default=str)
    return text if len(text) <= 60 else text[:57] + "..."
