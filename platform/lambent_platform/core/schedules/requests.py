"""What a schedule is asked to be: checked beyond its model, and as it is stored.

Source: EventBridge Scheduler API reference, "CreateSchedule", "Target"; its errors as the service words them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from lambent_platform.contracts.errors import ValidationFailed
from lambent_platform.contracts.schedules import AGE_S_DEFAULT, RETRIES_DEFAULT, schedule_arn
from lambent_platform.core.destinations import target_kind
from lambent_platform.core.schedules.expression import At, ExpressionError, parse_schedule
from lambent_platform.core.schedules.json_text import read_json
from lambent_platform.core.schedules.payload import (
    INVOKE_ARN,
    SEND_ARN,
    UNIVERSAL_PREFIX,
    PayloadError,
    check_universal,
)
from lambent_platform.core.schedules.timeline import ZoneError, find_zone

INPUT_BYTES_MAX: Final = 262_144
START_PAST_MS: Final = 300_000
_ARN: Final = re.compile(r"arn:aws[a-z-]*:[^:]+:[^:]*:(\d{12})?:.+")
_ATTRIBUTE: Final = re.compile(r"<aws\.scheduler\.[a-z-]+>")
_KEPT: Final = (
    "Name", "ScheduleExpression", "Description", "KmsKeyArn", "FlexibleTimeWindow",
)  # fmt: skip


def schedule_data(
    params: Mapping[str, Any], *, account: str, region: str, group: str, now_ms: int, before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return a schedule as it is stored; `before` is what an update replaces, all of it.

    Raises:
        ValidationFailed: something that the model cannot say.
    """
    text = params["ScheduleExpression"]
    try:
        expression = parse_schedule(text)
    except ExpressionError:
        raise ValidationFailed(f"Invalid Schedule Expression {text}.") from None
    zone = params.get("ScheduleExpressionTimezone", "UTC")
    try:
        find_zone(zone)
    except ZoneError:
        raise ValidationFailed(f"Invalid Schedule Expression Timezone {zone}.") from None
    _check_window(params["FlexibleTimeWindow"])
    data = {name: params[name] for name in _KEPT if name in params}
    data |= {name: params[name].timestamp() for name in ("StartDate", "EndDate") if name in params}
    if not isinstance(expression, At):
        _check_dates(data, now_ms=now_ms)
    same = before is not None and before["ScheduleExpression"] == text
    return data | {
        "Arn": schedule_arn(account, region, group, params["Name"]),
        "Account": account,
        "Region": region,
        "GroupName": group,
        "State": params.get("State", "ENABLED"),
        "ScheduleExpressionTimezone": zone,
        "ActionAfterCompletion": params.get("ActionAfterCompletion", "NONE"),
        "Target": _target(params["Target"], account=account, region=region),
        "AnchorMs": before["AnchorMs"] if same and before is not None else now_ms,
        "CreatedMs": before["CreatedMs"] if before is not None else now_ms,
        "ModifiedMs": now_ms,
    }


def _check_window(window: Mapping[str, Any]) -> None:
    flexible = window["Mode"] == "FLEXIBLE"
    if flexible and "MaximumWindowInMinutes" not in window:
        raise ValidationFailed("MaximumWindowInMinutes must be provided when Flexible Time Window is FLEXIBLE.")
    if not flexible and "MaximumWindowInMinutes" in window:
        raise ValidationFailed("MaximumWindowInMinutes must not be provided when Flexible Time Window is OFF.")


def _check_dates(data: Mapping[str, Any], *, now_ms: int) -> None:
    start, end = data.get("StartDate"), data.get("EndDate")
    if start is not None and start * 1000 < now_ms - START_PAST_MS:
        raise ValidationFailed("The StartDate you specify cannot be earlier than 5 minutes ago.")
    if end is not None and end * 1000 < now_ms:
        raise ValidationFailed("The EndDate you specify cannot be earlier than the current time.")
    if start is not None and end is not None and end <= start:
        raise ValidationFailed("The EndDate you specify must come after the StartDate.")


def _target(target: Mapping[str, Any], *, account: str, region: str) -> dict[str, Any]:
    arn, text = target["Arn"], target.get("Input")
    if _ARN.fullmatch(arn) is None:
        raise ValidationFailed("Provided Arn is not in correct format.")
    if text is not None and len(text.encode()) > INPUT_BYTES_MAX:
        raise ValidationFailed(f"Input must be at most {INPUT_BYTES_MAX} bytes.")
    kind = target_kind(arn)
    if arn.startswith(UNIVERSAL_PREFIX):
        _check_operation(arn, text, account=account, region=region)
    elif not kind:
        raise ValidationFailed(
            f"The target {arn} is not served here: there are Lambda functions, SQS queues, {INVOKE_ARN} and {SEND_ARN}."
        )
    if kind == "function" and text is not None:
        check_json(text)
    if kind == "queue" and arn.endswith(".fifo") and not (target.get("SqsParameters") or {}).get("MessageGroupId"):
        raise ValidationFailed("SqsParameters must have a MessageGroupId for a FIFO queue.")
    policy = {"MaximumEventAgeInSeconds": AGE_S_DEFAULT, "MaximumRetryAttempts": RETRIES_DEFAULT}
    return {**target, "RetryPolicy": policy | (target.get("RetryPolicy") or {})}


def _check_operation(arn: str, text: str | None, *, account: str, region: str) -> None:
    if arn not in (INVOKE_ARN, SEND_ARN):
        raise ValidationFailed(f"The operation {arn} is not served here: there are {INVOKE_ARN} and {SEND_ARN}.")
    try:
        check_universal(arn, text, account=account, region=region)
    except PayloadError as error:
        raise ValidationFailed(str(error)) from None


def check_json(text: str) -> None:
    """Check that a function can be called with an input, also when the tick's facts are put in.

    Raises:
        ValidationFailed: it is no JSON.
    """
    try:
        read_json(_ATTRIBUTE.sub("1", text))
    except ValueError:
        raise ValidationFailed("Input must be valid JSON for a Lambda function.") from None
