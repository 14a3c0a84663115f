"""Selection expressions of WebSocket APIs: which route a message wants.

    $request.body.action      ${request.body.a.b}      ${request.body.service}/${request.body.items[0].kind}

Source: API Gateway Developer Guide, "WebSocket selection expressions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

_PART: Final = re.compile(r"\$\{(?P<braced>[^{}]*)\}|\$(?P<plain>[A-Za-z][\w.\-\[\]]*)|(?P<text>[^$]+)")
_STEP: Final = re.compile(r"(?P<name>[^.\[\]]+)|\[(?P<index>\d{1,9})\]|(?P<other>.)")
BODY: Final = "request.body."
VARIABLES: Final = "stageVariables."
_PARTS_MAX: Final = 32
_CHARACTERS_MAX: Final = 1024

Select = Callable[[bytes | str, Mapping[str, str]], str | None]
"""From a message and the stage's variables to a route key; None where the message does not say."""


class InvalidExpression(ValueError):
    """A selection expression that the service does not know."""


def compile_expression(expression: str) -> Select:
    """Read an expression.

    Raises:
        InvalidExpression: with what is wrong.
    """
    if not expression or len(expression) > _CHARACTERS_MAX:
        raise InvalidExpression(f"it must have between 1 and {_CHARACTERS_MAX} characters")
    parts: list[str | tuple[str, tuple[str | int, ...]]] = []
    position = 0
    while position < len(expression):
        match = _PART.match(expression, position)
        if match is None or len(parts) == _PARTS_MAX:
            raise InvalidExpression(f"it cannot be read from character {position + 1} on")
        position = match.end()
        parts.append(match["text"] if match["text"] is not None else _variable(match["braced"] or match["plain"] or ""))
    if all(isinstance(part, str) for part in parts):
        raise InvalidExpression("it selects nothing from the request")

    def select(message: bytes | str, variables: Mapping[str, str]) -> str | None:
        try:
            body = orjson.loads(message)
        except orjson.JSONDecodeError:
            body = None
        found = []
        for part in parts:
            text = part if isinstance(part, str) else _looked_up(part, body, variables)
            if text is None:
                return None
            found.append(text)
        return "".join(found)

    return select


def _variable(name: str) -> tuple[str, tuple[str | int, ...]]:
    if name.startswith(VARIABLES):
        return VARIABLES, (name.removeprefix(VARIABLES),)
    if not name.startswith(BODY):
        raise InvalidExpression(f"{name} is none of $request.body.<path> and $stageVariables.<name>")
    steps: list[str | int] = []
    for match in _STEP.finditer(name.removeprefix(BODY).replace("].", "]")):
        if match["name"] is not None:
            steps.append(match["name"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["other"] != ".":
            raise InvalidExpression(f"{name} is not a path within the body")
    if not steps:
        raise InvalidExpression(f"{name} is not a path within the body")
    return BODY, tuple(steps)


def _looked_up(part: tuple[str, tuple[str | int, ...]], body: Any, variables: Mapping[str, str]) -> str | None:
    where, steps = part
    if where == VARIABLES:
        return variables.get(str(steps[0]))
    value = body
    for step in steps:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
