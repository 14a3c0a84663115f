"""Constraints: each one's wording, and how AWS counts, joins and names what failed."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.model import ShapeResolver

from lambent_platform.contracts.errors import ValidationFailed
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.validation import ERRORS_MAX, VALUE_CHARACTERS_MAX, Validator

SHAPES: dict[str, Any] = {
    "Name": {"type": "string", "min": 2, "max": 4, "pattern": "[a-z]*"},
    "Mode": {"type": "string", "enum": ["A", "B"]},
    "Count": {"type": "integer", "min": 1, "max": 10},
    "Ratio": {"type": "double", "min": 0.5, "max": 1.5},
    "Data": {"type": "blob", "min": 1, "max": 3},
    "Names": {"type": "list", "member": {"shape": "Name"}, "max": 2},
    "Modes": {"type": "list", "member": {"shape": "Mode"}},
    "Labels": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Count"}, "max": 1},
    "Secret": {"type": "string", "max": 3, "sensitive": True},
    "Secrets": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Secret"}},
    "Inner": {
        "type": "structure",
        "required": ["Name"],
        "members": {"Name": {"shape": "Name"}, "KMSKeyArn": {"shape": "Name"}},
    },
    "Inners": {"type": "list", "member": {"shape": "Inner"}},
    "ByName": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Inner"}},
    "Flag": {"type": "boolean"},
    "Input": {
        "type": "structure",
        "required": ["Flag"],
        "members": {name: {"shape": name} for name in (
            "Name", "Mode", "Count", "Ratio", "Data", "Names", "Modes", "Labels", "Secret", "Secrets", "Inner",
            "Inners", "ByName", "Flag",
        )},
    },
}  # fmt: skip
INPUT = ShapeResolver(SHAPES).get_shape_by_name("Input")
NAME_RULES = (
    "[Member must have length less than or equal to 4, Member must have length greater than or equal to 2, "
    "Member must satisfy regular expression pattern: [a-z]*, Member must not be null]"
)
MODE_RULES = "[Member must satisfy enum value set: [A, B], Member must not be null]"


def message(params: dict[str, Any], unchecked: frozenset[str] = frozenset()) -> str:
    """What a check of otherwise right parameters says; empty where it passes."""
    try:
        Validator().check(INPUT, {"Flag": True, **params}, unchecked)
    except ValidationFailed as error:
        return error.message
    return ""


AT_LEAST_2 = "Member must have length greater than or equal to 2"
PATTERN = "Member must satisfy regular expression pattern: [a-z]*"
COUNT_RULES = (
    "[Member must have value less than or equal to 10, Member must have value greater than or equal to 1, "
    "Member must not be null]"
)


@pytest.mark.parametrize(
    ("params", "shown", "constraint"),
    [
        ({"Flag": None}, "null at 'flag'", "Member must not be null"),
        ({"Name": "a1"}, "'a1' at 'name'", PATTERN),
        ({"Name": "a"}, "'a' at 'name'", AT_LEAST_2),
        ({"Name": "abcde"}, "'abcde' at 'name'", "Member must have length less than or equal to 4"),
        ({"Mode": "C"}, "'C' at 'mode'", "Member must satisfy enum value set: [A, B]"),
        ({"Count": 0}, "'0' at 'count'", "Member must have value greater than or equal to 1"),
        ({"Count": 11}, "'11' at 'count'", "Member must have value less than or equal to 10"),
        ({"Ratio": 0.25}, "'0.25' at 'ratio'", "Member must have value greater than or equal to 0.5"),
        (
            {"Data": b"abcd"},
            "'java.nio.HeapByteBuffer[pos=0 lim=4 cap=4]' at 'data'",
            "Member must have length less than or equal to 3",
        ),
        (
            {"Names": ["ab", "cd", "ef"]},
            "'[ab, cd, ef]' at 'names'",
            "Member must have length less than or equal to 2",
        ),
        ({"Names": ["ab", "A"]}, "'[ab, A]' at 'names'", f"Member must satisfy constraint: {NAME_RULES}"),
        ({"Modes": ["X86"]}, "'[X86]' at 'modes'", f"Member must satisfy constraint: {MODE_RULES}"),
        ({"Modes": [None]}, "'[null]' at 'modes'", f"Member must satisfy constraint: {MODE_RULES}"),
        ({"Labels": {"A1": 1}}, "'{A1=1}' at 'labels'", f"Map keys must satisfy constraint: {NAME_RULES}"),
        ({"Labels": {"ab": 0}}, "'{ab=0}' at 'labels'", f"Map value must satisfy constraint: {COUNT_RULES}"),
        (
            {"Labels": {"ab": 1, "cd": 2}},
            "'{ab=1, cd=2}' at 'labels'",
            "Member must have length less than or equal to 1",
        ),
        ({"Secret": "hush"}, "at 'secret'", "Member must have length less than or equal to 3"),
        ({"Secrets": {"A": "x"}}, "at 'secrets'", f"Map keys must satisfy constraint: {NAME_RULES}"),
        ({"Inner": {}}, "null at 'inner.name'", "Member must not be null"),
        ({"Inner": {"Name": "ab", "KMSKeyArn": "1a"}}, "'1a' at 'inner.kMSKeyArn'", PATTERN),
        ({"Inners": [{"Name": "ab"}, {}]}, "null at 'inners.2.member.name'", "Member must not be null"),
        ({"ByName": {"ab": {"Name": "x"}}}, "'x' at 'byName.ab.member.name'", AT_LEAST_2),
    ],
)
def test_each_constraint_in_aws_words(params: dict[str, Any], shown: str, constraint: str) -> None:
    """One broken constraint is one clause in AWS's words."""
    assert message(params) == f"1 validation error detected: Value {shown} failed to satisfy constraint: {constraint}"


@pytest.mark.parametrize(
    "params",
    [
        {}, {"Name": "ab"}, {"Name": "abcd"}, {"Mode": "B"}, {"Count": 1}, {"Count": 10}, {"Ratio": 1.5},
        {"Data": b"a"},
        {"Names": []}, {"Names": ["ab", "cd"]}, {"Labels": {"ab": 10}}, {"Secret": "abc"}, {"Inner": {"Name": "ab"}},
        {"Inners": [{"Name": "ab"}]}, {"ByName": {"ab": {"Name": "ab"}}}, {"Flag": False},
    ],
)  # fmt: skip
def test_bounds_are_inclusive(params: dict[str, Any]) -> None:
    """What is on a bound passes."""
    assert message(params) == ""


def test_several_errors_are_counted_and_joined() -> None:
    """Clauses are joined by semicolons; a value may break more than one constraint."""
    found = message({"Name": "", "Mode": "C"})
    assert found.startswith("2 validation errors detected: Value '' at 'name' ")
    assert found.count("; Value ") == 1
    assert message({"Name": "A"}).startswith("2 validation errors detected: ")


def test_messages_are_bounded() -> None:
    """Neither many errors nor long values make a long reply."""
    assert message({"Inners": [{}] * 1000}).startswith(f"{ERRORS_MAX} validation errors detected: ")
    assert len(message({"Secrets": {"ab": "x"}, "Name": "a" * 100_000})) < VALUE_CHARACTERS_MAX + 500


def test_an_operation_may_check_a_member_itself() -> None:
    """Members given as unchecked pass, missing ones included."""
    assert message({"Mode": "C"}, frozenset({"Mode"})) == ""
    assert message({"Flag": None}, frozenset({"Flag"})) == ""
    assert message({"Mode": "C", "Count": 0}, frozenset({"Mode"})).startswith("1 ")


def test_lambdas_own_words_for_a_function_name() -> None:
    """The real model gives the message that Lambda's users know."""
    shape = ServiceCatalog().get("lambda").operation("GetFunction").input_shape
    with pytest.raises(ValidationFailed) as caught:
        Validator().check(shape, {"FunctionName": "a b"})
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)
    assert caught.value.message.startswith(
        "1 validation error detected: Value 'a b' at 'functionName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: (arn:"
    )
