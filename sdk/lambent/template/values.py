"""What a template is made of: mappings and lists that know their lines, functions that are not evaluated yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lambent.errors import SpecError


class TemplateError(SpecError):
    """Something in a template is wrong or not served; says where, and on which line."""

    def __init__(self, text: str, *, path: str = "", line: int = 0) -> None:
        at = f"line {line}: " if line else ""
        super().__init__(f"{at}{path}: {text}" if path else f"{at}{text}")
        self.text = text
        self.path = path
        self.line = line


class Map(dict[str, Any]):
    """A mapping with the line of each key."""

    __slots__ = ("line", "lines")

    def __init__(self, items: Mapping[str, Any] | None = None, *, line: int = 0) -> None:
        super().__init__(items or {})
        self.line = line
        self.lines: dict[str, int] = {}

    def put(self, key: str, value: Any, line: int) -> None:
        """Set a key together with its line."""
        self[key] = value
        self.lines[key] = line


class Seq(list[Any]):
    """A list with the line of each item."""

    __slots__ = ("line", "lines")

    def __init__(self, items: list[Any] | None = None, *, line: int = 0) -> None:
        super().__init__(items or [])
        self.line = line
        self.lines: list[int] = []


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """A function of CloudFormation's, by its long name (`Ref`, `Fn::Sub`), and what it is given."""

    name: str
    argument: Any
    line: int = 0

    @classmethod
    def ref(cls, logical_id: str, line: int = 0) -> Intrinsic:
        """`!Ref logical_id`."""
        return cls("Ref", logical_id, line)

    @classmethod
    def attribute(cls, logical_id: str, name: str, line: int = 0) -> Intrinsic:
        """`!GetAtt logical_id.name`."""
        return cls("Fn::GetAtt", Seq([logical_id, name], line=line), line)

    @classmethod
    def join(cls, *parts: Any, line: int = 0) -> Intrinsic:
        """Parts of a text, put together without anything in between."""
        return cls("Fn::Join", Seq(["", Seq(list(parts), line=line)], line=line), line)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that the platform gives when the resource is made; `text` names it."""

    text: str

    def __str__(self) -> str:
        return f"(known after deploy: {self.text})"


class _NoValue:
    """`AWS::NoValue`: the property is as if it were not there."""

    def __repr__(self) -> str:
        return "AWS::NoValue"


NO_VALUE: Final = _NoValue()


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a template something is: a path of keys, and the nearest line that is known."""

    path: str
    line: int = 0

    def at(self, container: Any, key: str | int) -> Place:
        """The place of one entry of the container that is here."""
        line = self.line
        if isinstance(container, Map):
            line = container.lines.get(str(key), container.line or line)
        elif isinstance(container, Seq) and isinstance(key, int):
            line = container.lines[key] if key < len(container.lines) else (container.line or line)
        text = f"[{key}]" if isinstance(key, int) else str(key)
        separator = "" if not self.path or isinstance(key, int) else "."
        return Place(f"{self.path}{separator}{text}", line)

    def of(self, value: Any) -> Place:
        """The same place, with the line that the value itself knows."""
        line = getattr(value, "line", 0)
        return Place(self.path, line) if line else self

    def error(self, text: str) -> TemplateError:
        """An error about what is here."""
        return TemplateError(text, path=self.path, line=self.line)


def is_deferred(value: Any) -> bool:
    """Whether a value waits for something that is not known yet, itself or anywhere in it."""
    if isinstance(value, Intrinsic | Unknown):
        return True
    if isinstance(value, Mapping):
        return any(is_deferred(each) for each in value.values())
    return isinstance(value, list) and any(is_deferred(each) for each in value)


def plain(value: Any) -> Any:
    """Return a tree as ordinary dicts and lists, which know no lines."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value
