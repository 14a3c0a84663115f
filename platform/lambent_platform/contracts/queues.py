"""Queues and their messages, as the roles speak of them.

Source: Amazon SQS API reference and Developer Guide. Times are ms since the epoch, in event time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self
from urllib.parse import unquote

from lambent_platform.contracts.limits import MIB

VISIBILITY_S_MAX: Final = 43_200
"""Also the longest time that one receive may hold a message, however often its timeout is changed."""
VISIBILITY_S_DEFAULT: Final = 30
DELAY_S_MAX: Final = 900
WAIT_S_MAX: Final = 20
RETENTION_S_MIN, RETENTION_S_MAX, RETENTION_S_DEFAULT = 60, 1_209_600, 345_600
MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX = 1024, MIB
BATCH_ENTRIES_MAX: Final = 10
BATCH_BYTES_MAX: Final = MIB
IN_FLIGHT_MAX: Final = 120_000
DEDUPLICATION_MS: Final = 300_000
"""How long a deduplication id, or the id of an attempt to receive, is remembered."""

_ARN: Final = re.compile(r"arn:aws[a-zA-Z-]*:sqs:([a-z0-9-]+):([0-9]{12}):([A-Za-z0-9_.-]{1,80})")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")


def queue_arn(account: str, region: str, name: str) -> str:
    """Return a queue's ARN."""
    return f"arn:aws:sqs:{region}:{account}:{name}"


def is_queue_name(name: str) -> bool:
    """Whether a queue may be called so: up to 80 characters, a `.fifo` at the end included."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class QueueRef:
    """Which queue is meant."""

    account: str
    region: str
    name: str

    @classmethod
    def parse(cls, text: str, *, account: str = "", region: str = "") -> Self | None:
        """Read an ARN, a queue URL (`http://any-host/<account>/<name>`), or a bare name; None for anything else.

        A URL does not name the region, a bare name not the account either: those are the caller's.
        """
        arn = _ARN.fullmatch(text)
        if arn is not None:
            return cls(arn[2], arn[1], arn[3])
        if "://" in text:
            # Not by `urlsplit`, which refuses some hosts, and here any host is as good as another.
            path = re.split("[?#]", text.partition("://")[2])[0].partition("/")[2]
            parts = [unquote(part) for part in path.split("/")]
        else:
            parts = text.split("/")
        parts = [part for part in parts if part]
        if len(parts) >= 2 and is_queue_name(parts[-1]):
            return cls(parts[-2], region, parts[-1]) if re.fullmatch(r"[0-9]{12}", parts[-2]) else None
        return cls(account, region, parts[0]) if len(parts) == 1 and is_queue_name(parts[0]) else None

    @property
    def ident(self) -> str:
        """`account:region:name`, how keys on Redis name a queue."""
        return f"{self.account}:{self.region}:{self.name}"

    @property
    def arn(self) -> str:
        """The queue's ARN."""
        return queue_arn(self.account, self.region, self.name)


@dataclass(frozen=True, kw_only=True)
class QueueRecord:
    """One queue as it is set up. `attributes` are those that were set, checked, by SQS's names."""

    account: str
    region: str
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at_ms: int = 0
    modified_at_ms: int = 0
    incarnation: str = ""
    """Tells a queue from one of the same name that was deleted before."""
    generation: int = 0
    """Changes with every write of the record."""

    @cached_property
    def ref(self) -> QueueRef:
        """Which queue this is."""
        return QueueRef(self.account, self.region, self.name)

    @cached_property
    def ident(self) -> str:
        """`account:region:name`."""
        return self.ref.ident

    @cached_property
    def arn(self) -> str:
        """The queue's ARN."""
        return self.ref.arn

    @cached_property
    def fifo(self) -> bool:
        """Whether order within groups is kept."""
        return self.attributes.get("FifoQueue") == "true"

    @cached_property
    def delay_s(self) -> int:
        """How long a message is held back that does not say so itself."""
        return int(self.attributes.get("DelaySeconds", 0))

    @cached_property
    def visibility_timeout_s(self) -> int:
        """How long a received message is invisible."""
        return int(self.attributes.get("VisibilityTimeout", VISIBILITY_S_DEFAULT))

    @cached_property
    def retention_s(self) -> int:
        """How long a message is kept."""
        return int(self.attributes.get("MessageRetentionPeriod", RETENTION_S_DEFAULT))

    @cached_property
    def message_bytes_max(self) -> int:
        """Largest message, attributes included."""
        return int(self.attributes.get("MaximumMessageSize", MESSAGE_BYTES_MAX))

    @cached_property
    def wait_s(self) -> int:
        """How long a receive waits that does not say so itself."""
        return int(self.attributes.get("ReceiveMessageWaitTimeSeconds", 0))

    @cached_property
    def content_based_deduplication(self) -> bool:
        """Whether the body's SHA-256 stands in for a deduplication id that is not given."""
        return self.attributes.get("ContentBasedDeduplication") == "true"

    @cached_property
    def deduplication_by_group(self) -> bool:
        """Whether deduplication ids are told apart by their group."""
        return self.attributes.get("DeduplicationScope") == "messageGroup"

    @cached_property
    def _redrive(self) -> Mapping[str, Any]:
        policy: Mapping[str, Any] = json.loads(self.attributes.get("RedrivePolicy") or "{}")
        return policy

    @cached_property
    def dead_letter_arn(self) -> str:
        """The dead-letter queue's ARN; empty without one."""
        return str(self._redrive.get("deadLetterTargetArn", ""))

    @cached_property
    def max_receive_count(self) -> int:
        """After so many receives a message goes to the dead-letter queue; 0 without one."""
        return int(self._redrive.get("maxReceiveCount", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to be sent.

    Attributes have the model's shape, `{name: {"DataType": …, "StringValue" | "BinaryValue": …}}`; of the system's
    there is `AWSTraceHeader`, as plain text.
    """

    body: str
    message_attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    system_attributes: Mapping[str, str] = field(default_factory=dict)
    delay_s: int | None = None
    group_id: str = ""
    deduplication_id: str = ""
    id: str = ""
    """Given: sending the same id twice, within an hour, is sending once. Else one is made."""
    sender_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a message: its id, or that of the message of which it is a duplicate."""

    id: str
    md5_of_body: str
    md5_of_message_attributes: str = ""
    md5_of_system_attributes: str = ""
    sequence_number: str = ""
    """Of a FIFO queue: 20 digits, greater than those of all messages before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A received message; it comes back unless it is deleted in time."""

    id: str
    receipt_handle: str
    body: str
    md5_of_body: str
    attributes: dict[str, str]
    """All system attributes, by SQS's names."""
    message_attributes: Mapping[str, Mapping[str, Any]]
    md5_of_message_attributes: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """What one receive brought."""

    messages: list[Message]
    next_ms: int | None = None
    """When something may become receivable without anybody's doing (event time); None where nothing will."""
    over_limit: bool = False
    """There would have been more, but too many messages are in flight."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many messages are where."""

    visible: int
    in_flight: int
    delayed: int
    oldest_ms: int | None = None
    """When the oldest message that can be received was sent."""
