"""The trace header, and the turns that a chain of invocations has taken through each function.

A function that feeds its own queue, or calls itself through others, runs for ever. AWS's SDKs inside a function send
its trace header on with every request; queues keep it with the message; so its part `Lineage` comes back to where the
loop closes. It counts, for each function that the chain has passed, how many times:

    Root=1-5759e988-bd862e3fe1be46a994272793;Parent=…;Sampled=0;Lineage=a87bd80c:1|68fd508a:5

Whoever starts a chain can write anything into it: what is malformed or too long counts as no lineage at all.

Source: Lambda Developer Guide, "Use Lambda recursive loop detection to prevent infinite loops"; X-Ray Developer
Guide, "Tracing header".
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from lambent_platform.contracts.function import RecursiveLoop

TURNS_MAX: Final = 16
"""How often one chain may run a function; the next time it is stopped, unless the function allows it."""
TERMINATE: Final[RecursiveLoop] = "Terminate"
ALLOW: Final[RecursiveLoop] = "Allow"
STOPPED_MESSAGE: Final = (
    "Lambda detected an infinite loop: your function was invoked in a recursive loop with other AWS resources, "
    "and its invocation was stopped."
)
STOPPED_CODE: Final = "RecursiveInvocationException"

HEADER_CHARACTERS_MAX: Final = 2_048
FUNCTIONS_MAX: Final = 32
"""Functions that one chain is counted for; of more, those passed the least are forgotten first."""
COUNT_MAX: Final = 9_999_999
"""Where counting stops: with `Allow` a loop goes on, and its header must not grow."""
_ENTRY: Final = re.compile(r"^([0-9a-f]{8}):([0-9]{1,7})$")
_ROOT: Final = re.compile(r"^1-[0-9a-f]{8}-[0-9a-f]{24}$")
_NAME: Final = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_VALUE: Final = re.compile(r"^[\x21-\x7e]{1,256}$")
_LINEAGE: Final = "Lineage"


@dataclass(frozen=True, slots=True)
class Turn:
    """One more invocation in a chain."""

    trace_id: str
    """The header that the invocation gets, with itself counted."""
    number: int
    """Which turn of this function in this chain it is; 1 for the first."""

    def stopped(self, recursive_loop: RecursiveLoop) -> bool:
        """Whether it must not run, by the function's setting (`Terminate` or `Allow`)."""
        return self.number > TURNS_MAX and recursive_loop != ALLOW


def next_turn(header: str, ident: str, request_id: str) -> Turn:
    """Count one more invocation of the function `ident` in the chain that `header` (of the caller, or "") tells of.

    `request_id` is the id of the invocation, of which the header is made where none, or no good one, came.
    """
    mark = _mark(ident)
    if not header:
        return Turn(f"{new_trace(request_id)};{_LINEAGE}={mark}:1", 1)
    rest, counts = _parse(header)
    number = min(counts.pop(mark, 0) + 1, COUNT_MAX)
    while len(counts) >= FUNCTIONS_MAX:
        del counts[min(counts, key=counts.__getitem__)]
    counts[mark] = number
    lineage = "|".join(f"{name}:{count}" for name, count in counts.items())
    return Turn(f"{rest or new_trace(request_id)};{_LINEAGE}={lineage}", number)


def turns(header: str, ident: str) -> int:
    """How often the chain that `header` tells of has run the function `ident`."""
    return _parse(header)[1].get(_mark(ident), 0)


def furthest(headers: Iterable[str], ident: str) -> str:
    """Of the headers of what comes to a function in one batch, the one whose chain has run it the most ("" of none)."""
    return max(headers, key=lambda header: turns(header, ident), default="")


def rooted(header: str) -> str:
    """Return a trace header that a request came with as it is kept; "" for what is none."""
    return header if header and _parse(header)[0] else ""


def new_trace(request_id: str) -> str:
    """Make a trace header of a request id, for callers that brought none."""
    digits = request_id.replace("-", "")
    return f"Root=1-{digits[:8]}-{digits[8:]};Parent={digits[-16:]};Sampled=0"


@functools.lru_cache(maxsize=10_000)
def _mark(ident: str) -> str:
    return f"{zlib.crc32(ident.encode()):08x}"


def _parse(header: str) -> tuple[str, dict[str, int]]:
    """Return the header without its lineage ("" where it has no good root), and the count of each function in it."""
    if len(header) > HEADER_CHARACTERS_MAX:
        return "", {}
    rest: list[str] = []
    counts: dict[str, int] = {}
    rooted = False
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == _LINEAGE:
            counts = _counts(value)
        elif _NAME.match(name) and _VALUE.match(value):
            rooted = rooted or (name == "Root" and _ROOT.match(value) is not None)
            rest.append(f"{name}={value}")
    return ";".join(rest) if rooted else "", counts


def _counts(lineage: str) -> dict[str, int]:
    """Read `Lineage`; boto3 percent-encodes the bars in it."""
    counts: dict[str, int] = {}
    for entry in unquote(lineage).split("|"):
        match = _ENTRY.match(entry)
        if match is None or len(counts) >= FUNCTIONS_MAX:
            return {}
        counts[match[1]] = int(match[2])
    return counts
