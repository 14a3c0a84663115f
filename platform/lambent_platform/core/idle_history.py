"""How long to keep a function ready, from how long it was idle before.

The times between a function's calls are counted in a histogram whose bins grow with time. From it comes a window:
from when until when after a call an environment is worth its memory. A function called by a timer gets a short window
just before the next tick, one that is called at random a longer one from the call on, one that is called once a week
none at all. Of all windows that one is taken which costs least, where a cold start costs as much as keeping the
function's memory for `cold_start_worth_s`; so the memory goes to where it saves the most cold starts.

Source: M. Shahrad et al., "Serverless in the Wild", USENIX ATC 2020, for histograms of idle times with windows that
begin late; choosing the window by its cost, in place of fixed percentiles, is ours.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EDGES_S: Final = (0.0, *(1.35**n for n in range(33)))
"""Where bins begin: each is a third longer than the one before, the last begins at four hours and has no end."""
BINS: Final = len(EDGES_S)
LEAD: Final = 0.1
"""A window that begins late begins this much of its time earlier, for the start itself and for timers that drift."""
PRIOR_WEIGHT: Final = 1.0
"""What is believed before anything was seen counts as much as so many idle times: each bin as likely as the next,
since the rates of functions are spread over many orders of magnitude."""
HISTORY_MAX: Final = 4096
"""Counts are halved when there are more, so that what a function did long ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Window:
    """From when until when after a function's last call an environment of it is kept; none where both are equal."""

    from_s: float
    until_s: float

    def holds(self, idle_s: float) -> bool:
        """Whether a call after so long an idle time finds an environment."""
        return self.from_s <= idle_s < self.until_s

    def resident_s(self, idle_s: float) -> float:
        """How long an environment is kept in vain, or until its call, during so long an idle time."""
        return max(0.0, min(idle_s, self.until_s) - self.from_s)


def bin_of(idle_s: float) -> int:
    """Return the bin of an idle time."""
    return bisect.bisect_right(EDGES_S, max(0.0, idle_s)) - 1


def observed(counts: Sequence[int], idle_s: float) -> tuple[int, ...]:
    """Count one more idle time."""
    at = bin_of(idle_s)
    more = tuple(count + (n == at) for n, count in enumerate(counts or (0,) * BINS))
    return tuple(count // 2 for count in more) if sum(more) > HISTORY_MAX else more


def best_window(counts: Sequence[int], *, cold_start_worth_s: float) -> Window:
    """Choose the window that costs least by what is known; `counts` may be empty."""
    prior = PRIOR_WEIGHT / BINS
    weights = [count + prior for count in (counts or (0,) * BINS)]
    total = after = sum(weights)
    best, least = Window(0.0, 0.0), total
    for first in range(BINS - 1):
        begins_s = EDGES_S[first] * (1.0 - LEAD)
        hits, kept_s, later = 0.0, 0.0, after
        for last in range(first, BINS - 1):
            ends_s = EDGES_S[last + 1]
            hits += weights[last]
            later -= weights[last]
            kept_s += weights[last] * ((EDGES_S[last] + ends_s) / 2 - begins_s)
            cost = total - hits + (kept_s + later * (ends_s - begins_s)) / cold_start_worth_s
            if cost < least:
                best, least = Window(begins_s, ends_s), cost
        after -= weights[first]
    return best
