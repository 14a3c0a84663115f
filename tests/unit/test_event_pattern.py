"""EventBridge event patterns."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.core.event_pattern import InvalidPattern, TextNumber, compile_pattern

EVENT: dict[str, Any] = {
    "source": "shop.orders",
    "empty": "",
    "nothing": None,
    "yes": True,
    "no": False,
    "count": 5,
    "price": 301.8,
    "big": 123456789012345678,
    "tags": ["red", "Blue", 7, None],
    "none": [],
    "nested": [["deep"], [["deeper"]]],
    "ip": "10.0.0.77",
    "ip6": "2001:db8::1",
    "path": "dir/lib/file*name.PNG",
    "back": "a\\b",
    "detail": {"state": "running", "group": {"id": "g1"}, "hollow": {}},
    "people": [{"first": "Ada", "last": "L", "n": [1, 2]}, {"first": "Bob", "last": "M"}],
    "$or": "field",
}


def matches(pattern: Any, event: dict[str, Any] | None = None) -> bool:
    """Match by the text of a pattern, as users give it."""
    return compile_pattern(json.dumps(pattern)).matches(EVENT if event is None else event)


@pytest.mark.parametrize(
    ("pattern", "passes"),
    [
        # Exact values: type and case count, numbers by value.
        ({"source": ["shop.orders"]}, True),
        ({"source": ["Shop.orders"]}, False),
        ({"source": ["a", "shop.orders"]}, True),
        ({"empty": [""]}, True),
        ({"source": [""]}, False),
        ({"nothing": [None]}, True),
        ({"empty": [None]}, False),
        ({"absent": [None]}, False),
        ({"absent": [""]}, False),
        ({"nothing": ["null"]}, False),
        ({"yes": [True]}, True),
        ({"yes": [1]}, False),
        ({"yes": ["true"]}, False),
        ({"no": [False]}, True),
        ({"no": [0]}, False),
        ({"count": [True]}, False),
        ({"count": [5]}, True),
        ({"count": [5.0]}, True),
        ({"count": ["5"]}, False),
        ({"price": [3.018e2]}, True),
        ({"big": [123456789012345678]}, True),
        ({"big": [123456789012345679]}, False),
        # Fields are ANDed, and may be nested.
        ({"source": ["shop.orders"], "count": [5]}, True),
        ({"source": ["shop.orders"], "count": [6]}, False),
        ({"detail": {"state": ["running"]}}, True),
        ({"detail": {"group": {"id": ["g1"]}}}, True),
        ({"detail": ["running"]}, False),
        ({"source": {"state": ["running"]}}, False),
        ({"absent": {"x": [1]}}, False),
        # Arrays in events match by any element, and objects in them as a whole.
        ({"tags": ["red"]}, True),
        ({"tags": [7]}, True),
        ({"tags": [None]}, True),
        ({"tags": ["green"]}, False),
        ({"nested": ["deep"]}, True),
        ({"nested": ["deeper"]}, True),
        ({"none": [None]}, False),
        ({"people": {"first": ["Ada"], "last": ["L"]}}, True),
        ({"people": {"first": ["Ada"], "last": ["M"]}}, False),
        ({"people": {"n": [2]}}, True),
        # Prefix, suffix, case.
        ({"source": [{"prefix": "shop"}]}, True),
        ({"source": [{"prefix": "Shop"}]}, False),
        ({"source": [{"prefix": {"equals-ignore-case": "SHOP"}}]}, True),
        ({"source": [{"prefix": ""}]}, True),
        ({"count": [{"prefix": "5"}]}, False),
        ({"absent": [{"prefix": ""}]}, False),
        ({"path": [{"suffix": ".PNG"}]}, True),
        ({"path": [{"suffix": ".png"}]}, False),
        ({"path": [{"suffix": {"equals-ignore-case": ".png"}}]}, True),
        ({"nothing": [{"suffix": ""}]}, False),
        ({"tags": [{"equals-ignore-case": "BLUE"}]}, True),
        ({"tags": [{"equals-ignore-case": "blu"}]}, False),
        # Anything-but needs a value, and any element that differs is one.
        ({"source": [{"anything-but": "x"}]}, True),
        ({"source": [{"anything-but": "shop.orders"}]}, False),
        ({"source": [{"anything-but": ["x", "shop.orders"]}]}, False),
        ({"absent": [{"anything-but": "x"}]}, False),
        ({"count": [{"anything-but": 5}]}, False),
        ({"count": [{"anything-but": [5.0, 6]}]}, False),
        ({"count": [{"anything-but": 6}]}, True),
        ({"count": [{"anything-but": "5"}]}, True),
        ({"yes": [{"anything-but": 1}]}, True),
        ({"nothing": [{"anything-but": "x"}]}, True),
        ({"tags": [{"anything-but": "red"}]}, True),
        ({"none": [{"anything-but": "x"}]}, False),
        ({"source": [{"anything-but": {"prefix": "shop"}}]}, False),
        ({"source": [{"anything-but": {"prefix": "x"}}]}, True),
        ({"source": [{"anything-but": {"prefix": ["x", "shop"]}}]}, False),
        ({"path": [{"anything-but": {"suffix": [".gif", ".PNG"]}}]}, False),
        ({"path": [{"anything-but": {"suffix": "x"}}]}, True),
        ({"source": [{"anything-but": {"equals-ignore-case": "SHOP.ORDERS"}}]}, False),
        ({"source": [{"anything-but": {"equals-ignore-case": ["a", "b"]}}]}, True),
        ({"path": [{"anything-but": {"wildcard": "*/lib/*"}}]}, False),
        ({"path": [{"anything-but": {"wildcard": ["*/bin/*", "*/tmp/*"]}}]}, True),
        ({"count": [{"anything-but": {"prefix": "5"}}]}, True),
        # Numeric.
        ({"count": [{"numeric": ["=", 5]}]}, True),
        ({"count": [{"numeric": ["<", 5]}]}, False),
        ({"count": [{"numeric": ["<=", 5]}]}, True),
        ({"count": [{"numeric": [">", 5]}]}, False),
        ({"count": [{"numeric": [">=", 5]}]}, True),
        ({"count": [{"numeric": [">", 0, "<=", 5]}]}, True),
        ({"count": [{"numeric": [">", 0, "<", 5]}]}, False),
        ({"price": [{"numeric": ["=", 3.018e2]}]}, True),
        ({"source": [{"numeric": [">", 0]}]}, False),
        ({"yes": [{"numeric": ["=", 1]}]}, False),
        ({"tags": [{"numeric": [">", 6]}]}, True),
        ({"count": [{"numeric": [">", -5.0e9]}]}, True),
        # Exists looks at leaves only.
        ({"source": [{"exists": True}]}, True),
        ({"source": [{"exists": False}]}, False),
        ({"absent": [{"exists": False}]}, True),
        ({"absent": [{"exists": True}]}, False),
        ({"nothing": [{"exists": True}]}, True),
        ({"detail": [{"exists": True}]}, False),
        ({"detail": [{"exists": False}]}, True),
        ({"absent": {"x": [{"exists": False}]}}, True),
        ({"none": [{"exists": False}]}, True),
        ({"none": [{"exists": True}]}, False),
        ({"detail": {"hollow": {"x": [{"exists": False}]}}}, True),
        ({"people": {"n": [{"exists": False}]}}, False),
        ({"people": {"age": [{"exists": False}]}}, True),
        ({"count": ["x", {"exists": False}]}, False),
        ({"absent": ["x", {"exists": False}]}, True),
        # Addresses.
        ({"ip": [{"cidr": "10.0.0.0/24"}]}, True),
        ({"ip": [{"cidr": "10.0.1.0/24"}]}, False),
        ({"ip": [{"cidr": "10.0.0.1/24"}]}, True),
        ({"ip": [{"cidr": "::/0"}]}, False),
        ({"ip6": [{"cidr": "2001:db8::/32"}]}, True),
        ({"ip6": [{"cidr": "0.0.0.0/0"}]}, False),
        ({"source": [{"cidr": "0.0.0.0/0"}]}, False),
        ({"count": [{"cidr": "0.0.0.0/0"}]}, False),
        # Wildcards.
        ({"path": [{"wildcard": "dir/*"}]}, True),
        ({"path": [{"wildcard": "*/lib/*.PNG"}]}, True),
        ({"path": [{"wildcard": "*file\\*name*"}]}, True),
        ({"path": [{"wildcard": "*file\\*.PNG"}]}, False),
        ({"path": [{"wildcard": "*"}]}, True),
        ({"path": [{"wildcard": "lib*"}]}, False),
        ({"empty": [{"wildcard": "*"}]}, True),
        ({"back": [{"wildcard": "a\\\\*"}]}, True),
        ({"source": [{"wildcard": "shop.orders"}]}, True),
        ({"source": [{"wildcard": "shop.orders*shop.orders"}]}, False),
        ({"count": [{"wildcard": "*"}]}, False),
        # Alternatives.
        ({"$or": [{"source": ["x"]}, {"count": [5]}]}, True),
        ({"$or": [{"source": ["x"]}, {"count": [6]}]}, False),
        ({"source": ["x"], "$or": [{"count": [5]}, {"count": [6]}]}, False),
        ({"detail": {"$or": [{"state": ["stopped"]}, {"group": {"id": ["g1"]}}]}}, True),
        ({"$or": [{"source": ["x"]}, {"$or": [{"count": [6]}, {"yes": [True]}]}]}, True),
        ({"$or": [{"source": ["shop.orders"], "count": [6]}, {"absent": [{"exists": False}]}]}, True),
        ({"$or": ["field"]}, True),
        ({"$or": [{"prefix": "fi"}, {"prefix": "x"}]}, True),
        ({"count": ["x", {"numeric": [">", 4]}, {"prefix": "y"}]}, True),
    ],
)
def test_matching(pattern: dict[str, Any], passes: bool) -> None:
    """Each operator accepts what EventBridge documents, and nothing else."""
    assert matches(pattern) is passes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('"x"', "not an object"),
        ("null", "not an object"),
        ("{}", "Empty objects"),
        ('{"a": {}}', "Empty objects"),
        ('{"a": []}', "Empty arrays"),
        ('{"a": "x"}', "must be an object or an array"),
        ('{"a": 1}', "must be an object or an array"),
        ('{"a": null}', "must be an object or an array"),
        ('{"a": [[1]]}', "Match value must be"),
        ('{"a": [NaN]}', "Match value must be"),
        ('{"a": [1e999]}', "Match value must be"),
        ('{"a": [{}]}', "name not found"),
        ('{"a": [{"x": 1}]}', "Unrecognized match type x"),
        ('{"a": [{"prefix": "x", "suffix": "y"}]}', "Only one key"),
        ('{"a": [{"prefix": 1}]}', "prefix match pattern must be a string"),
        ('{"a": [{"prefix": {"x": "y"}}]}', "Unsupported prefix pattern"),
        ('{"a": [{"prefix": {}}]}', "Unsupported prefix pattern"),
        ('{"a": [{"suffix": null}]}', "suffix match pattern"),
        ('{"a": [{"suffix": {"equals-ignore-case": 1}}]}', "equals-ignore-case match"),
        ('{"a": [{"equals-ignore-case": ["x"]}]}', "equals-ignore-case match pattern must be a string"),
        ('{"a": [{"exists": "true"}]}', "either true or false"),
        ('{"a": [{"cidr": "10.0.0.0"}]}', "one '/' required"),
        ('{"a": [{"cidr": "10.0.0/8"}]}', "Malformed CIDR"),
        ('{"a": [{"cidr": "10.0.0.0/33"}]}', "Malformed CIDR"),
        ('{"a": [{"cidr": 1}]}', "must be a string"),
        ('{"a": [{"numeric": ">"}]}', "must be an array"),
        ('{"a": [{"numeric": []}]}', "Invalid member"),
        ('{"a": [{"numeric": [1]}]}', "Invalid member"),
        ('{"a": [{"numeric": [">"]}]}', "Value of > must be numeric"),
        ('{"a": [{"numeric": [">", "1"]}]}', "Value of > must be numeric"),
        ('{"a": [{"numeric": [">", true]}]}', "must be numeric"),
        ('{"a": [{"numeric": ["!", 1]}]}', "Unrecognized numeric range operator"),
        ('{"a": [{"numeric": ["=", 1, "<", 2]}]}', "Too many elements"),
        ('{"a": [{"numeric": ["<", 1, ">", 0]}]}', "Too many elements"),
        ('{"a": [{"numeric": [">", 1, "=", 2]}]}', "Bad numeric range operator"),
        ('{"a": [{"numeric": [">", 1, 2]}]}', "Bad value in numeric range"),
        ('{"a": [{"numeric": [">", 1, "<"]}]}', "Value of < must be numeric"),
        ('{"a": [{"numeric": [">", 2, "<", 1]}]}', "Bottom must be less"),
        ('{"a": [{"numeric": [">", 1, "<", 2, "<", 3]}]}', "Too many terms"),
        ('{"a": [{"numeric": ["<", 5.1e9]}]}', "must be between"),
        ('{"a": [{"anything-but": []}]}', "mixed type"),
        ('{"a": [{"anything-but": ["x", 1]}]}', "mixed type"),
        ('{"a": [{"anything-but": null}]}', "not supported"),
        ('{"a": [{"anything-but": [true]}]}', "not supported"),
        ('{"a": [{"anything-but": {}}]}', "Only one key"),
        ('{"a": [{"anything-but": {"numeric": ["=", 1]}}]}', "Unsupported anything-but pattern"),
        ('{"a": [{"anything-but": {"prefix": ""}}]}', "Null prefix/suffix"),
        ('{"a": [{"anything-but": {"prefix": 1}}]}', "must be a string"),
        ('{"a": [{"anything-but": {"wildcard": []}}]}', "Empty arrays"),
        ('{"a": [{"wildcard": "a**b"}]}', "Consecutive wildcard"),
        ('{"a": [{"wildcard": "a\\\\b"}]}', "Invalid escape"),
        ('{"a": [{"wildcard": "a\\\\"}]}', "Invalid escape"),
        ('{"a": [{"wildcard": 1}]}', "wildcard match pattern must be a string"),
        ('{"$or": []}', "Empty arrays"),
        ('{"$or": {"a": 1}}', "must be an object or an array"),
        ('{"$or": [{"a": [1]}]}', "Unrecognized match type a"),
        ('{"$or": [{"a": [1]}, {}]}', "Empty objects"),
        ('{"$or": [{"a": [1]}, {"b": {"prefix": ["x"]}}]}', "reserved field name"),
        ('{"a": ' * 70 + "[1]" + "}" * 70, "nested more than"),
        ("[" * 4000, "nested more than"),
        ('{"a": ["' + "x" * 4096 + '"]}', "length less than"),
    ],
)
def test_malformed_patterns(text: str, message: str) -> None:
    """What is no pattern is refused when it is given, with a message that says why."""
    with pytest.raises(InvalidPattern, match=message):
        compile_pattern(text)


def test_decoded_patterns_are_read_too() -> None:
    """A pattern that is decoded already is read by the same rules."""
    assert compile_pattern({"count": [5]}).matches(EVENT)
    with pytest.raises(InvalidPattern, match="Match value"):
        compile_pattern({"count": [float("inf")]})
    with pytest.raises(InvalidPattern, match="not an object"):
        compile_pattern([1])  # type: ignore[arg-type]


def test_text_that_spells_a_number() -> None:
    """Marked text is equal to its text and to its number; text that spells none stays as it is."""
    event = {"a": TextNumber.of("5.5"), "b": TextNumber.of("5_5"), "c": TextNumber.of("nan")}
    assert matches({"a": ["5.5"]}, event)
    assert matches({"a": [5.5]}, event)
    assert matches({"a": [{"numeric": [">", 5]}]}, event)
    assert not matches({"a": [{"anything-but": 5.5}]}, event)
    assert not matches({"a": [{"anything-but": "5.5"}]}, event)
    assert not matches({"b": [{"numeric": [">", 0]}]}, event)
    assert not isinstance(event["c"], TextNumber)


def test_no_pattern_takes_long() -> None:
    """A wildcard made to be tried again and again is matched in time in proportion to its text."""
    pattern = compile_pattern({"a": [{"wildcard": "a*" * 1000 + "b"}]})
    started_s = time.process_time()
    assert not pattern.matches({"a": "a" * 200_000})
    assert time.process_time() - started_s < 2


def test_deep_events_do_no_harm() -> None:
    """An array nested deeper than the interpreter's stack is walked without it."""
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    assert matches({"a": ["x"]}, {"a": deep})
    assert matches({"a": {"b": [{"exists": False}]}}, {"a": deep})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_any_json_is_read_or_refused(pattern: Any, event: dict[str, Any]) -> None:
    """Nothing that is JSON makes reading or matching fail in another way."""
    with contextlib.suppress(InvalidPattern):
        compile_pattern(json.dumps(pattern)).matches(event)


@given(
    st.text(alphabet="ab*\\", max_size=8).filter(lambda text: "**" not in text), st.text(alphabet="ab*\\", max_size=10)
)
def test_wildcards_agree_with_a_regular_expression(text: str, found: str) -> None:
    """The linear matcher accepts just what the same pattern as a regular expression does."""
    expression, position = "", 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        expression += ".*" if character == "*" else re.escape(text[position : position + 1])
        position += 1
    try:
        pattern = compile_pattern({"a": [{"wildcard": text}]})
    except InvalidPattern:
        assert re.search(r"(?<!\\)(?:\\\\)*\\(?![*\\])", text) or "**" in text
        return
    assert pattern.matches({"a": found}) is (re.fullmatch(expression, found, re.DOTALL) is not None)
