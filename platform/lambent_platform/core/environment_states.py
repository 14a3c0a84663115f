"""The life of an execution environment, as an explicit machine that refuses every move it does not name.

STARTING → INIT → READY ⇄ BUSY
                  READY ⇄ FROZEN
any of them → GONE
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lambent_platform.contracts.environment import EnvironmentState
from lambent_platform.contracts.errors import LambentError

_S = EnvironmentState

MOVES: Final[Mapping[EnvironmentState, frozenset[EnvironmentState]]] = {
    _S.STARTING: frozenset({_S.INIT, _S.GONE}),
    _S.INIT: frozenset({_S.READY, _S.GONE}),
    _S.READY: frozenset({_S.BUSY, _S.FROZEN, _S.GONE}),
    _S.BUSY: frozenset({_S.READY, _S.GONE}),
    _S.FROZEN: frozenset({_S.READY, _S.GONE}),
    _S.GONE: frozenset(),
}
"""From each state, the states that may follow it."""

CALLABLE: Final = frozenset({_S.READY, _S.FROZEN})
"""The states in which an environment may be given an invocation."""


class IllegalMove(LambentError):
    """An environment was about to do what its state does not allow: a defect of the worker, never of a function."""


def move(current: EnvironmentState, to: EnvironmentState) -> EnvironmentState:
    """Return `to`, the new state.

    Raises:
        IllegalMove: `to` may not follow `current`.
    """
    if to not in MOVES[current]:
        raise IllegalMove(f"an environment that is {current} cannot become {to}")
    return to
