"""How a dead event is told of to an operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lambent_platform.contracts.events import DeliveryKind, Ending

_TITLES: Final[Mapping[DeliveryKind, str]] = {
    "dead_letter": "the dead-letter queue",
    "on_failure": "the on-failure destination",
    "on_success": "the on-success destination",
}

LINE_CHARACTERS_MAX: Final = 160
"""What is told of an error's message, and of a refusal; all of it is told beside."""


def reason(ending: Ending, refusals: Mapping[DeliveryKind, str]) -> str:
    """Say in one line why an event is dead: what ended it, and who did not take it."""
    error = ": ".join(text for text in (ending.error_type, _line(ending.error_message)) if text)
    if ending.condition == "Success":
        ended = "It ran well"
    elif ending.error_type == ending.condition:
        ended = error
    else:
        ended = f"{ending.condition} after {ending.attempts}: {error}" if error else ending.condition
    refused = [f"{_TITLES[kind]} did not take it: {_line(text)}" for kind, text in refusals.items()]
    return "; ".join([ended, *refused])


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LINE_CHARACTERS_MAX else f"{line[: LINE_CHARACTERS_MAX - 1]}…"
