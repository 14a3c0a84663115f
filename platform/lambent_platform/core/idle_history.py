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
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EDGES_S: Final = (0.0, *(1.35**n for n in range(33)))
"""Where bins begin: each is a third longer than the one before, the last begins at four hours and has no end."""
BINS: Final = len(EDGES_S)
MIDDLES_S: Final = (*((low + high) / 2 for low, high in itertools.pairwise(EDGES_S)), 1.35 * EDGES_S[-1])
LEAD: Final = 0.1
"""A window that begins late begins this much of its time earlier, for the start itself and for timers that drift."""
PRIOR_WEIGHT: Final = 1.0
"""What is believed before anything was seen counts as much as so many idle times: each bin as likely as the next,
since the rates of functions are spread over many orders of magnitude."""
PAUSE_S: Final = 1.0
"""A call that comes sooner after the last one's end is no return: it belongs to the same flow of calls."""
HISTORY_MAX: Final = 4096
"""Counts are halved when there are more, so that what a function did long ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Window:
    """From when until when after a function's last call an environment of it is kept.

    One that begins later than at the call has a gap before it: the environment goes `linger_s` after the call, and
    another one is brought up ahead of the next.
    """

    from_s: float
    until_s: float
    linger_s: float = 0.0
    """For how long it is kept in any case."""

    @property
    def first_end_s(self) -> float:
        """When the environment of the last call goes."""
        return self.linger_s if self.from_s > 0 else max(self.until_s, self.linger_s)

    def holds(self, idle_s: float) -> bool:
        """Whether a call after so long an idle time finds an environment."""
        return idle_s < self.first_end_s or self.from_s <= idle_s < self.until_s

    def resident_s(self, idle_s: float) -> float:
        """How long an environment is kept in vain, or until its call, during so long an idle time."""
        first_s = min(idle_s, self.first_end_s)
        return first_s + (max(0.0, min(idle_s, self.until_s) - self.from_s) if self.from_s > 0 else 0.0)


@dataclass(frozen=True, slots=True)
class Habits:
    """What is known of one function's calls. Only those count that came when none of it had run for a second."""

    counts: tuple[int, ...] = ()
    """Its idle times, by bin; empty: none."""
    warm: int = 0
    """Calls that found an environment ready."""
    cold: int = 0
    """Calls that had to wait for one to start."""
    last_ms: int = 0
    """When its last call ended (liveness time); 0: not known."""
    init_s: float | None = None
    """What its last init took."""

    @property
    def observations(self) -> int:
        """How many idle times are known."""
        return sum(self.counts)

    @property
    def returns_per_s(self) -> float:
        """How often it is called again, on average; 0 where nothing is known."""
        idle_s = sum(count * middle_s for count, middle_s in zip(self.counts, MIDDLES_S, strict=False))
        return self.observations / idle_s if idle_s else 0.0


def bin_of(idle_s: float) -> int:
    """Return the bin of an idle time."""
    return bisect.bisect_right(EDGES_S, max(0.0, idle_s)) - 1


def observed(counts: Sequence[int], idle_s: float) -> tuple[int, ...]:
    """Count one more idle time."""
    at = bin_of(idle_s)
    more = tuple(count + (n == at) for n, count in enumerate(counts or (0,) * BINS))
    return tuple(count // 2 for count in more) if sum(more) > HISTORY_MAX else more


def best_window(
    counts: Sequence[int], *, cold_start_worth_s: float, gap_min_s: float = 0.0, linger_s: float = 0.0
) -> Window:
    """Choose the window that costs least by what is known; `counts` may be empty.

    No window begins earlier than `gap_min_s`, but at the call: ending an environment and starting one is not free.
    """
    prior = PRIOR_WEIGHT / BINS
    weights = [count + prior for count in (counts or (0,) * BINS)]
    after = sum(weights)
    lingering = bisect.bisect_right(EDGES_S, linger_s) - 1  # bins that end by then are hits in any case
    missed = [0.0 if at < lingering else weight for at, weight in enumerate(weights)]
    misses = sum(missed)
    lingered_s = sum(weight * min(middle_s, linger_s) for weight, middle_s in zip(weights, MIDDLES_S, strict=True))
    best, least = Window(0.0, 0.0, linger_s), misses
    for first in range(BINS - 1):
        begins_s = EDGES_S[first] * (1.0 - LEAD)
        if first == 0 or begins_s >= max(gap_min_s, linger_s):
            hits, kept_s, later = 0.0, 0.0, after
            for last in range(first, BINS - 1):
                ends_s = EDGES_S[last + 1]
                hits += missed[last]
                later -= weights[last]
                kept_s += weights[last] * (MIDDLES_S[last] - begins_s)
                # What lingering costs is the same for all windows that begin late; one from the call on contains it.
                saved_s = lingered_s if first == 0 else 0.0
                cost = misses - hits + (kept_s + later * (ends_s - begins_s) - saved_s) / cold_start_worth_s
                if cost < least:
                    best, least = Window(begins_s, ends_s, linger_s), cost
        after -= weights[first]
    return best
