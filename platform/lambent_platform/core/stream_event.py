"""What a function is given of a Redis stream, and what is told of entries that were given up.

The event has the shape of Lambda's stream events (Kinesis), with `redis` in the place of `kinesis`:

    {"Records": [{
        "eventID": "shardId-000000000000:1700000000000-0", "eventName": "lambent:redis-streams:record",
        "eventVersion": "1.0", "eventSource": "lambent:redis-streams", "eventSourceARN": "arn:aws:redis-streams:…",
        "awsRegion": "us-east-1", "invokeIdentityArn": "<the function's role>",
        "redis": {
            "redisSchemaVersion": "1.0", "sequenceNumber": "1700000000000-0",
            "approximateArrivalTimestamp": 1700000000.0,
            "fields": {"kind": "created", "photo": "iVBORw0…"}, "binaryFields": ["photo"]}}]}

A value that is not UTF-8 is base64, and its field is listed in `binaryFields`. A field that an entry repeats has an
array of its values.

Source: Lambda Developer Guide, "Using Lambda to process records from Amazon Kinesis Data Streams", its event and the
record of an on-failure destination.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lambent_platform.contracts.streams import StreamEntry, StreamRef
from lambent_platform.core.stream_batches import Condition

EVENT_SOURCE: Final = "lambent:redis-streams"
SHARD_ID: Final = "shardId-000000000000"
"""A stream of Redis is one shard."""
DEAD_FIELD_PREFIX: Final = "lambent:"


@dataclass(frozen=True, slots=True)
class Fields:
    """An entry's fields as JSON can hold them."""

    values: Mapping[str, str | list[str]]
    binary: tuple[str, ...] = ()

    @property
    def texts(self) -> dict[str, str | list[str]]:
        """Those that are text: what filters can look at."""
        return {name: value for name, value in self.values.items() if name not in self.binary}


def read_fields(entry: StreamEntry) -> Fields:
    """Read an entry; names that are not UTF-8 are written with escapes."""
    values: dict[str, str | list[str]] = {}
    binary: set[str] = set()
    gathered: dict[str, list[bytes]] = {}
    for raw_name, raw_value in entry.fields:
        gathered.setdefault(raw_name.decode(errors="backslashreplace"), []).append(raw_value)
    for name, raw_values in gathered.items():
        try:
            texts = [value.decode() for value in raw_values]
        except UnicodeDecodeError:
            texts = [base64.b64encode(value).decode() for value in raw_values]
            binary.add(name)
        values[name] = texts[0] if len(texts) == 1 else texts
    return Fields(values, tuple(sorted(binary)))


def record(stream: StreamRef, entry: StreamEntry, fields: Fields, *, role_arn: str) -> dict[str, Any]:
    """One record of the event."""
    content: dict[str, Any] = {
        "redisSchemaVersion": "1.0",
        "sequenceNumber": entry.id,
        "approximateArrivalTimestamp": entry.arrived_ms / 1000,
        "fields": fields.values,
    }
    if fields.binary:
        content["binaryFields"] = fields.binary
    return {
        "eventID": f"{SHARD_ID}:{entry.id}",
        "eventName": f"{EVENT_SOURCE}:record",
        "eventVersion": "1.0",
        "eventSource": EVENT_SOURCE,
        "eventSourceARN": stream.arn,
        "awsRegion": stream.region,
        "invokeIdentityArn": role_arn,
        "redis": content,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A batch that was given up, and how its last attempt ended."""

    stream: StreamRef
    function_arn: str
    condition: Condition
    entries: tuple[StreamEntry, ...]
    """Never empty."""
    request_id: str
    invokes: int
    executed_version: str = ""
    """Empty where the function was never called for it."""
    function_error: str = ""


def envelope(given_up: GivenUp, *, now_ms: int) -> dict[str, Any]:
    """What an on-failure destination receives: where the entries are, not what they hold."""
    first, last = given_up.entries[0], given_up.entries[-1]
    body: dict[str, Any] = {
        "requestContext": {
            "requestId": given_up.request_id,
            "functionArn": given_up.function_arn,
            "condition": given_up.condition,
            "approximateInvokeCount": given_up.invokes,
        },
        "version": "1.0",
        "timestamp": _moment(now_ms),
        "RedisStreamBatchInfo": {
            "shardId": SHARD_ID,
            "startSequenceNumber": first.id,
            "endSequenceNumber": last.id,
            "approximateArrivalOfFirstRecord": _moment(first.arrived_ms),
            "approximateArrivalOfLastRecord": _moment(last.arrived_ms),
            "batchSize": len(given_up.entries),
            "streamArn": given_up.stream.arn,
        },
    }
    if given_up.executed_version:
        context: dict[str, Any] = {"statusCode": 200, "executedVersion": given_up.executed_version}
        if given_up.function_error:
            context["functionError"] = given_up.function_error
        body["responseContext"] = context
    return body


def dead_entry(given_up: GivenUp, entry: StreamEntry) -> tuple[tuple[bytes, bytes], ...]:
    """What a dead-letter stream is given of one entry: its own fields, and why it is there in `lambent:…` fields."""
    said = {
        "stream": given_up.stream.key,
        "id": entry.id,
        "function": given_up.function_arn,
        "condition": given_up.condition,
        "invokes": str(given_up.invokes),
        "request-id": given_up.request_id,
    }
    added = tuple((f"{DEAD_FIELD_PREFIX}{name}".encode(), value.encode()) for name, value in said.items())
    return entry.fields + added


def _moment(ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(ms)  # an id that its producer chose need be no time
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
