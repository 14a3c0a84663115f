"""Messages of queues as they are stored, and what SQS computes of them.

A stored message is `group \\n meta \\n body`: the group (empty in a standard queue) for the scripts, the meta in JSON
with short names, since a million of them may wait, and the body as it came.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from lambent_platform.contracts.ids import new_uuid
from lambent_platform.contracts.queues import VISIBILITY_S_MAX, Message, NewMessage, QueueRecord, QueueRef, Sent

TRACE_HEADER: Final = "AWSTraceHeader"
_SEQUENCE_PREFIX: Final = "1885"
"""In front of the 16 digits of a message's place: sequence numbers have 20."""


def md5_of(body: str) -> str:
    """Return the MD5 of a body, which clients check."""
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the MD5 of message attributes, empty without any.

    Source: SQS Developer Guide, "Calculating the MD5 message digest for message attributes": by name in order, each
    of name, type and value with its length in four bytes in front, and before the value 1 for text or 2 for bytes.
    """
    if not attributes:
        return ""
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        attribute = attributes[name]
        binary = attribute.get("BinaryValue")
        for text in (name, str(attribute["DataType"])):
            digest.update(_sized(text.encode()))
        digest.update(b"\x01" if binary is None else b"\x02")
        digest.update(_sized(str(attribute["StringValue"]).encode() if binary is None else binary))
    return digest.hexdigest()


def _sized(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def system_attributes(plain: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Give system attributes the shape in which their MD5 is computed."""
    return {name: {"DataType": "String", "StringValue": value} for name, value in plain.items()}


def sequence_number(place: str) -> str:
    """Return the sequence number of a FIFO queue's message by its place in the queue."""
    return _SEQUENCE_PREFIX + place


def deduplication_id(queue: QueueRecord, message: NewMessage) -> str:
    """Return what a FIFO queue tells duplicates by: the id given, else the SHA-256 of the body; else empty."""
    if not queue.fifo:
        return ""
    if message.deduplication_id:
        return message.deduplication_id
    return hashlib.sha256(message.body.encode()).hexdigest() if queue.content_based_deduplication else ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to be stored, and what its sender is told."""

    id: str
    stored: bytes
    duplicate_key: str
    """What makes it a duplicate of another; empty where nothing does."""
    md5_of_body: str
    md5_of_message_attributes: str
    md5_of_system_attributes: str

    def sent(self, queue: QueueRecord, message_id: str, place: str) -> Sent:
        """Return what the sender is told, once it is stored under a place, or known by that id already."""
        return Sent(
            id=message_id,
            md5_of_body=self.md5_of_body,
            md5_of_message_attributes=self.md5_of_message_attributes,
            md5_of_system_attributes=self.md5_of_system_attributes,
            sequence_number=sequence_number(place) if queue.fifo else "",
        )


def outgoing(queue: QueueRecord, message: NewMessage, *, now_ms: int) -> Outgoing:
    """Make a message ready to be stored. Its `id` is made where it has none."""
    message_id = message.id or new_uuid()
    body_md5 = md5_of(message.body)
    meta: dict[str, Any] = {"i": message_id, "m": body_md5, "s": now_ms}
    if message.sender_id:
        meta["u"] = message.sender_id
    attributes_md5 = system_md5 = ""
    if message.message_attributes:
        attributes_md5 = md5_of_attributes(message.message_attributes)
        meta["a"] = [_short(name, value) for name, value in message.message_attributes.items()]
        meta["am"] = attributes_md5
    if message.system_attributes:
        system_md5 = md5_of_attributes(system_attributes(message.system_attributes))
        meta["t"] = message.system_attributes.get(TRACE_HEADER, "")
    if message.group_id and not queue.fifo:
        meta["g"] = message.group_id
    duplicate = deduplication_id(queue, message)
    if duplicate:
        meta["d"] = duplicate
        if queue.deduplication_by_group:
            duplicate = f"{message.group_id} {duplicate}"
        duplicate = f"d:{duplicate}"
    group = message.group_id if queue.fifo else ""
    stored = _join(group, meta, message.body.encode())
    return Outgoing(message_id, stored, duplicate, body_md5, attributes_md5, system_md5)


def _short(name: str, value: Mapping[str, Any]) -> list[str]:
    binary = value.get("BinaryValue")
    if binary is None:
        return [name, value["DataType"], value["StringValue"]]
    return [name, value["DataType"], base64.b64encode(binary).decode(), ""]


def _long(short: list[str]) -> tuple[str, dict[str, Any]]:
    if len(short) > 3:
        return short[0], {"DataType": short[1], "BinaryValue": base64.b64decode(short[2])}
    return short[0], {"DataType": short[1], "StringValue": short[2]}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt handle says: which receive of which message of which queue, and until when it can hold good.

    It needs no signature: whoever may delete by a handle may receive as well.
    """

    incarnation: str
    place: str
    receive: int
    received_at_ms: int
    visible_at_ms: int
    """When the message becomes visible again, unless that is changed."""

    def handle(self) -> str:
        """Write it as SQS shows it, as letters that mean nothing to its bearer."""
        text = f"{self.incarnation}|{self.place}|{self.receive}|{self.received_at_ms}|{self.visible_at_ms}"
        return "AQEB" + base64.b64encode(text.encode()).decode()

    @classmethod
    def parse(cls, handle: str) -> Self | None:
        """Undo `handle`; None for what is none."""
        if not handle.startswith("AQEB") or len(handle) > 256:
            return None
        try:
            parts = base64.b64decode(handle[4:], validate=True).decode("ascii").split("|")
            incarnation, place, receive, received, visible = parts
            return cls(incarnation, f"{int(place):016d}", int(receive), int(received), int(visible))
        except (binascii.Error, ValueError):
            return None

    def latest_ms(self) -> int:
        """Until when this receive may hold the message at most, however often its timeout is changed."""
        return self.received_at_ms + VISIBILITY_S_MAX * 1000


def received(
    queue: QueueRecord, stored: bytes, *, place: str, count: int, first_ms: int, now_ms: int, visibility_s: int
) -> Message:
    """Return a stored message as the one that received it sees it."""
    group, meta, body = _split(stored)
    attributes = {
        "SenderId": meta.get("u") or queue.account,
        "SentTimestamp": str(meta["s"]),
        "ApproximateReceiveCount": str(count + meta.get("n", 0)),
        "ApproximateFirstReceiveTimestamp": str(meta.get("f", first_ms)),
    }
    if queue.fifo:
        attributes["SequenceNumber"] = sequence_number(place)
    for name, value in (
        ("MessageGroupId", group or meta.get("g")),
        ("MessageDeduplicationId", meta.get("d")),
        (TRACE_HEADER, meta.get("t")),
        ("DeadLetterQueueSourceArn", meta.get("q")),
    ):
        if value:
            attributes[name] = value
    receipt = Receipt(queue.incarnation, place, count, now_ms, now_ms + visibility_s * 1000)
    return Message(
        id=meta["i"],
        receipt_handle=receipt.handle(),
        body=body.decode(),
        md5_of_body=meta["m"],
        attributes=attributes,
        message_attributes=dict(map(_long, meta["a"])) if "a" in meta else {},
        md5_of_message_attributes=meta.get("am", ""),
    )


def _split(stored: bytes) -> tuple[str, dict[str, Any], bytes]:
    group, meta, body = stored.split(b"\n", 2)
    return group.decode(), orjson.loads(meta), body


@dataclass(frozen=True, slots=True)
class Arriving:
    """A message from another queue, ready to be stored."""

    id: str
    group: str
    stored: bytes
    sent_ms: int
    """From when its age counts, where that is not now; 0 where it is."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A message that is on its way from one queue to another: to a dead-letter queue, or moved by a task."""

    place: str
    task: str
    """The task that moves it; empty for a dead letter."""
    destination: str
    """Ident of the queue; empty where it goes back to the queue in which it died."""
    count: int
    first_ms: int
    sent_ms: int
    stored: bytes

    @classmethod
    def parse(cls, place: str, entry: bytes) -> Self:
        """Read an entry of `qout`: `address \\n count|first|sent| \\n message`."""
        where, state, stored = entry.split(b"\n", 2)
        task, _, destination = where.decode().partition(" ")
        count, first, sent, _ = state.split(b"|", 3)
        return cls(place, task, destination, int(count), int(first), int(sent), stored)

    def arriving(self, source: QueueRef, *, fifo: bool, now_ms: int) -> Arriving:
        """Return the message as the queue stores it to which it comes from `source`."""
        return self._redriven(now_ms) if self.task else self._dead(source, fifo=fifo)

    def _dead(self, source: QueueRef, *, fifo: bool) -> Arriving:
        """The same message, with where it comes from.

        Source: SQS Developer Guide, "Using dead-letter queues": a message of a standard queue keeps its age.
        """
        group, meta, body = _split(self.stored)
        meta.update(q=source.arn, n=self.count + meta.get("n", 0))
        if self.count:
            meta.setdefault("f", self.first_ms)
        return Arriving(meta["i"], group, _join(group, meta, body), 0 if fifo else self.sent_ms)

    def _redriven(self, now_ms: int) -> Arriving:
        """A new message, with a new id, and no longer dead.

        Source: SQS Developer Guide, "Learn how to configure a dead-letter queue redrive".
        """
        group, meta, body = _split(self.stored)
        for name in ("q", "n", "f"):
            meta.pop(name, None)
        message_id = str(uuid.uuid5(uuid.UUID(self.task), f"{self.place}:{meta['i']}"))
        meta.update(i=message_id, s=now_ms)
        return Arriving(message_id, group, _join(group, meta, body), 0)

    def target(self) -> str:
        """Ident of the queue that it goes to; empty where nobody knows."""
        if self.destination:
            return self.destination
        ref = QueueRef.parse(str(_split(self.stored)[1].get("q", "")))
        return ref.ident if ref is not None else ""


def address(destination: str, *, task: str = "") -> str:
    """Return how `qout` notes where a message goes: to the queue of an ident, moved by a task."""
    return f"{task} {destination}"


def _join(group: str, meta: Mapping[str, Any], body: bytes) -> bytes:
    return b"\n".join((group.encode(), orjson.dumps(meta), body))
