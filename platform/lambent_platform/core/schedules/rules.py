"""What a rule of EventBridge and its targets are asked to be: checked beyond their model, and as they are stored.

Source: EventBridge API reference, "PutRule", "PutTargets"; its errors as the service words them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lambent_platform.contracts.errors import ApiError, ValidationFailed
from lambent_platform.contracts.schedules import DEFAULT_BUS, TAGS_MAX, TARGETS_MAX, rule_arn
from lambent_platform.core.destinations import target_kind
from lambent_platform.core.event_pattern import InvalidPattern, Pattern, compile_pattern
from lambent_platform.core.schedules.expression import ExpressionError, parse_rule
from lambent_platform.core.schedules.json_text import read_json
from lambent_platform.core.schedules.payload import PayloadError, select

_ARN: Final = re.compile(r"arn:aws[a-z-]*:[^:]+:[^:]*:(\d{12})?:.+")
_GIVEN: Final = ("ScheduleExpression", "EventPattern", "Description", "RoleArn")
_INPUTS: Final = ("Input", "InputPath", "InputTransformer")


def check_pattern(text: str) -> Pattern:
    """Read an event pattern.

    Raises:
        ApiError: InvalidEventPatternException.
    """
    try:
        return compile_pattern(text)
    except InvalidPattern as error:
        raise ApiError(
            f"Event pattern is not valid. Reason: {error}", code="InvalidEventPatternException", status=400
        ) from None


def limit_exceeded() -> ApiError:
    """Return the error for one more than there may be."""
    message = "The requested resource exceeds the maximum number allowed."
    return ApiError(message, code="LimitExceededException", status=400)


def rule_data(
    params: Mapping[str, Any], *, account: str, region: str, now_ms: int, before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return a rule as it is stored; `before` is what an update replaces, whose targets and tags stay.

    Raises:
        ValidationFailed: something that the model cannot say.
    """
    text = params.get("ScheduleExpression")
    pattern = params.get("EventPattern")
    if not text and not pattern:
        raise ValidationFailed("Parameter(s) EventPattern or ScheduleExpression must be specified.")
    if text:
        try:
            parse_rule(text)
        except ExpressionError:
            raise ValidationFailed("Parameter ScheduleExpression is not valid.") from None
    if pattern:
        check_pattern(pattern)
    same = before is not None and before.get("ScheduleExpression") == text
    return {
        "Name": params["Name"],
        "Arn": rule_arn(account, region, params["Name"]),
        "Account": account,
        "Region": region,
        **{name: params[name] for name in _GIVEN if params.get(name)},
        "State": params.get("State", "ENABLED"),
        "EventBusName": DEFAULT_BUS,
        "AnchorMs": before["AnchorMs"] if same and before is not None else now_ms,
        "CreatedMs": before["CreatedMs"] if before is not None else now_ms,
        "ModifiedMs": now_ms,
        # AWS ignores tags where the rule exists.
        "Tags": before["Tags"] if before is not None else checked_tags(params.get("Tags", ()), {}),
        "Targets": before["Targets"] if before is not None else [],
    }


def with_targets(before: Sequence[Mapping[str, Any]], given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return a rule's targets after some were put: those of an id replace it.

    Raises:
        ValidationFailed: one of them cannot be a target here. ApiError: LimitExceededException.
    """
    for target in given:
        _check_target(target)
    after = {target["Id"]: target for target in (*before, *given)}
    if len(after) > TARGETS_MAX:
        raise limit_exceeded()
    return list(after.values())


def _check_target(target: Mapping[str, Any]) -> None:
    name, arn = target["Id"], target["Arn"]
    if _ARN.fullmatch(arn) is None:
        raise ValidationFailed(f"Parameter {arn} is not valid. Reason: Provided Arn is not in correct format.")
    kind = target_kind(arn)
    if not kind:
        raise ValidationFailed(
            f"Parameter {arn} is not valid. Reason: only Lambda functions and SQS queues are served."
        )
    if sum(target.get(member) is not None for member in _INPUTS) > 1:
        raise ValidationFailed(f"Only one of Input, InputPath, or InputTransformer must be provided for target {name}.")
    if kind == "queue" and arn.endswith(".fifo") and not (target.get("SqsParameters") or {}).get("MessageGroupId"):
        raise ValidationFailed(f"Parameter(s) SqsParameters must be specified for target: {name}.")
    dead = (target.get("DeadLetterConfig") or {}).get("Arn")
    if dead is not None and (target_kind(dead) != "queue" or dead.endswith(".fifo")):
        raise ValidationFailed(f"Parameter {dead} is not valid. Reason: a standard SQS queue takes dead letters.")
    if target.get("Input") is not None:
        try:
            read_json(target["Input"])
        except ValueError:
            raise ValidationFailed(f"JSON syntax error in input for target {name}.") from None
    paths = [target["InputPath"]] if target.get("InputPath") is not None else []
    paths += ((target.get("InputTransformer") or {}).get("InputPathsMap") or {}).values()
    for path in paths:
        try:
            select({}, path)
        except PayloadError:
            raise ValidationFailed(f"InputPath for target {name} is invalid.") from None


def checked_tags(given: Sequence[Mapping[str, str]], before: Mapping[str, str]) -> dict[str, str]:
    """Return tags with some more.

    Raises:
        ValidationFailed: too many, or of AWS's own.
    """
    tags = {**before, **{tag["Key"]: tag["Value"] for tag in given}}
    if len(tags) > TAGS_MAX:
        raise ValidationFailed(f"A rule can have at most {TAGS_MAX} tags.")
    if any(key.lower().startswith("aws:") for key in tags):
        raise ValidationFailed("Tag keys must not begin with aws:.")
    return tags
