"""What is sent where an event ends: Lambda's envelope to a destination, the event itself to a dead-letter queue.

Source: Lambda Developer Guide, "Retaining records of asynchronous invocations".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson

from lambent_platform.contracts.events import DeliveryKind, Ending, EventMeta
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core.retries import cut

DELIVERY_AGE_MAX_MS: Final = 6 * 3600 * 1000
"""How long (event time) a delivery that cannot be made is tried again: as long as an event may wait by default."""
_UNREADABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Parcel:
    """One delivery as it is sent: a body, and for a queue its message attributes in the shape of SQS's model."""

    body: bytes
    message_attributes: dict[str, Any]


def parcel(
    kind: DeliveryKind, ending: Ending, meta: EventMeta, *, request_id: str, payload: bytes, response: bytes
) -> Parcel:
    """Make what is sent of an event that ended."""
    if kind == "dead_letter":
        return Parcel(payload, _dead_letter_attributes(ending, request_id))
    return Parcel(envelope(ending, meta, request_id=request_id, payload=payload, response=response), {})


def envelope(ending: Ending, meta: EventMeta, *, request_id: str, payload: bytes, response: bytes) -> bytes:
    """Make a destination's envelope; payload and response are in it byte for byte where they are JSON."""
    moment = datetime.fromtimestamp(ending.ended_at_ms / 1000, UTC)
    body: dict[str, Any] = {
        "version": "1.0",
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": request_id,
            "functionArn": meta.function_arn,
            "condition": ending.condition,
            "approximateInvokeCount": ending.attempts,
        },
        "requestPayload": _json(payload),
        "responseContext": {"statusCode": ending.status_code},
    }
    if ending.executed_version:
        body["responseContext"]["executedVersion"] = ending.executed_version
    if ending.function_error:
        body["responseContext"]["functionError"] = ending.function_error
    if response:
        body["responsePayload"] = _json(response)
    return orjson.dumps(body)


def _json(data: bytes) -> Any:
    """Return bytes as JSON, untouched where they are some: no number in them changes by being read."""
    try:
        orjson.loads(data or b"null")
    except orjson.JSONDecodeError:
        return data.decode(errors="replace")
    return orjson.Fragment(data or b"null")


def _dead_letter_attributes(ending: Ending, request_id: str) -> dict[str, Any]:
    message = readable((ending.error_message or ending.error_type or ending.condition).encode())
    return {
        "RequestID": {"DataType": "String", "StringValue": request_id},
        "ErrorCode": {"DataType": "Number", "StringValue": str(ending.status_code)},
        "ErrorMessage": {"DataType": "String", "StringValue": cut(message)},
    }


def readable(data: bytes) -> str:
    """Return bytes as text that a queue takes: what no character of XML can be is replaced."""
    return _UNREADABLE.sub("\ufffd", data.decode(errors="replace"))


def target_kind(arn: str) -> Literal["function", "queue", ""]:
    """What a destination's ARN names; "" for anything that events cannot be sent to here."""
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[0] == "arn":
        if parts[2] == "sqs" and parts[3] and parts[4] and parts[5]:
            return "queue"
        if parts[2] == "lambda" and FunctionRef.parse(arn) is not None:
            return "function"
    return ""
