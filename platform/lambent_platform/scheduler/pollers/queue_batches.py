"""What a queue's poller has in hand: messages that were received, gathered into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lambent_platform.contracts.queues import Message
from lambent_platform.core.queue_event import RECORDS_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Held:
    """One message, and what the function would see of it."""

    message: Message
    record: bytes


@dataclass(slots=True, eq=False)
class Batch:
    """Messages that go to the function together, or will when there are more of them."""

    held: list[Held] = field(default_factory=list)
    size_bytes: int = 0
    invisible_until_s: float = 0.0
    """Until when its first message stays invisible, by the loop's clock."""
    extended_until_s: float = 0.0
    """The same, with what was added since."""
    answered: bool = False
    """Whether its function has ended: what is received from now on is another turn of it."""
    extensible: bool = True
    """Whether its messages should stay invisible for longer: it is being gathered, or its function runs."""
    renewed: set[str] = field(default_factory=set)
    """Ids of its messages that were received again meanwhile, which therefore need not be invisible once it ends."""
    due_ms: int = 0
    """When it goes, full or not, in event time."""
    due_s: float = 0.0
    """The same by the loop's clock, whatever event time does."""

    def has_room_for(self, held: Held, batch_size: int) -> bool:
        """Whether one more message may be in it."""
        if not self.held:
            return True
        return len(self.held) < batch_size and self.size_bytes + len(held.record) + 1 <= RECORDS_BYTES_MAX

    def add(self, held: Held) -> None:
        """Take one more message."""
        self.held.append(held)
        self.size_bytes += len(held.record) + 1

    def renew(self, message: Message) -> None:
        """Know a message of it by its newest receipt."""
        self.renewed.add(message.id)
        self.held = [Held(message, one.record) if one.message.id == message.id else one for one in self.held]

    @property
    def handles(self) -> list[str]:
        """The receipt handles of its messages."""
        return [one.message.receipt_handle for one in self.held]

    @property
    def ids(self) -> list[str]:
        """The ids of its messages."""
        return [one.message.id for one in self.held]


def gather(gathered: Batch | None, held: Sequence[Held], *, batch_size: int, begin: Batch) -> list[Batch]:
    """Return messages as batches, in their order, the first of them on top of what was gathered before.

    `begin` has the times that new batches begin with. All but the last are as large as they may be.
    """
    batches = [gathered] if gathered is not None else []
    for one in held:
        if not batches or not batches[-1].has_room_for(one, batch_size):
            batches.append(
                Batch(
                    invisible_until_s=begin.invisible_until_s,
                    extended_until_s=begin.extended_until_s,
                    due_ms=begin.due_ms,
                    due_s=begin.due_s,
                )
            )
        batches[-1].add(one)
    return batches


class InHand:
    """Which messages, and which groups of a FIFO queue, are in some batch whose function has not ended.

    None of them can be received again in time: they are invisible, and kept so. But a clock that jumps, or a Redis
    that was away, makes them visible, and then nothing is to be called twice at the same time, or out of order.
    """

    def __init__(self) -> None:
        self._batches: dict[str, Batch] = {}
        self._groups: dict[str, Batch] = {}

    def hold(self, batch: Batch, *, fifo: bool) -> None:
        """Know the messages of a batch."""
        for one in batch.held:
            self._batches[one.message.id] = batch
            if fifo:
                self._groups[_group(one.message)] = batch

    def release(self, batch: Batch) -> None:
        """Forget the messages of a batch that has ended."""
        for one in batch.held:
            if self._batches.get(one.message.id) is batch:
                del self._batches[one.message.id]
            if self._groups.get(_group(one.message)) is batch:
                del self._groups[_group(one.message)]

    def sift(self, messages: Sequence[Message], *, fifo: bool) -> list[Message]:
        """Return the messages that may be called now.

        One that is in hand is deleted by its new receipt in the end; others of a group that is in hand come back by
        themselves, behind it.
        """
        fresh: list[Message] = []
        for message in messages:
            batch = self._batches.get(message.id)
            group = self._groups.get(_group(message)) if fifo else None
            if batch is not None and not batch.answered:
                batch.renew(message)
            elif group is None or group.answered:
                fresh.append(message)
        return fresh


def _group(message: Message) -> str:
    return message.attributes.get("MessageGroupId", "")
