"""What becomes of a batch of a stream's entries after an attempt: a state machine without I/O.

Entries of a stream are worked on in order. A batch that fails is tried again and holds up what follows it, until it
succeeds, has used up its retries, or its entries are too old; then it is dropped, which its destination is told. A
batch that may be bisected is split rather than tried again as a whole, down to the entry that cannot be worked on,
and splitting uses up no retry. A function that reports the entries that failed moves the checkpoint to the first
of them.

Source: Lambda Developer Guide, "Using Lambda to process records from Amazon Kinesis Data Streams": parameters, batch
response reporting, retaining discarded records.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from lambent_platform.contracts.streams import entry_order

RETRY_DELAY_MS_FIRST: Final = 500
RETRY_DELAY_MS_MAX: Final = 60_000

Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded", "PayloadSizeExceeded"]
"""Why entries were dropped; the last is Lambent's own, since an entry of Redis may be larger than any event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a mapping says about batches that fail; None is no limit."""

    retries_max: int | None = None
    age_max_ms: int | None = None
    bisect: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that are given to the function together."""

    ids: tuple[str, ...]
    failures: int = 0
    """Failed attempts that count against the retries."""
    invokes: int = 0
    """Calls of the function that these entries were part of, whatever came of them."""
    delays: int = 0
    """Attempts in a row that got nowhere: what the pause before the next one is made from."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    `ok`; `failed`, all of it; `partial`, from the entry at index `first_failed` on; `refused`, where the function
    was never reached (throttled, deleted, no capacity).
    """

    kind: Literal["ok", "failed", "partial", "refused"]
    first_failed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What follows: entries that are done, a batch that is given up, what is tried next and after which pause."""

    done: tuple[str, ...] = ()
    dropped: Batch | None = None
    next: tuple[Batch, ...] = ()
    delay_ms: int = 0


def after(batch: Batch, outcome: Outcome, rules: Rules) -> Step:
    """Decide what follows an attempt. Every entry of the batch is in just one of done, dropped and next."""
    batch = replace(batch, invokes=batch.invokes + (outcome.kind != "refused"))
    if outcome.kind == "ok":
        return Step(done=batch.ids)
    if outcome.kind == "refused":
        batch = replace(batch, delays=batch.delays + 1)
        return Step(next=(batch,), delay_ms=retry_delay_ms(batch.delays))
    done: tuple[str, ...] = ()
    if outcome.kind == "partial" and outcome.first_failed:
        # A batch that got on counts afresh from where it stopped.
        done, rest = batch.ids[: outcome.first_failed], batch.ids[outcome.first_failed :]
        batch = Batch(rest, invokes=batch.invokes)
        if rules.bisect and len(rest) > 1:
            return Step(done=done, next=(batch,))
    elif rules.bisect and len(batch.ids) > 1:
        return Step(next=halves(batch))
    failed = replace(batch, failures=batch.failures + 1, delays=batch.delays + 1)
    if rules.retries_max is not None and failed.failures > rules.retries_max:
        return Step(done=done, dropped=failed)
    return Step(done=done, next=(failed,), delay_ms=retry_delay_ms(failed.delays))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Split a batch of two or more in the middle; both keep what was counted."""
    return split(batch, (len(batch.ids) + 1) // 2)


def split(batch: Batch, count: int) -> tuple[Batch, Batch]:
    """The first `count` entries and the others."""
    return replace(batch, ids=batch.ids[:count], delays=0), replace(batch, ids=batch.ids[count:], delays=0)


def retry_delay_ms(failures: int) -> int:
    """The pause after this many attempts in a row that got nowhere: doubled each time, up to a minute."""
    return min(RETRY_DELAY_MS_FIRST << min(failures - 1, 16), RETRY_DELAY_MS_MAX)


def expired_count(arrived_ms: Sequence[int], rules: Rules, *, now_ms: int) -> int:
    """How many entries at the front of a batch are over the maximum age."""
    if rules.age_max_ms is None:
        return 0
    for index, moment_ms in enumerate(arrived_ms):
        if now_ms - moment_ms <= rules.age_max_ms:
            return index
    return len(arrived_ms)


def fitting_count(sizes: Sequence[int], bytes_max: int) -> int:
    """How many entries at the front fit one call; 0 where not even the first does."""
    total = 0
    for index, size in enumerate(sizes):
        total += size
        if total > bytes_max:
            return index
    return len(sizes)


def reported(payload: bytes, ids: Sequence[str]) -> Outcome:
    """Read the answer of a function with `ReportBatchItemFailures`.

    Nothing, null, and a list that is empty, null or missing are success. The first of the entries that are named is
    the checkpoint. An answer that names none of this batch, or has another form, is a failure of all of it.
    """
    try:
        answer = json.loads(payload or b"null")
    except (ValueError, RecursionError):
        return Outcome("failed")
    if answer is None or answer == "":
        return Outcome("ok")
    if not isinstance(answer, dict):
        return Outcome("failed")
    failures = answer.get("batchItemFailures")
    if failures is None or failures == []:
        return Outcome("ok")
    if not isinstance(failures, list):
        return Outcome("failed")
    positions = {entry_id: index for index, entry_id in enumerate(ids)}
    first = len(ids)
    for failure in failures:
        name = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        index = positions.get(name) if isinstance(name, str) else None
        if index is None:
            return Outcome("failed")
        first = min(first, index)
    return Outcome("partial", first)


def note(batches: Iterable[Batch]) -> str:
    """Write down how far batches have got, so that whoever goes on after a crash counts on from there."""
    kept = [[b.ids[0], b.ids[-1], b.failures, b.invokes] for b in batches if b.ids and b.invokes]
    return json.dumps(kept) if kept else ""


def resume(ids: Sequence[str], noted: str) -> tuple[Batch, ...]:
    """Make batches again of entries that were handed out before: as noted, and one of those that were not."""
    spans = [(entry_order(first), entry_order(last), *counts) for first, last, *counts in json.loads(noted or "[]")]

    def span_of(entry_id: str) -> int:
        order = entry_order(entry_id)
        return next((index for index, (first, last, *_) in enumerate(spans) if first <= order <= last), -1)

    batches = []
    for index, members in itertools.groupby(ids, key=span_of):
        failures, invokes = spans[index][2:] if index >= 0 else (0, 0)
        batches.append(Batch(tuple(members), failures=failures, invokes=invokes))
    return tuple(batches)
