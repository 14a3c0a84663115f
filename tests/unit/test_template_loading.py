"""Templates' text as trees: what is read, what is refused and where, hostile ones included."""

from __future__ import annotations

from typing import Any

import pytest

from lambent.template.loading import DEPTH_MAX, parse_template
from lambent.template.values import Intrinsic, Map, Seq, TemplateError


def value(text: str) -> Any:
    """The value of the key `a` of a template."""
    return parse_template(f"a: {text}\n")["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2010-09-09", "2010-09-09"),
        ("000000000000", "000000000000"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("1.10", "1.10"),
        ("2.0", "2.0"),
        ("30", 30),
        ("-1", -1),
        ("yes", True),
        ("'yes'", "yes"),
        ("null", None),
        ("[1, b]", [1, "b"]),
        ("{b: {c: d}}", {"b": {"c": "d"}}),
    ],
)
def test_scalars_are_what_cloudformation_takes_them_for(text: str, expected: Any) -> None:
    """Dates, fractions, octal and sexagesimal numbers stay the text that people wrote."""
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("!Ref B", "Ref", "B"),
        ("{Ref: B}", "Ref", "B"),
        ("!GetAtt B.C.D", "Fn::GetAtt", ["B", "C.D"]),
        ('{"Fn::GetAtt": ["B", "C"]}', "Fn::GetAtt", ["B", "C"]),
        ('{"Fn::GetAtt": "B.C"}', "Fn::GetAtt", ["B", "C"]),
        ("!Sub 'x${B}'", "Fn::Sub", "x${B}"),
        ("!Join ['', [a, b]]", "Fn::Join", ["", ["a", "b"]]),
        ("!Condition B", "Condition", "B"),
    ],
)
def test_short_and_long_forms_are_the_same_function(text: str, name: str, argument: Any) -> None:
    """A tag and a mapping with one key say the same."""
    found = value(text)
    assert isinstance(found, Intrinsic)
    assert (found.name, found.argument, found.line) == (name, argument, 1)


def test_every_value_knows_its_line() -> None:
    """Mappings, lists and functions know the lines of what is in them."""
    found = parse_template("a:\n  b:\n    - 1\n    - !Ref C\n  d: 2\n")
    assert found.lines == {"a": 1}
    inner = found["a"]
    assert isinstance(inner, Map)
    assert inner.lines == {"b": 2, "d": 5}
    items = inner["b"]
    assert isinstance(items, Seq)
    assert items.lines == [3, 4]
    assert items[1].line == 4


def test_anchors_and_merges_are_written_out() -> None:
    """`<<` takes one mapping or several; what is written beside it counts more."""
    found = parse_template("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 9\n")
    assert found["z"] == {"a": 9, "b": 2, "c": 4}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: a template is a mapping"),
        ("- a\n", "a template is a mapping"),
        ("a: [\n", "it is not YAML"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is there twice"),
        ("a:\n  b: !Nope x\n", "line 2: a.b: !Nope is no function"),
        ("a: !!python/object/apply:os.system ['true']\n", "tag !!python"),
        ("a: !!binary aGk=\n", "tag !!binary"),
        ("a: !!set {b}\n", "tag !!set"),
        ("a: !GetAtt B\n", "!GetAtt takes Resource.Attribute"),
        ("? [a]\n: 1\n", "a key must be text"),
        ("a: &a [*a]\n", "nested more than"),
        ("a: *b\n", "it is not YAML"),
        ("a: {<<: 1}\n", "`<<` takes a mapping"),
        ("---\na: 1\n---\nb: 2\n", "it is not YAML"),
        ("a: \x00\n", "it is not YAML"),
    ],
)
def test_what_is_no_template_is_said_with_its_line(text: str, said: str) -> None:
    """Each mistake is one error, whatever of Python's it would be otherwise."""
    with pytest.raises(TemplateError) as caught:
        parse_template(text)
    assert said in str(caught.value)


def test_deep_nesting_is_refused_before_it_exhausts_the_stack() -> None:
    """Both of flow and of block style."""
    for text in ("a: " + "[" * 5_000 + "]" * 5_000, "\n".join(" " * n + "a:" for n in range(1_000))):
        with pytest.raises(TemplateError, match=f"nested more than {DEPTH_MAX}"):
            parse_template(text)


def test_a_bomb_of_aliases_is_refused() -> None:
    """What its aliases stand for is counted, not what the text is long; merges too."""
    bomb = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9 if n else ['lol'] * 9)}]" for n in range(12))
    merges = "y0: &y0 {k: v}\n" + "\n".join(
        f"y{n}: &y{n} {{<<: [{', '.join([f'*y{n - 1}'] * 9)}]}}" for n in range(1, 12)
    )
    for text in (bomb, merges):
        with pytest.raises(TemplateError, match="values, those behind aliases included"):
            parse_template(text)
