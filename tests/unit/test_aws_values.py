"""From JSON and from text to the model's types: what is taken, what is refused, and in which words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.model import Shape, ShapeResolver

from lambent_platform.contracts.errors import ApiError
from lambent_platform.gateway.aws.timestamps import Format, format_timestamp, parse_timestamp
from lambent_platform.gateway.aws.values import from_json, from_text

SHAPES = ShapeResolver(
    {
        **{name: {"type": name} for name in ("string", "integer", "long", "double", "boolean", "blob", "timestamp")},
        "list": {"type": "list", "member": {"shape": "integer"}},
        "map": {"type": "map", "key": {"shape": "string"}, "value": {"shape": "integer"}},
        "structure": {
            "type": "structure",
            "members": {"A": {"shape": "string"}, "B": {"shape": "list", "locationName": "bee"}},
        },
    }
)
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def shape(kind: str) -> Shape:
    """A shape of one type, without constraints."""
    return SHAPES.get_shape_by_name(kind)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "x", "x"),
        ("string", "", ""),
        ("integer", 3, 3),
        ("integer", 3.0, 3),
        ("integer", -(2**31), -(2**31)),
        ("long", 2**63 - 1, 2**63 - 1),
        ("double", 1, 1.0),
        ("boolean", False, False),
        ("blob", "AAEC", b"\x00\x01\x02"),
        ("timestamp", 1767323045, MOMENT),
        ("timestamp", "2026-01-02T03:04:05Z", MOMENT),
        ("list", [1, None], [1, None]),
        ("map", {"a": 1, "b": None}, {"a": 1, "b": None}),
        ("structure", {"A": "x", "bee": [1], "unknown": {}}, {"A": "x", "B": [1]}),
        ("structure", {"A": None}, {}),
    ],
)
def test_json_values(kind: str, value: Any, expected: Any) -> None:
    """A value of the right JSON type becomes one of the model's type."""
    found = from_json(shape(kind), value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("string", 1, "NUMBER_VALUE can not be converted to a String"),
        ("string", True, "TRUE_VALUE can not be converted to a String"),
        ("string", {}, "Start of structure or map found where not expected."),
        ("string", [], "Unrecognized collection type class java.lang.String"),
        ("integer", "3", "STRING_VALUE can not be converted to an Integer"),
        ("integer", True, "TRUE_VALUE can not be converted to an Integer"),
        ("integer", 3.5, "NUMBER_VALUE can not be converted to an Integer"),
        ("integer", 2**31, "Value out of range for Integer"),
        ("long", 2**63, "Value out of range for Long"),
        ("double", "1.5", "STRING_VALUE can not be converted to a Double"),
        ("boolean", "true", "STRING_VALUE can not be converted to a Boolean"),
        ("boolean", 0, "NUMBER_VALUE can not be converted to a Boolean"),
        ("blob", 7, "NUMBER_VALUE can not be converted to a Blob"),
        ("blob", "AA*=", "Unable to decode a blob: it is not valid base64"),
        ("blob", "AAE", "Unable to decode a blob: it is not valid base64"),
        ("blob", "é", "Unable to decode a blob: it is not valid base64"),
        ("timestamp", False, "FALSE_VALUE can not be converted to a Date"),
        ("timestamp", "yesterday", "Unable to parse 'yesterday' as a timestamp"),
        ("timestamp", 1e30, "Unable to parse '1e+30' as a timestamp"),
        ("list", {"a": 1}, "Expected list or null"),
        ("list", "x", "Expected list or null"),
        ("map", [], "Expected map or null"),
        ("structure", [], "Start of list found where not expected."),
        ("structure", "x", "STRING_VALUE can not be converted to a Map"),
        ("structure", {"bee": ["1"]}, "STRING_VALUE can not be converted to an Integer"),
    ],
)
def test_json_types_are_not_converted(kind: str, value: Any, message: str) -> None:
    """A wrong JSON type is a SerializationException that says what was met and what was wanted."""
    with pytest.raises(ApiError) as caught:
        from_json(shape(kind), value)
    assert (caught.value.code, caught.value.status, caught.value.message) == ("SerializationException", 400, message)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("string", "a", "a"),
        ("integer", "-7", -7),
        ("long", "5000000000", 5_000_000_000),
        ("double", "0.5", 0.5),
        ("boolean", "true", True),
        ("boolean", "False", False),
        ("timestamp", "2026-01-02T03:04:05+00:00", MOMENT),
        ("timestamp", "Fri, 02 Jan 2026 03:04:05 GMT", MOMENT),
        ("timestamp", "1767323045", MOMENT),
    ],
)
def test_text_values(kind: str, text: str, expected: Any) -> None:
    """Labels, queries, headers and forms carry values as text."""
    assert from_text(shape(kind), text) == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "x"), ("integer", ""), ("integer", "1.5"), ("integer", "--1"), ("integer", "9" * 5000),
        ("integer", "²"), ("double", "x"), ("boolean", "1"), ("timestamp", ""), ("timestamp", "9" * 40),
    ],
)  # fmt: skip
def test_text_that_is_no_value(kind: str, text: str) -> None:
    """Text that does not say a value of the type is a SerializationException, never a failure of ours."""
    with pytest.raises(ApiError) as caught:
        from_text(shape(kind), text)
    assert caught.value.code == "SerializationException"


@pytest.mark.parametrize(
    ("value", "style", "expected"),
    [
        (MOMENT, "unixTimestamp", 1767323045),
        (MOMENT.replace(microsecond=250_000), "unixTimestamp", 1767323045.25),
        (1767323045, "unixTimestamp", 1767323045),
        (MOMENT, "iso8601", "2026-01-02T03:04:05Z"),
        (MOMENT.replace(microsecond=250_000), "iso8601", "2026-01-02T03:04:05.250Z"),
        (MOMENT, "rfc822", "Fri, 02 Jan 2026 03:04:05 GMT"),
        ("2026-01-02T03:04:05.000+0000", "unixTimestamp", "2026-01-02T03:04:05.000+0000"),
    ],
)
def test_timestamps_are_written(value: Any, style: Format, expected: Any) -> None:
    """Each format is written as AWS writes it, and read back as the same moment."""
    written = format_timestamp(value, style)
    assert written == expected
    assert type(written) is type(expected)
    if isinstance(value, datetime):
        assert parse_timestamp(written) == value
