"""Messages of queues on Redis: sent, received, deleted, held, and sent on to other queues.

This is the only mover of messages: whoever sends to a queue or receives from one does it here. What comes in one turn
of the event loop goes in one script (`store/batches.py`), so that round trips are what it costs, not messages.
Every method raises `StoreUnavailable` where Redis is away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from lambent_platform.contracts.errors import ApiError, StoreUnavailable
from lambent_platform.contracts.queue_errors import (
    MessageNotInflight,
    QueueBusy,
    QueueDoesNotExist,
    QueueParameterInvalid,
    ReceiptHandleInvalid,
)
from lambent_platform.contracts.queues import (
    IN_FLIGHT_MAX,
    VISIBILITY_S_MAX,
    Message,
    NewMessage,
    QueueCounts,
    QueueRecord,
    QueueRef,
    Received,
    Sent,
)
from lambent_platform.core.queue_messages import Leaving, Receipt, address, outgoing, received
from lambent_platform.store.batches import Batcher
from lambent_platform.store.queue_records import STALE_TRIES, QueueRecords
from lambent_platform.store.redis import RedisStore, translated

SCRIPT_BYTES_MAX: Final = 4 * 1024 * 1024
"""More than this is not sent to one script, which would hold everybody up meanwhile."""
ONCE_MS: Final = 3_600_000
"""How long an id that was given to `send` makes sending again the same as sending once."""
OUT_COUNT: Final = 100

SOURCE_UNKNOWN: Final = "CouldNotDetermineMessageSource"
TARGET_MISSING: Final = "AWS.SimpleQueueService.NonExistentQueue"

log = structlog.get_logger("queues")

T = TypeVar("T")
K = TypeVar("K")
Args = list[Any]
_SCRIPTS: Final[Mapping[str, tuple[int, bool]]] = {
    "send": (11, True),
    "receive": (10, False),
    "delete": (5, True),
    "visibility": (6, False),
}
"""Scripts that take batches: how many arguments each part of one has, and whether the disk is waited for."""


class QueueStore(QueueRecords):
    """Queues and their messages; one for each process."""

    def __init__(self, redis: RedisStore, *, wait_for_disk: bool = False, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        super().__init__(redis, wait_for_disk=wait_for_disk)
        self._in_flight_max = in_flight_max
        self._batchers: dict[tuple[str, str], Batcher[Args, Any]] = {}

    async def send(self, queue: QueueRecord, messages: Sequence[NewMessage], *, now_ms: int) -> list[Sent]:
        """Store messages, all of them, in their order; returns once they are as durable as the store was told to be.

        The caller has checked them (`core/queue_message_rules.py`).

        Raises:
            QueueDoesNotExist: it is gone.
        """
        for _ in range(STALE_TRIES):
            ready = [outgoing(queue, message, now_ms=now_ms) for message in messages]
            args: Args = []
            for message, out in zip(messages, ready, strict=True):
                delay_s = queue.delay_s if message.delay_s is None or queue.fifo else message.delay_s
                once = f"o:{message.id}" if message.id else ""
                args += [queue.ident, queue.generation, now_ms, out.id, delay_s * 1000 or "", now_ms]
                args += [message.group_id if queue.fifo else "", out.duplicate_key, once, now_ms + ONCE_MS, out.stored]
            results = await self._batched("send", queue.ident, args)
            if not {b"stale", b"gone"} & set(results):
                told = [result.decode().split(" ", 2) for result in results]
                return [out.sent(queue, said[2], said[1]) for out, said in zip(ready, told, strict=True)]
            queue = await self.current(queue.ref)
        raise QueueBusy

    async def receive(
        self,
        queue: QueueRecord,
        *,
        count: int,
        now_ms: int,
        visibility_timeout_s: int | None = None,
        attempt_id: str = "",
    ) -> Received:
        """Receive up to `count` messages, which nobody else gets until their visibility timeout is over.

        What was received too often goes to the dead-letter queue instead, what is too old is dropped.

        Raises:
            QueueDoesNotExist: it is gone.
        """
        for _ in range(STALE_TRIES):
            visibility_s = queue.visibility_timeout_s if visibility_timeout_s is None else visibility_timeout_s
            dead = await self._dead_letter_queue(queue)
            args: Args = [queue.ident, queue.generation, now_ms, count, visibility_s * 1000, queue.retention_s * 1000]
            args += [queue.delay_s * 1000, queue.max_receive_count if dead else 0, address(dead.ident) if dead else ""]
            args.append(f"a:{attempt_id}" if attempt_id and queue.fifo else "")
            status, next_ms, out, *rows = (await self._batched("receive", queue.ident, args))[0]
            if status in (b"stale", b"gone"):
                queue = await self.current(queue.ref)
                continue
            if out:
                try:
                    await self.forward(queue.ref, now_ms=now_ms)
                except (StoreUnavailable, QueueBusy) as error:
                    # The scheduler sends them on; what was received is not to be lost to its receiver for that.
                    log.warning("dead letters wait", queue=queue.ident, error=str(error))
            messages = [_message(queue, rows[at : at + 4], now_ms, visibility_s) for at in range(0, len(rows), 4)]
            return Received(messages, int(next_ms) if next_ms else None, over_limit=status == b"limit")
        raise QueueBusy

    async def _dead_letter_queue(self, queue: QueueRecord) -> QueueRecord | None:
        """The queue for dead letters, where it exists: without it messages stay where they are."""
        ref = QueueRef.parse(queue.dead_letter_arn) if queue.dead_letter_arn else None
        if ref is None:
            return None
        return self._cache.get(ref.ident) or await self.find(ref.account, ref.region, ref.name)

    async def delete(self, queue: QueueRecord, receipt_handles: Sequence[str], *, now_ms: int) -> list[ApiError | None]:
        """Delete received messages; for each handle None, or why it is not good.

        A handle of an older receive than the newest deletes nothing; in a standard queue nobody is told, as on SQS.

        Raises:
            QueueDoesNotExist: it is gone.
        """
        receipts = [Receipt.parse(handle) for handle in receipt_handles]
        args: Args = []
        for receipt in receipts:
            if receipt is not None:
                args += [now_ms, queue.ident, receipt.incarnation, receipt.place, receipt.receive]
        said = iter(await self._batched("delete", queue.ident, args) if args else ())
        answers: list[ApiError | None] = []
        for handle, receipt in zip(receipt_handles, receipts, strict=True):
            result = next(said) if receipt is not None else b"foreign"
            answers.append(self._refusal(queue, handle, result))
        return answers

    async def expel(self, queue: QueueRecord, receipt_handles: Sequence[str], *, now_ms: int) -> int:
        """Send received messages to the dead-letter queue at once; returns how many were still held.

        None are where the queue has no dead-letter queue, or that does not exist.
        """
        dead = await self._dead_letter_queue(queue)
        receipts = [found for handle in receipt_handles if (found := Receipt.parse(handle)) is not None]
        if dead is None or not receipts:
            return 0
        args: Args = [queue.ident, address(dead.ident)]
        for receipt in receipts:
            args += [receipt.incarnation, receipt.place, receipt.receive]
        moved = int(await self._write("queues/expel", self._prefix(queue.ident), args))
        if moved:
            await self.forward(queue.ref, now_ms=now_ms)
        return moved

    async def change_visibility(
        self, queue: QueueRecord, changes: Sequence[tuple[str, int]], *, now_ms: int
    ) -> list[ApiError | None]:
        """Let received messages be invisible until so many seconds from now; for each None, or why not.

        Raises:
            QueueDoesNotExist: it is gone.
        """
        answers: dict[int, ApiError | None] = {}
        args: Args = []
        for at, (handle, timeout_s) in enumerate(changes):
            receipt = Receipt.parse(handle)
            visible_at_ms = now_ms + timeout_s * 1000
            if receipt is None:
                answers[at] = ReceiptHandleInvalid.of(handle)
            elif visible_at_ms > receipt.latest_ms():
                answers[at] = QueueParameterInvalid.of(
                    timeout_s,
                    "VisibilityTimeout",
                    f"Total VisibilityTimeout for the message is beyond the limit [{VISIBILITY_S_MAX} seconds]",
                )
            else:
                args += [now_ms, queue.ident, receipt.incarnation, receipt.place, receipt.receive, visible_at_ms]
        said = iter(await self._batched("visibility", queue.ident, args) if args else ())
        return [
            answers[at] if at in answers else self._refusal(queue, handle, next(said))
            for at, (handle, _) in enumerate(changes)
        ]

    def _refusal(self, queue: QueueRecord, handle: str, result: bytes) -> ApiError | None:
        if result == b"ok":
            return None
        if result == b"gone":
            self._cache.pop(queue.ident, None)
            raise QueueDoesNotExist
        if result == b"visible":
            return MessageNotInflight()
        if result == b"expired":
            return QueueParameterInvalid.of(handle, "ReceiptHandle", "The receipt handle has expired.")
        if result == b"missing":
            reason = "Message does not exist or is not available for visibility timeout change."
            return QueueParameterInvalid.of(handle, "ReceiptHandle", reason)
        return ReceiptHandleInvalid.of(handle)

    async def counts(self, queue: QueueRecord, *, now_ms: int) -> QueueCounts:
        """Count a queue's messages.

        Raises:
            QueueDoesNotExist: it is gone.
        """
        found = await self._redis.run(
            "queues/counts", self._prefix(queue.ident), [queue.ident, now_ms, queue.delay_s * 1000]
        )
        if not found:
            raise QueueDoesNotExist
        visible, in_flight, delayed, oldest = found
        return QueueCounts(visible, in_flight, delayed, int(float(oldest)) if oldest else None)

    async def forward(self, ref: QueueRef, *, now_ms: int) -> int:
        """Send on what is on its way from this queue to others; returns how many there were.

        Each step can be done again: a message that arrived is known there by its place here, and only then does it
        leave the places of those on their way.
        """
        prefix, done = self._prefix(ref.ident), 0
        key = f"{prefix}qout:{ref.ident}"
        while True:
            with translated():
                # In the order in which they left, so that a group keeps its own.
                places = sorted(await self._client.hkeys(key))[:OUT_COUNT]
                entries = await self._client.hmget(key, places) if places else []
            leaving = [Leaving.parse(p.decode(), entry) for p, entry in zip(places, entries, strict=True) if entry]
            for (task, target), together in _by(leaving, lambda m: (m.task, m.target())).items():
                problem = await self._send_on(ref, target, together, now_ms) if target else SOURCE_UNKNOWN
                args = [ref.ident, int(bool(problem)), task, problem, *(message.place for message in together)]
                await self._write("queues/sent_out", prefix, args)
            done += len(leaving)
            if len(places) < OUT_COUNT:
                return done

    async def _send_on(self, source: QueueRef, ident: str, leaving: Sequence[Leaving], now_ms: int) -> str:
        """Send messages to another queue; returns why they cannot be, empty where they arrived."""
        account, region, name = ident.split(":")
        for _ in range(STALE_TRIES):
            queue = await self.find(account, region, name)
            if queue is None:
                return TARGET_MISSING
            args: Args = []
            for message in leaving:
                arriving = message.arriving(source, fifo=queue.fifo, now_ms=now_ms)
                once = f"t:{source.ident}:{message.place}"
                args += [queue.ident, queue.generation, now_ms, arriving.id, "", arriving.sent_ms or now_ms]
                args += [arriving.group, "", once, now_ms + ONCE_MS, arriving.stored]
            results = await self._batched("send", queue.ident, args)
            if not {b"stale", b"gone"} & set(results):
                return ""
        raise QueueBusy

    async def _batched(self, script: str, ident: str, args: Args) -> Any:
        """Run a script with what others ask of it in the same partition at the same time."""
        prefix = self._prefix(ident)
        batcher = self._batchers.get((script, prefix))
        if batcher is None:
            batcher = self._batchers[script, prefix] = Batcher(partial(self._run_batch, script, prefix))
        return await batcher.submit(args)

    async def _run_batch(self, script: str, prefix: str, items: Sequence[Args]) -> list[Any]:
        width, durable = _SCRIPTS[script]
        run = self._write if durable else self._redis.run
        first = [self._in_flight_max] if script == "receive" else []
        results: list[Any] = []
        for piece in _pieces(items):
            flat = await run(f"queues/{script}", prefix, [*first, *(arg for args in piece for arg in args)])
            at = 0
            for args in piece:
                results.append(flat[at : at + len(args) // width])
                at += len(args) // width
        return results


def _by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _pieces(items: Sequence[Args]) -> Iterator[list[Args]]:
    """Cut a batch where it is too much for one script."""
    piece: list[Args] = []
    size = 0
    for args in items:
        more = sum(len(arg) for arg in args if isinstance(arg, bytes))
        if piece and size + more > SCRIPT_BYTES_MAX:
            yield piece
            piece, size = [], 0
        piece.append(args)
        size += more
    if piece:
        yield piece


def _message(queue: QueueRecord, row: Sequence[Any], now_ms: int, visibility_s: int) -> Message:
    place, count, first_ms, stored = row
    return received(
        queue,
        stored,
        place=place.decode(),
        count=int(count),
        first_ms=int(first_ms),
        now_ms=now_ms,
        visibility_s=visibility_s,
    )
