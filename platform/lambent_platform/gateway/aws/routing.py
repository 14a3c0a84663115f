"""From a method and a path to an operation, by the `requestUri` of the model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from lambent_platform.gateway.aws.http import split_query

_LABEL = re.compile(r"\{([\w-]+)(\+?)\}")


@dataclass(frozen=True, slots=True)
class Match:
    """An operation and the decoded labels of its path."""

    operation: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Route:
    operation: str
    pattern: re.Pattern[str]
    labels: tuple[str, ...]
    query: frozenset[tuple[str, str]]
    """Fixed parts of the query that tell two operations on one path apart (`?find=LayerVersion`)."""
    rank: tuple[int, int]
    """Smaller is tried first: fixed queries, then paths with more literal text."""


class Router:
    """The routes of one service, by method and first segment of the path."""

    def __init__(self, operations: Iterable[tuple[str, str, str]]) -> None:
        """Take (operation, method, requestUri)."""
        self._routes: dict[tuple[str, str], list[_Route]] = {}
        for operation, method, uri in operations:
            self._routes.setdefault((method, _first_segment(uri)), []).append(_compile(operation, uri))
        for routes in self._routes.values():
            routes.sort(key=lambda route: route.rank)

    def knows(self, path: str) -> bool:
        """Whether any route begins with the first segment of `path`."""
        first = _first_segment(path)
        return any(segment == first for _, segment in self._routes)

    def find(self, method: str, path: str, query: Collection[tuple[str, str]] = ()) -> Match | None:
        """Return the operation for a percent-encoded path, None where the model has none."""
        for route in self._routes.get((method, _first_segment(path)), ()):
            if not route.query.issubset(query):
                continue
            match = route.pattern.fullmatch(path)
            if match is not None:
                values = (unquote(value) for value in match.groups())
                return Match(route.operation, dict(zip(route.labels, values, strict=True)))
        return None


def _first_segment(path: str) -> str:
    """Return what stands between the first two slashes; a label there matches nothing else, and no model has one."""
    return path[1:].split("/", 1)[0].split("?", 1)[0]


def _compile(operation: str, uri: str) -> _Route:
    path, _, query = uri.partition("?")
    parts: list[str] = []
    labels: list[str] = []
    literal = position = 0
    for label in _LABEL.finditer(path):
        parts.append(re.escape(path[position : label.start()]))
        literal += label.start() - position
        # A greedy label takes slashes, any other ends at one.
        parts.append("(.+)" if label[2] else "([^/]+)")
        labels.append(label[1])
        position = label.end()
    parts.append(re.escape(path[position:].rstrip("/")))
    literal += len(path) - position
    # Older SDKs carry the models of their day, whose paths end in a slash.
    return _Route(
        operation=operation,
        pattern=re.compile("".join(parts) + "/?"),
        labels=tuple(labels),
        query=frozenset(split_query(query)),
        rank=(0 if query else 1, -literal),
    )
