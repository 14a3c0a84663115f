"""Selection expressions of WebSocket APIs."""

from __future__ import annotations

import json

import pytest

from lambent_platform.core.apis.selection import InvalidExpression, compile_expression

BODY = {"action": "join", "a": {"b": "deep", "n": 3, "t": True}, "list": [{"k": "first"}, "x"], "s p": "q"}


@pytest.mark.parametrize(
    ("expression", "key"),
    [
        ("$request.body.action", "join"),
        ("${request.body.action}", "join"),
        ("${request.body.a.b}", "deep"),
        ("$request.body.a.b", "deep"),
        ("$request.body.a.n", "3"),
        ("$request.body.a.t", "true"),
        ("${request.body.list[0].k}", "first"),
        ("$request.body.list[1]", "x"),
        ("${request.body.s p}", "q"),
        ("${request.body.action}/${request.body.a.b}", "join/deep"),
        ("v1-${request.body.action}", "v1-join"),
        ("${stageVariables.kind}", "blue"),
        ("$request.body.none", None),
        ("$request.body.a", None),
        ("$request.body.list[7]", None),
        ("$request.body.action.more", None),
        ("${request.body.action}/${request.body.none}", None),
    ],
)
def test_expressions(expression: str, key: str | None) -> None:
    """A path into the body, alone, in braces, or among text; None where the body has no plain value there."""
    assert compile_expression(expression)(json.dumps(BODY).encode(), {"kind": "blue"}) == key


@pytest.mark.parametrize("message", ["", "hello", "[]", "null", "1", '"action"', '{"action": null}', "{", b"\xff"])
def test_other_messages(message: str | bytes) -> None:
    """What is no JSON object with the member selects nothing."""
    assert compile_expression("$request.body.action")(message, {}) is None


@pytest.mark.parametrize(
    "expression",
    ["", "action", "$", "$request.body.", "${request.body.}", "$request.header.x", "${request.body.a", "$context.x",
     "$request.body.a[", "${request.body.a[x]}", "${request.body.a}" * 40, "$request.body." + "a" * 2000],
)  # fmt: skip
def test_what_is_no_expression(expression: str) -> None:
    """Anything else is refused when the API is made."""
    with pytest.raises(InvalidExpression):
        compile_expression(expression)
