"""The trace header counts the turns of a chain, whatever else is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.core.lineage import (
    ALLOW,
    COUNT_MAX,
    FUNCTIONS_MAX,
    HEADER_CHARACTERS_MAX,
    TERMINATE,
    TURNS_MAX,
    furthest,
    new_trace,
    next_turn,
    rooted,
    turns,
)

F, G = "000000000000:us-east-1:f", "000000000000:us-east-1:g"
ID = "01234567-89ab-cdef-0123-456789abcdef"
ROOT = "Root=1-01234567-89abcdef0123456789abcdef"


def chain(*idents: str, header: str = "") -> str:
    """The header after the functions were run one after the other."""
    for ident in idents:
        header = next_turn(header, ident, ID).trace_id
    return header


def test_a_chain_without_a_header_gets_one() -> None:
    """Every invocation has a trace id, made of its request id, with itself counted."""
    turn = next_turn("", F, ID)
    assert turn.trace_id.startswith(f"{ROOT};Parent=0123456789abcdef;Sampled=0;Lineage=")
    assert (turn.number, turns(turn.trace_id, F), turns(turn.trace_id, G)) == (1, 1, 0)


@pytest.mark.parametrize(
    ("setting", "number", "stopped"),
    [
        (TERMINATE, TURNS_MAX, False),
        (TERMINATE, TURNS_MAX + 1, True),
        (ALLOW, TURNS_MAX + 1, False),
        (ALLOW, 10 * TURNS_MAX, False),
    ],
)
def test_when_a_turn_is_stopped(setting: str, number: int, stopped: bool) -> None:
    """Sixteen turns run, the seventeenth does not, unless the function allows it."""
    turn = next_turn(chain(*[F] * (number - 1)), F, ID)
    assert (turn.number, turn.stopped(setting)) == (number, stopped)


def test_each_function_is_counted_for_itself() -> None:
    """A loop of two functions gives each its own count."""
    header = chain(*[F, G] * 5, F)
    assert (turns(header, F), turns(header, G)) == (6, 5)


def test_what_else_the_header_says_is_kept() -> None:
    """Root, parent, sampling and what others wrote stay as they are."""
    header = chain(F, header=f"{ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Self=1-abc;Vendor=x:y")
    assert header.startswith(f"{ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Self=1-abc;Vendor=x:y;Lineage=")


def test_the_bars_may_be_encoded() -> None:
    """The form in which boto3 sends the header on counts the same."""
    header = chain(*[F, G] * 3)
    assert "|" in header
    assert turns(header.replace("|", "%7C"), F) == 3


@pytest.mark.parametrize(
    "header",
    [
        "nonsense",
        "Lineage=",
        f"{ROOT};Lineage=x",
        f"{ROOT};Lineage=0123abcd",
        f"{ROOT};Lineage=0123abcd:99999999",
        f"{ROOT};Lineage=0123abcd:-1",
        f"{ROOT};Lineage=0123ABCD:1",
        f"{ROOT};Lineage=" + "|".join(f"{n:08x}:1" for n in range(FUNCTIONS_MAX + 1)),
        f"{ROOT};Lineage=0123abcd:1|" + "x" * HEADER_CHARACTERS_MAX,
        "Root=1-zz-1;Parent=\x00",
    ],
)
def test_a_malformed_header_is_none(header: str) -> None:
    """What nobody could have written by counting is no lineage, and the invocation begins a chain."""
    turn = next_turn(header, F, ID)
    assert rooted(turn.trace_id) == turn.trace_id
    assert turn.number == 1
    assert turn.trace_id.startswith("Root=1-")
    assert turns(turn.trace_id, F) == 1


def test_the_header_is_bounded() -> None:
    """Of a chain through very many functions those passed the least are forgotten; a count does not grow for ever."""
    header = chain(F, F, *[f"000000000000:us-east-1:f{n}" for n in range(100)])
    assert header.count("|") == FUNCTIONS_MAX - 1
    assert turns(header, F) == 2
    mark = chain(F).rpartition("=")[2].partition(":")[0]
    assert next_turn(f"{ROOT};Lineage={mark}:{COUNT_MAX}", F, ID).number == COUNT_MAX


def test_furthest() -> None:
    """A batch goes by the chain in it that has run the function the most."""
    headers = [chain(F), chain(F, F, G), "", chain(*[G] * 9)]
    assert furthest(headers, F) == headers[1]
    assert furthest([], F) == ""
    assert furthest([new_trace(ID)], F) == new_trace(ID)


@pytest.mark.parametrize("header", ["", "nonsense", "Lineage=0123abcd:1", "Root=x", ROOT + "x" * 3000])
def test_what_is_no_header_is_not_kept(header: str) -> None:
    """Only a header with a good root goes on with a message."""
    assert rooted(header) == ""
    assert rooted(f"{ROOT};Sampled=0") == f"{ROOT};Sampled=0"


@given(st.text(max_size=300))
def test_any_header_can_be_read(header: str) -> None:
    """No header raises, and what comes of it fits into one."""
    turn = next_turn(header, F, ID)
    assert turn.number >= 1
    assert len(turn.trace_id) <= HEADER_CHARACTERS_MAX + 400
    assert "\n" not in turn.trace_id
