"""Which attributes a queue may be given, and how it shows them.

Source: SQS API reference, "CreateQueue", "SetQueueAttributes", "GetQueueAttributes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from lambent_platform.contracts.queue_errors import (
    InvalidAttributeName,
    InvalidAttributeValue,
    MissingParameter,
    QueueParameterInvalid,
)
from lambent_platform.contracts.queues import (
    DELAY_S_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGE_BYTES_MIN,
    RETENTION_S_DEFAULT,
    RETENTION_S_MAX,
    RETENTION_S_MIN,
    VISIBILITY_S_DEFAULT,
    VISIBILITY_S_MAX,
    WAIT_S_MAX,
    QueueCounts,
    QueueRecord,
    QueueRef,
    is_queue_name,
)

_NUMBERS: Final = {
    "VisibilityTimeout": (0, VISIBILITY_S_MAX),
    "MaximumMessageSize": (MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX),
    "MessageRetentionPeriod": (RETENTION_S_MIN, RETENTION_S_MAX),
    "DelaySeconds": (0, DELAY_S_MAX),
    "ReceiveMessageWaitTimeSeconds": (0, WAIT_S_MAX),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
}
_CHOICES: Final = {
    "FifoQueue": ("true", "false"),
    "ContentBasedDeduplication": ("true", "false"),
    "SqsManagedSseEnabled": ("true", "false"),
    "DeduplicationScope": ("queue", "messageGroup"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
}
_TEXTS: Final = ("Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId")
"""An empty one takes the attribute away."""
_FIFO_ONLY: Final = ("ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit")
SETTABLE: Final = frozenset({*_NUMBERS, *_CHOICES, *_TEXTS})
_COUNTED: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
READABLE: Final = SETTABLE | {*_COUNTED, "All", "CreatedTimestamp", "LastModifiedTimestamp", "QueueArn"}
_DEFAULTS: Final = {
    "VisibilityTimeout": str(VISIBILITY_S_DEFAULT),
    "MaximumMessageSize": str(MESSAGE_BYTES_MAX),
    "MessageRetentionPeriod": str(RETENTION_S_DEFAULT),
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "true",
}
_FIFO_DEFAULTS: Final = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
RECEIVES_MAX: Final = 1000
_COUNT: Final = re.compile("[0-9]{1,9}")
ALLOWED_SOURCES_MAX: Final = 10
TEXT_BYTES_MAX: Final = 8192
"""SQS's own limit for policies; the others are read with every record, too."""


def check_name(name: str, attributes: Mapping[str, str]) -> None:
    """Check the name of a new queue.

    Raises:
        QueueParameterInvalid: it may not be called so.
    """
    if attributes.get("FifoQueue") == "true":
        if not (is_queue_name(name) and name.endswith(".fifo")):
            raise QueueParameterInvalid(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end "
                "with .fifo suffix and be 1 to 80 in length."
            )
    elif not is_queue_name(name) or name.endswith(".fifo"):
        raise QueueParameterInvalid(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        )


def new_attributes(given: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of a new queue.

    Raises:
        InvalidAttributeName, InvalidAttributeValue, QueueParameterInvalid: one is not acceptable.
    """
    if given.get("FifoQueue") == "false":
        raise InvalidAttributeName.of("FifoQueue")
    return changed_attributes({}, given, fifo=given.get("FifoQueue") == "true")


def changed_attributes(old: Mapping[str, str], given: Mapping[str, str], *, fifo: bool) -> dict[str, str]:
    """Return a queue's attributes after some of them are set.

    Raises:
        InvalidAttributeName, InvalidAttributeValue, QueueParameterInvalid: one is not acceptable.
    """
    for name, value in given.items():
        _check(name, value, fifo=fifo)
    if old and "FifoQueue" in given and (given["FifoQueue"] == "true") != fifo:
        raise InvalidAttributeValue.of("FifoQueue", "Modifying queue type is not supported.")
    both = {**old, **given}
    if given.get("KmsMasterKeyId") and given.get("SqsManagedSseEnabled") == "true":
        raise InvalidAttributeValue(
            "You can use one type of server-side encryption (SSE) at one time. "
            "You can either enable KMS SSE or SQS SSE."
        )
    if given.get("KmsMasterKeyId"):
        both["SqsManagedSseEnabled"] = "false"
    elif given.get("SqsManagedSseEnabled") == "true":
        both["KmsMasterKeyId"] = ""
    if both.get("FifoThroughputLimit") == "perMessageGroupId" and both.get("DeduplicationScope") != "messageGroup":
        raise InvalidAttributeValue.of(
            "FifoThroughputLimit", "perMessageGroupId is allowed only when DeduplicationScope is messageGroup."
        )
    return {name: value for name, value in both.items() if value != "" or name not in _TEXTS}


def _check(name: str, value: str, *, fifo: bool) -> None:
    if name not in SETTABLE or (name == "FifoQueue" and not fifo):
        raise InvalidAttributeName.of(name)
    if name in _FIFO_ONLY and not fifo:
        raise InvalidAttributeName(f"You can specify the {name} only when FifoQueue is set to true.")
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        if not (value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high):
            raise InvalidAttributeValue.of(name)
    elif name in _CHOICES:
        if value not in _CHOICES[name]:
            raise InvalidAttributeValue.of(name)
    elif len(value.encode()) > TEXT_BYTES_MAX or (name == "Policy" and value and _map(value) is None):
        raise InvalidAttributeValue.of(name)
    elif name == "RedrivePolicy" and value:
        _check_redrive(value)
    elif name == "RedriveAllowPolicy" and value:
        _check_allow(value)


def _map(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or numbers longer than Python reads
        return None
    return found if isinstance(found, dict) else None


def _check_redrive(value: str) -> None:
    def invalid(reason: str) -> QueueParameterInvalid:
        return QueueParameterInvalid.of(value, "RedrivePolicy", reason)

    policy = _map(value)
    if policy is None:
        raise invalid("Redrive policy is not a valid JSON map.")
    for name in ("maxReceiveCount", "deadLetterTargetArn"):
        if not policy.get(name) and policy.get(name) != 0:
            raise invalid(f"Redrive policy does not contain mandatory attribute: {name}.")
    if unknown := sorted(policy.keys() - {"maxReceiveCount", "deadLetterTargetArn"}):
        raise invalid(
            f"Only following attributes are supported: [deadLetterTargetArn, maxReceiveCount], not {unknown}."
        )
    count = policy["maxReceiveCount"]
    if isinstance(count, bool) or _COUNT.fullmatch(str(count)) is None or not 1 <= int(count) <= RECEIVES_MAX:
        raise invalid(
            f"Invalid value for maxReceiveCount: {count}, valid values are from 1 to {RECEIVES_MAX} both inclusive."
        )
    arn = policy["deadLetterTargetArn"]
    if not isinstance(arn, str) or not arn.startswith("arn:") or QueueRef.parse(arn) is None:
        raise invalid("Invalid value for deadLetterTargetArn.")


def _check_allow(value: str) -> None:
    def invalid(reason: str) -> QueueParameterInvalid:
        return QueueParameterInvalid.of(value, "RedriveAllowPolicy", reason)

    policy = _map(value)
    if policy is None:
        raise invalid("Redrive allow policy is not a valid JSON map.")
    permission, sources = policy.get("redrivePermission"), policy.get("sourceQueueArns")
    if permission not in ("allowAll", "denyAll", "byQueue"):
        raise invalid("Invalid value for redrivePermission, valid values are allowAll, denyAll and byQueue.")
    if (sources is not None) != (permission == "byQueue"):
        raise invalid("sourceQueueArns is given if and only if redrivePermission is byQueue.")
    if sources is None:
        return
    if not isinstance(sources, list) or not 1 <= len(sources) <= ALLOWED_SOURCES_MAX:
        raise invalid(f"sourceQueueArns must have from 1 to {ALLOWED_SOURCES_MAX} queues.")
    if not all(isinstance(arn, str) and arn.startswith("arn:") and QueueRef.parse(arn) for arn in sources):
        raise invalid("sourceQueueArns must be ARNs of queues.")


def check_dead_letter_queue(queue: QueueRecord, dead: QueueRecord | None) -> None:
    """Check that a queue's redrive policy leads to a queue which takes its messages.

    Raises:
        QueueParameterInvalid: it does not.
    """

    def invalid(reason: str) -> QueueParameterInvalid:
        return QueueParameterInvalid.of(queue.attributes["RedrivePolicy"], "RedrivePolicy", reason)

    if dead is None or (dead.account, dead.region) != (queue.account, queue.region):
        raise invalid("Dead letter target does not exist.")
    if dead.fifo != queue.fifo:
        raise invalid("Dead-letter queue must be same type of queue as the source.")
    if dead.arn == queue.arn:
        raise invalid("Dead letter target owned by the same queue.")
    allow = _map(dead.attributes.get("RedriveAllowPolicy", "")) or {"redrivePermission": "allowAll"}
    denied = allow["redrivePermission"] == "denyAll"
    if denied or (allow["redrivePermission"] == "byQueue" and queue.arn not in allow["sourceQueueArns"]):
        raise invalid("Redrive allow policy of the dead letter target does not allow this queue.")


def difference(queue: QueueRecord, given: Mapping[str, str]) -> str | None:
    """Return the name of the first attribute in which a queue is not as it was asked for; None where it is."""
    shown = _settings(queue)
    return next((name for name in sorted(given) if not _same(name, shown.get(name, ""), given[name])), None)


def _same(name: str, one: str, other: str) -> bool:
    if name in ("RedrivePolicy", "RedriveAllowPolicy", "Policy"):
        return _map(one) == _map(other)
    return one == other


def _settings(queue: QueueRecord) -> dict[str, str]:
    defaults = {**_DEFAULTS, **_FIFO_DEFAULTS} if queue.fifo else dict(_DEFAULTS)
    if queue.attributes.get("KmsMasterKeyId"):
        defaults["KmsDataKeyReusePeriodSeconds"] = "300"
    return {**defaults, **queue.attributes}


def wants_counts(names: Collection[str]) -> bool:
    """Whether messages must be counted to show these attributes."""
    return "All" in names or not set(_COUNTED).isdisjoint(names)


def shown(queue: QueueRecord, names: Collection[str], counts: QueueCounts | None) -> dict[str, str]:
    """Return the attributes that were asked for, as far as the queue has them.

    Raises:
        InvalidAttributeName: there is no such attribute.
    """
    for name in names:
        if name not in READABLE:
            raise InvalidAttributeName.of(name)
    found = {
        "QueueArn": queue.arn,
        "CreatedTimestamp": str(queue.created_at_ms // 1000),
        "LastModifiedTimestamp": str(queue.modified_at_ms // 1000),
        **_settings(queue),
    }
    if counts is not None:
        found |= zip(_COUNTED, map(str, (counts.visible, counts.in_flight, counts.delayed)), strict=True)
    return found if "All" in names else {name: found[name] for name in names if name in found}


TAGS_MAX: Final = 50
TAG_KEY_MAX, TAG_VALUE_MAX = 128, 256


def tagged(old: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return a queue's tags after some are added.

    Raises:
        QueueParameterInvalid: there are too many, or one is too long.
        MissingParameter: there are none.
    """
    if not given:
        raise MissingParameter.of("Tags")
    for key, value in given.items():
        if not 1 <= len(key) <= TAG_KEY_MAX or len(value) > TAG_VALUE_MAX or key.startswith("aws:"):
            raise QueueParameterInvalid(
                f"Tag keys must have 1 to {TAG_KEY_MAX} characters and not begin with aws:, tag values at most "
                f"{TAG_VALUE_MAX}."
            )
    both = {**old, **given}
    if len(both) > TAGS_MAX:
        raise QueueParameterInvalid(f"Too many tags: at most {TAGS_MAX} are allowed.")
    return both
