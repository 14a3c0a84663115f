"""The part of the demo where nobody calls: a queue feeds a function, and the clock calls one."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from lambent import Client

HTTP_S = 60.0
REPORT_AT_HOUR = 3
REPORT_ZONE = ZoneInfo("Europe/Berlin")
"""When `orders` counts what failed: its template says so."""


class Refused(Exception):
    """A request was not answered as it should be."""


def place_order(api_url: str, item: str) -> str:
    """Place an order at the application's own API; returns its id."""
    answer = _send(urllib.request.Request(f"{api_url}/orders", data=json.dumps({"item": item}).encode()), status=202)
    return str(answer["id"])


def receive(client: Client, queue: str) -> list[dict[str, Any]]:
    """Take what is in a queue, by SQS's own API, as any client of SQS does."""
    url = _sqs(client, "GetQueueUrl", QueueName=queue)["QueueUrl"]
    return list(_sqs(client, "ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []))


def next_report(now: datetime) -> datetime:
    """Return the next time at which the application's schedule is due."""
    local = now.astimezone(REPORT_ZONE)
    due = local.replace(hour=REPORT_AT_HOUR, minute=0, second=0, microsecond=0)
    if due <= local:
        due = (due + timedelta(days=1)).replace(hour=REPORT_AT_HOUR)
    return due.astimezone(UTC)


def schedule_once(client: Client, name: str, function: str, at: datetime) -> None:
    """Let the clock call a function once, by EventBridge Scheduler's own API; the schedule is gone afterwards."""
    body = {
        "ScheduleExpression": f"at({at.strftime('%Y-%m-%dT%H:%M:%S')})",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": client.function(function).arn,
            "RoleArn": "arn:aws:iam::000000000000:role/demo",
            "Input": json.dumps({"by": name}),
        },
    }
    request = urllib.request.Request(
        f"{client.connection.endpoint}/schedules/{name}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    _send(request)


def wait_until(moment: datetime) -> None:
    """Sleep until a moment has come, by the machine's clock."""
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def _sqs(client: Client, operation: str, **parameters: Any) -> Any:
    request = urllib.request.Request(
        client.connection.endpoint,
        data=json.dumps(parameters).encode(),
        headers={"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"},
    )
    return _send(request)


def _send(request: urllib.request.Request, *, status: int = 200) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=HTTP_S) as answer:
            body = answer.read()
            if answer.status != status:
                raise Refused(f"{request.full_url} answered {answer.status}, not {status}: {body[:300]!r}")
            return json.loads(body)
    except urllib.error.HTTPError as error:
        text = error.read(300).decode(errors="replace")
        raise Refused(f"{request.full_url} answered {error.code}: {text}") from error
    except OSError as error:
        raise Refused(f"{request.full_url}: {error}") from error
