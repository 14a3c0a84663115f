"""What a firing sends to its target: the input, with what stands for the tick's own facts put in.

Source: EventBridge Scheduler User Guide, "Adding context attributes", "Using universal targets"; EventBridge User
Guide, "Input transformation"; EventBridge API reference, "Target".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from lambent_platform.contracts.names import FunctionRef
from lambent_platform.contracts.queues import QueueRef
from lambent_platform.contracts.schedules import Firing
from lambent_platform.core.schedules.json_text import read_json

UNIVERSAL_PREFIX: Final = "arn:aws:scheduler:::aws-sdk:"
INVOKE_ARN: Final = UNIVERSAL_PREFIX + "lambda:invoke"
SEND_ARN: Final = UNIVERSAL_PREFIX + "sqs:sendMessage"
_CONTEXT: Final = re.compile(r"<aws\.scheduler\.(schedule-arn|scheduled-time|execution-id|attempt-number)>")
_VARIABLE: Final = re.compile(r"<([A-Za-z0-9_.-]{1,256})>")
_STEP: Final = re.compile(r"\.([A-Za-z0-9_-]+)|\['([^']+)'\]|\[(\d{1,6})\]")


class PayloadError(ValueError):
    """Nothing can be sent of this input; one line that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent."""

    arn: str
    """A function or a queue."""
    body: bytes
    group_id: str = ""
    deduplication_id: str = ""
    delay_s: int | None = None
    message_attributes: Mapping[str, Any] = field(default_factory=dict)


def time_text(moment_ms: int) -> str:
    """Return a moment as events carry it: `2027-03-28T01:00:00Z`."""
    return f"{datetime.fromtimestamp(moment_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def scheduled_event(firing: Firing) -> dict[str, Any]:
    """Return the event that is sent where no input is given."""
    if firing.event:
        event: dict[str, Any] = read_json(firing.event)
        return event
    return {
        "version": "0",
        "id": firing.event_id,
        "detail-type": "Scheduled Event",
        "source": "aws.events" if firing.kind == "rule" else "aws.scheduler",
        "account": firing.account,
        "time": time_text(firing.tick_ms),
        "region": firing.region,
        "resources": [firing.arn],
        "detail": {} if firing.kind == "rule" else "{}",
    }


def request_of(firing: Firing, *, execution_id: str) -> Request:
    """Return what one attempt of a firing sends.

    Raises:
        PayloadError: its input has not what the target needs.
    """
    target = firing.target
    body = _rule_body(firing) if firing.kind == "rule" else _schedule_body(firing, execution_id)
    arn = str(target["Arn"])
    if arn == INVOKE_ARN:
        return _invoke(_members(body), firing)
    if arn == SEND_ARN:
        return _send(_members(body), firing)
    return Request(arn=arn, body=body, group_id=(target.get("SqsParameters") or {}).get("MessageGroupId", ""))


def check_universal(arn: str, text: str | None, *, account: str, region: str) -> None:
    """Check the input of a universal target when it is given.

    Raises:
        PayloadError: it has not what the operation needs.
    """
    if arn in (INVOKE_ARN, SEND_ARN):
        members = _members((text or "").encode())
        place = Firing(
            id="",
            source="schedule/",
            arn="",
            account=account,
            region=region,
            event_id="",
            tick_ms=0,
            since_ms=0,
            target={},
        )
        (_invoke if arn == INVOKE_ARN else _send)(members, place)


def _schedule_body(firing: Firing, execution_id: str) -> bytes:
    text = firing.target.get("Input")
    if text is None:
        return json.dumps(scheduled_event(firing)).encode()
    facts = {
        "schedule-arn": firing.arn,
        "scheduled-time": time_text(firing.tick_ms),
        "execution-id": execution_id,
        "attempt-number": str(firing.attempts + 1),
    }
    return _CONTEXT.sub(lambda match: facts[match[1]], text).encode()


def _members(body: bytes) -> dict[str, Any]:
    try:
        found = read_json(body)
    except ValueError as error:
        raise PayloadError("Input must be a JSON object with the parameters of the operation.") from error
    if not isinstance(found, dict):
        raise PayloadError("Input must be a JSON object with the parameters of the operation.")
    return found


def _invoke(members: Mapping[str, Any], firing: Firing) -> Request:
    name = members.get("FunctionName")
    ref = FunctionRef.parse(name, account=firing.account, region=firing.region) if isinstance(name, str) else None
    if ref is None:
        raise PayloadError("Input must name a function in FunctionName.")
    qualifier = members.get("Qualifier")
    if qualifier is not None and not isinstance(qualifier, str):
        raise PayloadError("Qualifier must be text.")
    ref = ref.at(qualifier or ref.qualifier)
    payload = members.get("Payload", {})
    body = payload if isinstance(payload, str) else json.dumps(payload)
    return Request(arn=f"{ref.arn}:{ref.qualifier}" if ref.qualifier else ref.arn, body=body.encode())


def _send(members: Mapping[str, Any], firing: Firing) -> Request:
    url, text = members.get("QueueUrl"), members.get("MessageBody")
    ref = QueueRef.parse(url, account=firing.account, region=firing.region) if isinstance(url, str) else None
    if ref is None:
        raise PayloadError("Input must name a queue in QueueUrl.")
    if text is None or text == "":
        raise PayloadError("Input must have a MessageBody.")
    delay_s = members.get("DelaySeconds")
    if delay_s is not None and (not isinstance(delay_s, int) or not 0 <= delay_s <= 900):
        raise PayloadError("DelaySeconds must be a number from 0 to 900.")
    attributes = members.get("MessageAttributes") or {}
    if not isinstance(attributes, dict) or any(
        not isinstance(value, dict) or "DataType" not in value or "StringValue" not in value
        for value in attributes.values()
    ):
        raise PayloadError("MessageAttributes must be objects with a DataType and a StringValue.")
    return Request(
        arn=ref.arn,
        body=(text if isinstance(text, str) else json.dumps(text)).encode(),
        group_id=str(members.get("MessageGroupId") or ""),
        deduplication_id=str(members.get("MessageDeduplicationId") or ""),
        delay_s=delay_s,
        message_attributes=attributes,
    )


def _rule_body(firing: Firing) -> bytes:
    target, event = firing.target, scheduled_event(firing)
    if target.get("Input") is not None:
        return str(target["Input"]).encode()
    if target.get("InputPath") is not None:
        return json.dumps(select(event, target["InputPath"])).encode()
    if target.get("InputTransformer") is not None:
        return transform(target["InputTransformer"], event, rule_arn=firing.arn).encode()
    return json.dumps(event).encode()


def select(event: Any, path: str) -> Any:
    """Return what a path such as `$.detail.items[0]` leads to; None where it leads to nothing.

    Raises:
        PayloadError: it is no such path.
    """
    if not path.startswith("$"):
        raise PayloadError(f"{path[:256]} is not a path such as $.detail.name")
    at, found = 1, event
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise PayloadError(f"{path[:256]} is not a path such as $.detail.name")
        at = step.end()
        if step[3] is not None:
            found = found[int(step[3])] if isinstance(found, list) and int(step[3]) < len(found) else None
        else:
            found = found.get(step[1] or step[2]) if isinstance(found, dict) else None
    return found


def transform(transformer: Mapping[str, Any], event: Mapping[str, Any], *, rule_arn: str) -> str:
    """Fill a template: a variable within quotes as text, one outside of them as JSON.

    Raises:
        PayloadError: a path in it is none.
    """
    values = {name: select(event, path) for name, path in (transformer.get("InputPathsMap") or {}).items()}
    values |= {
        "aws.events.rule-arn": rule_arn,
        "aws.events.rule-name": rule_arn.rpartition("/")[2],
        "aws.events.event.ingestion-time": event["time"],
        "aws.events.event.json": dict(event),
        "aws.events.event": {name: value for name, value in event.items() if name != "detail"},
    }
    template, parts, quoted, at = str(transformer["InputTemplate"]), [], False, 0
    for match in _VARIABLE.finditer(template):
        if match[1] not in values:
            continue
        text = template[at : match.start()]
        quoted ^= len(re.findall(r'(?<!\\)"', text)) % 2 == 1
        parts += [text, _inserted(values[match[1]], quoted=quoted)]
        at = match.end()
    return "".join([*parts, template[at:]])


def _inserted(value: Any, *, quoted: bool) -> str:
    if not quoted:
        return json.dumps(value)
    return json.dumps(value if isinstance(value, str) else "" if value is None else json.dumps(value))[1:-1]
