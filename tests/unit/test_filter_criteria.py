"""Filter criteria of event source mappings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambent_platform.contracts.errors import InvalidParameterValue
from lambent_platform.core.filter_criteria import FilterCriteria


def criteria(*patterns: Any) -> FilterCriteria:
    """Make criteria as the model gives them."""
    return FilterCriteria.parse({"Filters": [{"Pattern": json.dumps(each)} for each in patterns]})


def message(body: str) -> dict[str, Any]:
    """A queue's record."""
    return {
        "messageId": "m",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "2", "MessageGroupId": "g"},
        "messageAttributes": {"kind": {"stringValue": "a", "dataType": "String"}},
        "eventSource": "aws:sqs",
    }


@pytest.mark.parametrize(
    ("body", "pattern", "passes"),
    [
        ('{"n": 5}', {"body": {"n": [5]}}, True),
        ('{"n": 6}', {"body": {"n": [5]}}, False),
        (' {"n": {"m": [1, 2]}}', {"body": {"n": {"m": [2]}}}, True),
        ('[{"n": 5}, {"n": 6}]', {"body": {"n": [6]}}, True),
        ("hello", {"body": {"n": [5]}}, False),
        ("hello", {"body": ["hello"]}, True),
        ("hello", {"body": [{"prefix": "he"}]}, True),
        ("hullo", {"body": ["hello"]}, False),
        ('{"n": 5}', {"body": [{"prefix": "{"}]}, False),
        ('["a"]', {"body": ["a"]}, False),
        ("{not json", {"body": [{"prefix": "{not"}]}, True),
        ("{not json", {"body": {"n": [{"exists": True}]}}, False),
        ("5", {"body": ["5"]}, True),
        ("", {"body": [""]}, True),
        ("hello", {"messageAttributes": {"kind": {"stringValue": ["a"]}}}, True),
        ('{"n": 5}', {"messageAttributes": {"kind": {"stringValue": ["a"]}}}, True),
        ("hello", {"messageAttributes": {"kind": {"stringValue": ["b"]}}}, False),
        ("hello", {"attributes": {"MessageGroupId": ["g"]}}, True),
        ('{"n": 5}', {"body": {"n": [5]}, "attributes": {"MessageGroupId": ["h"]}}, False),
        ('{"n": 5}', {"$or": [{"body": {"n": [6]}}, {"attributes": {"MessageGroupId": ["g"]}}]}, True),
    ],
)
def test_messages(body: str, pattern: Any, passes: bool) -> None:
    """A body is compared in the format that its pattern has, and dropped where it has another; the rest is as it is."""
    assert criteria(pattern).passes_message(message(body)) is passes


def test_a_body_of_the_wrong_format_is_dropped_even_by_a_pattern_for_what_is_not_there() -> None:
    """Text that is no JSON does not pass because a field of it cannot exist."""
    assert not criteria({"body": {"n": [{"exists": False}]}}).passes_message(message("hello"))
    assert criteria({"body": {"n": [{"exists": False}]}}).passes_message(message('{"m": 1}'))


def test_any_filter_is_enough_and_none_lets_everything_through() -> None:
    """Filters are ORed; without filters nothing is held back."""
    assert criteria({"body": ["x"]}, {"body": ["hello"]}).passes_message(message("hello"))
    assert not criteria({"body": ["x"]}, {"body": ["y"]}).passes_message(message("hello"))
    for empty in (None, {}, {"Filters": []}):
        assert FilterCriteria.parse(empty).passes_message(message("hello"))
        assert FilterCriteria.parse(empty).passes_entry({}, {})


@pytest.mark.parametrize(
    ("pattern", "passes"),
    [
        ({"data": {"kind": ["created"]}}, True),
        ({"data": {"kind": ["gone"]}}, False),
        ({"data": {"amount": [{"numeric": [">", 5]}]}}, True),
        ({"data": {"amount": ["10.5"]}}, True),
        ({"data": {"amount": [{"numeric": ["<", 5]}]}}, False),
        ({"data": {"payload": {"user": {"id": [7]}}}}, True),
        ({"data": {"kind": {"x": [{"exists": True}]}}}, False),
        ({"data": {"payload": ['{"user": {"id": 7}}']}}, False),
        ({"data": {"kind": [{"exists": True}], "absent": [{"exists": False}]}}, True),
        ({"data": {"twice": ["b"]}}, True),
        ({"data": ["created"]}, False),
        ({"redis": {"sequenceNumber": [{"prefix": "17"}]}}, True),
        ({"awsRegion": ["us-east-1"]}, True),
    ],
)
def test_entries(pattern: Any, passes: bool) -> None:
    """A stream's entry is filtered by its fields as text, as number, or by the JSON in them, and by its metadata."""
    record = {"awsRegion": "us-east-1", "redis": {"sequenceNumber": "1700-0"}}
    fields: dict[str, Any] = {
        "kind": "created", "amount": "10.5", "payload": '{"user": {"id": 7}}', "twice": ["a", "b"],
    }  # fmt: skip
    assert criteria(pattern).passes_entry(record, fields) is passes


@pytest.mark.parametrize("pattern", ["", "{", "{}", "[]", '{"body": "x"}', '{"body": [{"like": "x"}]}'])
def test_malformed_filters(pattern: str) -> None:
    """A filter that is no pattern is refused in Lambda's words."""
    with pytest.raises(InvalidParameterValue, match=r"^Invalid filter pattern definition\."):
        FilterCriteria.parse({"Filters": [{"Pattern": pattern}]})


def test_too_many_filters() -> None:
    """Five filters are allowed, or ten where a quota says so."""
    filters = {"Filters": [{"Pattern": '{"body": ["x"]}'}] * 6}
    with pytest.raises(InvalidParameterValue, match="at most 5"):
        FilterCriteria.parse(filters)
    assert FilterCriteria.parse(filters, filters_max=10).patterns
