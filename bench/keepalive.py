"""Simulates a week of calls under the platform's own keep-alive decisions, and under fixed times.

python bench/keepalive.py [--seed N] [--functions N] [--days N]

The trace is synthetic, in the shape that was published of Azure Functions (Shahrad et al., USENIX ATC 2020): rates
over eight orders of magnitude, timers with and without jitter, calls at random, and bursts far apart. What decides
is `core/idle_history.py`, as in production; the simulation only counts.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lambent_platform.core.idle_history import Window, best_window, observed

DAY_S = 86_400.0
CALLS_MAX = 5_000
"""Of one function: more of them would only be more warm calls."""
FIXED_S = 600.0
DECIDED_EACH = 32
"""A settled function's window is chosen anew after so many idle times."""
SETTLED = 50
MEMORY_MB = (128, 128, 128, 256, 256, 512, 1024)
PERIODS_S = (60, 300, 300, 900, 900, 1800, 3600, 3600, 3600, 7200, 21_600, 86_400)
Decide = Callable[[Sequence[int]], Window]


@dataclass(frozen=True)
class Function:
    """One function of a trace."""

    calls_s: Sequence[float]
    memory_mb: int


@dataclass
class Cost:
    """What a policy cost on a trace."""

    calls: int = 0
    cold: int = 0
    mb_s: float = 0.0


def trace(seed: int, functions: int, days: float) -> list[Function]:
    """Make a trace."""
    chance = random.Random(seed)
    made = []
    for _ in range(functions):
        kind, memory_mb = chance.random(), chance.choice(MEMORY_MB)
        source = _timer(chance) if kind < 0.29 else _random(chance) if kind < 0.70 else _bursts(chance)
        calls = list(itertools.islice(itertools.takewhile(lambda at_s: at_s < days * DAY_S, source), CALLS_MAX))
        if calls:
            made.append(Function(sorted(calls), memory_mb))
    return made


def _timer(chance: random.Random):
    period_s, jitter_s = chance.choice(PERIODS_S), chance.choice((0, 0, 1, 5))
    for n in itertools.count():
        yield (n + 0.5) * period_s + chance.random() * jitter_s


def _random(chance: random.Random):
    rate, at_s = 10 ** chance.uniform(-6, 2), 0.0
    while True:
        at_s += chance.expovariate(rate)
        yield at_s


def _bursts(chance: random.Random):
    apart_s, within_s, longest, at_s = (
        10 ** chance.uniform(3, 5.3),
        10 ** chance.uniform(0, 2.5),
        chance.randint(2, 60),
        0.0,
    )
    while True:
        at_s += chance.expovariate(1 / apart_s)
        for _ in range(chance.randint(1, longest)):
            yield at_s
            at_s += chance.expovariate(1 / within_s)


def simulate(functions: Sequence[Function], decide: Decide) -> Cost:
    """Run a trace under a policy that chooses a window from a history."""
    cost = Cost()
    for function in functions:
        counts: tuple[int, ...] = ()
        window = decide(counts)
        cost.calls += len(function.calls_s)
        cost.cold += 1
        for seen, (before_s, at_s) in enumerate(itertools.pairwise(function.calls_s)):
            idle_s = at_s - before_s
            cost.cold += not window.holds(idle_s)
            cost.mb_s += function.memory_mb * window.resident_s(idle_s)
            counts = observed(counts, idle_s)
            if seen < SETTLED or seen % DECIDED_EACH == 0:
                window = decide(counts)
        cost.mb_s += function.memory_mb * window.resident_s(float("inf"))
    return cost


def table(seed: int, functions: int, days: float) -> list[str]:
    """Compare policies on one trace."""
    made = trace(seed, functions, days)
    base = simulate(made, lambda _: Window(0.0, FIXED_S))
    rows = [
        f"| keep-alive, {len(made)} functions, {days:g} days, {base.calls:,} calls (simulated) "
        f"| cold starts | of those of {FIXED_S / 60:g} min | memory·time | of that of {FIXED_S / 60:g} min |",
        "|---|---|---|---|---|",
    ]
    policies: list[tuple[str, Decide]] = [
        (f"fixed, {minutes:g} min", lambda _, minutes=minutes: Window(0.0, minutes * 60)) for minutes in (1, 10, 60)
    ]
    policies += [
        (
            f"by history, a cold start worth {worth_s:,} s",
            lambda counts, worth_s=worth_s: best_window(counts, cold_start_worth_s=worth_s),
        )
        for worth_s in (600, 1800, 2700)
    ]
    for name, decide in policies:
        cost = simulate(made, decide)
        rows.append(
            f"| {name} | {cost.cold:,} | {cost.cold / base.cold:.2f} "
            f"| {cost.mb_s / 1024 / 3600:,.0f} GB·h | {cost.mb_s / base.mb_s:.2f} |"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--functions", type=int, default=400)
    parser.add_argument("--days", type=float, default=7.0)
    args = parser.parse_args()
    print("\n".join(table(args.seed, args.functions, args.days)))


if __name__ == "__main__":
    main()
