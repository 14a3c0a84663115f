"""The machine of an environment's life, against the drawing in its own docstring."""

from __future__ import annotations

import itertools

import pytest

from lambent_platform.contracts.environment import EnvironmentState
from lambent_platform.core.environment_states import CALLABLE, MOVES, IllegalMove, move

ALLOWED = {
    ("starting", "init"), ("init", "ready"), ("ready", "busy"), ("busy", "ready"), ("ready", "frozen"),
    ("frozen", "ready"), ("starting", "gone"), ("init", "gone"), ("ready", "gone"), ("busy", "gone"),
    ("frozen", "gone"),
}  # fmt: skip


@pytest.mark.parametrize(("a", "b"), list(itertools.product(EnvironmentState, EnvironmentState)))
def test_only_the_moves_of_the_drawing_are_allowed(a: EnvironmentState, b: EnvironmentState) -> None:
    """Every pair of states is either a move of the drawing or refused."""
    if (a.value, b.value) in ALLOWED:
        assert move(a, b) is b
    else:
        with pytest.raises(IllegalMove, match=a.value):
            move(a, b)


def test_every_state_is_in_the_table() -> None:
    """A new state cannot be forgotten in the table, and nothing that is gone or starting is callable."""
    assert set(MOVES) == set(EnvironmentState)
    assert {EnvironmentState.READY, EnvironmentState.FROZEN} == CALLABLE
