"""Events that are put on the bus: checked, and turned into firings of the rules that match them.

Source: EventBridge API reference, "PutEvents"; its errors as the service words them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lambent_platform.contracts.schedules import DEFAULT_BUS, Firing, SourceRecord
from lambent_platform.core.event_pattern import Pattern, compile_pattern
from lambent_platform.core.schedules.json_text import read_json
from lambent_platform.core.schedules.payload import time_text

ENTRY_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EntryError:
    """Why an entry was not taken."""

    code: str
    message: str


def event_of(
    entry: Mapping[str, Any], *, event_id: str, account: str, region: str, now_ms: int
) -> dict[str, Any] | EntryError:
    """Return an entry as the event that rules see, or why it is none."""
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            return EntryError(
                "InvalidArgument", f"Parameter {name} is not valid. Reason: {name} is a required argument."
            )
    if entry["Source"].startswith("aws."):
        return EntryError("NotAuthorizedForSourceException", "Not authorized for the source.")
    bus = entry.get("EventBusName", DEFAULT_BUS)
    if bus != DEFAULT_BUS and not bus.endswith(f":event-bus/{DEFAULT_BUS}"):
        return EntryError("ResourceNotFoundException", f"Event bus {bus.rpartition('/')[2]} does not exist.")
    texts = (entry["Source"], entry["DetailType"], entry["Detail"], *entry.get("Resources", ()))
    if sum(len(text.encode()) for text in texts) > ENTRY_BYTES_MAX:
        return EntryError("InvalidArgument", f"The entry is larger than {ENTRY_BYTES_MAX} bytes.")
    try:
        detail = read_json(entry["Detail"])
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        return EntryError("MalformedDetail", "Detail is malformed.")
    at = entry.get("Time")
    return {
        "version": "0",
        "id": event_id,
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": account,
        "time": time_text(round(at.timestamp() * 1000) if at is not None else now_ms),
        "region": region,
        "resources": list(entry.get("Resources", ())),
        "detail": detail,
    }


def matching(rules: list[SourceRecord], event: Mapping[str, Any]) -> list[SourceRecord]:
    """Return the rules that are enabled, have targets, and match an event."""
    return [
        rule
        for rule in rules
        if rule.enabled
        and rule.data["Targets"]
        and rule.data.get("EventPattern")
        and _pattern(rule.data["EventPattern"]).matches(event)
    ]


@lru_cache(maxsize=1024)
def _pattern(text: str) -> Pattern:
    return compile_pattern(text)


def event_firings(rule: SourceRecord, event: Mapping[str, Any], *, now_ms: int) -> list[Firing]:
    """Make the firings of an event that a rule matched, one for each of its targets."""
    text = json.dumps(event)
    return [
        Firing(
            id=str(uuid.uuid5(uuid.UUID(event["id"]), f"{rule.arn} {target['Id']}")),
            source=rule.id,
            arn=rule.arn,
            account=rule.data["Account"],
            region=rule.data["Region"],
            event_id=event["id"],
            tick_ms=now_ms,
            since_ms=now_ms,
            target=target,
            event=text,
        )
        for target in rule.data["Targets"]
    ]
