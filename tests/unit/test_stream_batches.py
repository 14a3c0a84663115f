"""What becomes of batches of a stream's entries."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.core.stream_batches import (
    Batch,
    Outcome,
    Rules,
    Step,
    after,
    expired_count,
    fitting_count,
    note,
    reported,
    resume,
    retry_delay_ms,
)

FOUR = ("1-0", "1-1", "2-0", "3-0")
OK, FAILED, REFUSED = Outcome("ok"), Outcome("failed"), Outcome("refused")


def partial(first_failed: int) -> Outcome:
    """An answer that names an entry as failed."""
    return Outcome("partial", first_failed)


ENDLESS, ONCE, NEVER = Rules(), Rules(retries_max=1), Rules(retries_max=0)
HALVING, HALVING_ONCE = Rules(bisect=True), Rules(bisect=True, retries_max=1)


@pytest.mark.parametrize(
    ("batch", "outcome", "rules", "step"),
    [
        (Batch(FOUR), OK, NEVER, Step(done=FOUR)),
        # Without a limit a batch is tried for ever, as a whole, with longer and longer pauses.
        (Batch(FOUR), FAILED, ENDLESS, Step(next=(Batch(FOUR, 1, 1, 1),), delay_ms=500)),
        (Batch(FOUR, 8, 8, 8), FAILED, ENDLESS, Step(next=(Batch(FOUR, 9, 9, 9),), delay_ms=60_000)),
        # Retries are used up.
        (Batch(FOUR), FAILED, ONCE, Step(next=(Batch(FOUR, 1, 1, 1),), delay_ms=500)),
        (Batch(FOUR, 1, 1, 1), FAILED, ONCE, Step(dropped=Batch(FOUR, 2, 2, 2))),
        (Batch(FOUR), FAILED, NEVER, Step(dropped=Batch(FOUR, 1, 1, 1))),
        # A call that was refused is no attempt.
        (Batch(FOUR), REFUSED, NEVER, Step(next=(Batch(FOUR, 0, 0, 1),), delay_ms=500)),
        (Batch(FOUR, 0, 0, 1), REFUSED, NEVER, Step(next=(Batch(FOUR, 0, 0, 2),), delay_ms=1000)),
        # Splitting uses up no retry, and waits for nothing.
        (Batch(FOUR), FAILED, HALVING_ONCE, Step(next=(Batch(FOUR[:2], 0, 1), Batch(FOUR[2:], 0, 1)))),
        (Batch(FOUR[:3]), FAILED, HALVING, Step(next=(Batch(FOUR[:2], 0, 1), Batch(FOUR[2:3], 0, 1)))),
        (Batch(FOUR[:1], 0, 2), FAILED, HALVING_ONCE, Step(next=(Batch(FOUR[:1], 1, 3, 1),), delay_ms=500)),
        (Batch(FOUR[:1], 1, 3, 1), FAILED, HALVING_ONCE, Step(dropped=Batch(FOUR[:1], 2, 4, 2))),
        # The checkpoint moves to the first entry that failed, and what is left counts afresh.
        (Batch(FOUR), partial(2), ONCE, Step(FOUR[:2], next=(Batch(FOUR[2:], 1, 1, 1),), delay_ms=500)),
        (Batch(FOUR, 1, 1, 1), partial(2), ONCE, Step(FOUR[:2], next=(Batch(FOUR[2:], 1, 2, 1),), delay_ms=500)),
        (Batch(FOUR), partial(2), NEVER, Step(FOUR[:2], dropped=Batch(FOUR[2:], 1, 1, 1))),
        (Batch(FOUR, 1, 1, 1), partial(0), ONCE, Step(dropped=Batch(FOUR, 2, 2, 2))),
        # With bisection the checkpoint is where it is split.
        (Batch(FOUR), partial(1), HALVING_ONCE, Step(FOUR[:1], next=(Batch(FOUR[1:], 0, 1),))),
        (Batch(FOUR), partial(3), HALVING_ONCE, Step(FOUR[:3], next=(Batch(FOUR[3:], 1, 1, 1),), delay_ms=500)),
        (Batch(FOUR), partial(0), HALVING, Step(next=(Batch(FOUR[:2], 0, 1), Batch(FOUR[2:], 0, 1)))),
    ],
)
def test_after_an_attempt(batch: Batch, outcome: Outcome, rules: Rules, step: Step) -> None:
    """Each outcome leads to what Lambda documents, and every entry to one place."""
    assert after(batch, outcome, rules) == step


def drain(ids: Sequence[str], poison: set[str], rules: Rules, *, reports: bool) -> tuple[list[str], list[str], int]:
    """Work on a batch with a function that fails on poison; returns what it finished, what was dropped, and calls."""
    finished: list[str] = []
    dropped: list[str] = []
    batches: tuple[Batch, ...] = (Batch(tuple(ids)),)
    calls = 0
    while batches:
        batch, *rest = batches
        calls += 1
        bad = [index for index, entry_id in enumerate(batch.ids) if entry_id in poison]
        outcome = OK if not bad else partial(bad[0]) if reports else FAILED
        step = after(batch, outcome, rules)
        gone = step.dropped.ids if step.dropped else ()
        left = [entry_id for each in step.next for entry_id in each.ids]
        assert [*step.done, *gone, *left] == list(batch.ids)
        finished += step.done
        dropped += gone
        batches = (*step.next, *rest)
        assert calls < 10_000
    return finished, dropped, calls


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=6), st.integers(0, 3), st.booleans())
def test_bisecting_finds_the_poison_and_nothing_else(
    count: int, places: set[int], retries_max: int, reports: bool
) -> None:
    """With bisection just the entries that cannot be worked on are dropped, and the others are finished in order."""
    ids = [f"{n}-0" for n in range(count)]
    poison = {ids[place] for place in places if place < count}
    finished, dropped, calls = drain(ids, poison, Rules(bisect=True, retries_max=retries_max), reports=reports)
    assert dropped == [entry_id for entry_id in ids if entry_id in poison]
    assert finished == [entry_id for entry_id in ids if entry_id not in poison]
    assert calls <= 1 + len(poison) * (2 * 7 + retries_max + 1)


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=6), st.integers(0, 3), st.booleans())
def test_nothing_is_lost_without_bisection(count: int, places: set[int], retries_max: int, reports: bool) -> None:
    """Every entry is finished or dropped, in order; without poison none is dropped."""
    ids = [f"{n}-0" for n in range(count)]
    poison = {ids[place] for place in places if place < count}
    finished, dropped, _ = drain(ids, poison, Rules(retries_max=retries_max), reports=reports)
    assert finished + dropped == ids
    assert bool(dropped) is bool(poison)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("", OK),
        ("null", OK),
        ('""', OK),
        ("{}", OK),
        ('{"batchItemFailures": []}', OK),
        ('{"batchItemFailures": null}', OK),
        ('{"batchItemFailures": [{"itemIdentifier": "2-0"}]}', partial(2)),
        ('{"batchItemFailures": [{"itemIdentifier": "3-0"}, {"itemIdentifier": "1-1"}]}', partial(1)),
        ('{"batchItemFailures": [{"itemIdentifier": "1-0"}]}', partial(0)),
        ('{"batchItemFailures": [{"itemIdentifier": ""}]}', FAILED),
        ('{"batchItemFailures": [{"itemIdentifier": null}]}', FAILED),
        ('{"batchItemFailures": [{"id": "2-0"}]}', FAILED),
        ('{"batchItemFailures": [{"itemIdentifier": "9-9"}]}', FAILED),
        ('{"batchItemFailures": [{"itemIdentifier": "2-0"}, {"itemIdentifier": "9-9"}]}', FAILED),
        ('{"batchItemFailures": ["2-0"]}', FAILED),
        ('{"batchItemFailures": {"itemIdentifier": "2-0"}}', FAILED),
        ("not json", FAILED),
        ("[" * 100_000, FAILED),
        ('"done"', FAILED),
        ("[]", FAILED),
        ("\xff", FAILED),
    ],
)
def test_reported_failures(answer: str, outcome: Outcome) -> None:
    """The first failed entry is the checkpoint; what names none of the batch fails all of it."""
    assert reported(answer.encode("latin-1"), FOUR) == outcome


@pytest.mark.parametrize(
    ("ages_ms", "limit_ms", "count"),
    [([9, 5, 1], None, 0), ([9, 5, 1], 9, 0), ([9, 5, 1], 8, 1), ([9, 5, 1], 4, 2), ([9, 5, 1], 0, 3), ([], 1, 0)],
)
def test_expired_entries(ages_ms: list[int], limit_ms: int | None, count: int) -> None:
    """Entries over the maximum age are found at the front of a batch."""
    assert expired_count([100 - age for age in ages_ms], Rules(age_max_ms=limit_ms), now_ms=100) == count


@pytest.mark.parametrize(
    ("sizes", "count"), [([3, 3, 3], 3), ([3, 3, 4], 2), ([10], 0), ([9], 1), ([], 0), ([1, 20], 1)]
)
def test_fitting_entries(sizes: list[int], count: int) -> None:
    """A call takes as many entries as fit it."""
    assert fitting_count(sizes, 9) == count


def test_delays() -> None:
    """Pauses double from half a second to a minute."""
    assert [retry_delay_ms(n) for n in (1, 2, 3, 8, 9, 1000)] == [500, 1000, 2000, 60_000, 60_000, 60_000]


def test_notes_survive() -> None:
    """Batches that were tried before are the same again after a crash, and new ones are made of the others."""
    batches = (Batch(("1-0", "2-0"), 1, 3, 5), Batch(("3-0",), 0, 2), Batch(("4-0", "5-0")))
    noted = note(batches)
    ids = ["1-0", "2-0", "3-0", "4-0", "5-0", "10-0"]
    assert resume(ids, noted) == (Batch(("1-0", "2-0"), 1, 3), Batch(("3-0",), 0, 2), Batch(("4-0", "5-0", "10-0")))
    assert resume(ids[1:3], noted) == (Batch(("2-0",), 1, 3), Batch(("3-0",), 0, 2))
    assert resume(ids, "") == (Batch(tuple(ids)),)
    assert resume([], noted) == ()
    assert note([Batch(FOUR)]) == ""
    assert len(note([Batch(tuple(f"{n}-0" for n in range(10_000)), 1, 1)])) < 40
    json.loads(noted)
