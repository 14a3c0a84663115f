"""Simulates a week of calls under the platform's own keep-alive decisions, and under fixed times.

python bench/keepalive.py [--seeds N] [--functions N] [--days N]

The trace is synthetic, in the shape that was published of Azure Functions (Shahrad et al., USENIX ATC 2020): rates
over eight orders of magnitude, timers with and without jitter, calls at random, and bursts far apart. What decides
is `core/keepalive.py` with `core/idle_history.py`, as in production; the simulation only counts.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lambent_platform.core.idle_history import PAUSE_S, Habits, observed
from lambent_platform.core.keepalive import KeepAlive, window_of

DAY_S = 86_400.0
CALLS_MAX = 5_000
"""Of one function: more of them would only be more warm calls."""
FIXED_S = 600.0
DECIDED_EACH = 32
"""A settled function's window is chosen anew after so many idle times."""
SETTLED = 50
MEMORY_MB = (128, 128, 128, 256, 256, 512, 1024)
PERIODS_S = (60, 300, 300, 900, 900, 1800, 3600, 3600, 3600, 7200, 21_600, 86_400)


@dataclass(frozen=True)
class SimulationPlan:
    """How much is simulated."""

    seeds: int
    functions: int
    days: float


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


def _timer(chance: random.Random) -> Iterator[float]:
    period_s, jitter_s = chance.choice(PERIODS_S), chance.choice((0, 0, 1, 5))
    for n in itertools.count():
        yield (n + 0.5) * period_s + chance.random() * jitter_s


def _random(chance: random.Random) -> Iterator[float]:
    rate, at_s = 10 ** chance.uniform(-6, 2), 0.0
    while True:
        at_s += chance.expovariate(rate)
        yield at_s


def _bursts(chance: random.Random) -> Iterator[float]:
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


def simulate(functions: Sequence[Function], policies: Sequence[KeepAlive]) -> list[Cost]:
    """Run a trace under several policies at once: the idle times are the same for all."""
    costs = [Cost() for _ in policies]
    for function in functions:
        counts: tuple[int, ...] = ()
        windows = [window_of(policy, Habits()) for policy in policies]
        for cost in costs:
            cost.calls += len(function.calls_s)
            cost.cold += 1
        for seen, (before_s, at_s) in enumerate(itertools.pairwise(function.calls_s)):
            idle_s = at_s - before_s
            for cost, window in zip(costs, windows, strict=True):
                cost.cold += not window.holds(idle_s)
                cost.mb_s += function.memory_mb * window.resident_s(idle_s)
            if idle_s >= PAUSE_S:
                counts = observed(counts, idle_s)
            if seen < SETTLED or seen % DECIDED_EACH == 0:
                windows = [window_of(policy, Habits(counts=counts)) for policy in policies]
        for cost, window in zip(costs, windows, strict=True):
            cost.mb_s += function.memory_mb * window.resident_s(float("inf"))
    return costs


def compare(plan: SimulationPlan) -> list[str]:
    """Compare policies on a trace for each seed; shares are the median, the least and the most."""
    policies = {
        "fixed, 10 min": KeepAlive(idle_timeout_s=FIXED_S),
        "fixed, 60 min": KeepAlive(idle_timeout_s=3600.0),
        **{
            f"by history, a cold start worth {worth_s:,} s": KeepAlive(keep_alive="history", cold_start_worth_s=worth_s)
            for worth_s in (1800, 2400, 3600)
        },
    }
    runs = [simulate(trace(seed, plan.functions, plan.days), list(policies.values())) for seed in range(plan.seeds)]
    calls = sum(costs[0].calls for costs in runs)
    rows = [
        f"| keep-alive, simulated: {plan.seeds} traces of {plan.functions} functions and {plan.days:g} days, "
        f"{calls:,} calls | cold starts, of those of a fixed 10 min | memory·time, of that of a fixed 10 min |",
        "|---|---|---|",
    ]
    for at, name in enumerate(policies):
        cold = [costs[at].cold / costs[0].cold for costs in runs]
        memory = [costs[at].mb_s / costs[0].mb_s for costs in runs]
        rows.append(f"| {name} | {_range(cold)} | {_range(memory)} |")
    return rows


def _range(shares: Sequence[float]) -> str:
    return f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--functions", type=int, default=400)
    parser.add_argument("--days", type=float, default=7.0)
    args = parser.parse_args()
    print("\n".join(compare(SimulationPlan(args.seeds, args.functions, args.days))))


if __name__ == "__main__":
    main()
