"""AddPermission and RemovePermission: short ways to write a statement of a queue's policy.

Policies are stored and shown; nobody is kept out by them, since signatures are not verified.

Source: SQS API reference.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.queue_errors import MissingParameter, OverLimit, QueueParameterInvalid
from lambent_platform.contracts.queues import QueueRecord
from lambent_platform.core.queue_attributes import TEXT_BYTES_MAX
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.queue_api.access import QueueServices, queue_ref

ACTIONS: Final = (
    "*",
    "SendMessage",
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
    "GetQueueAttributes",
    "GetQueueUrl",
)
STATEMENT_ACTIONS_MAX: Final = 7
STATEMENTS_MAX: Final = 20
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


class PermissionOperations:
    """Serves AddPermission and RemovePermission."""

    def __init__(self, services: QueueServices) -> None:
        self._services = services

    @operation("AddPermission")
    async def add_permission(self, context: RequestContext, params: Params) -> Result:
        """Add a statement under a label."""
        label, accounts, actions = params["Label"], params["AWSAccountIds"], params["Actions"]
        _check(label, accounts, actions)
        now_ms = self._services.clock.now_ms()

        def change(old: QueueRecord) -> QueueRecord:
            policy = _policy(old)
            if any(_sid(statement) == label for statement in policy["Statement"]):
                raise QueueParameterInvalid.of(label, "Label", "Already exists.")
            if len(policy["Statement"]) >= STATEMENTS_MAX:
                raise OverLimit(f"{STATEMENTS_MAX + 1} statements were found, maximum allowed is {STATEMENTS_MAX}.")
            policy["Statement"].append(_statement(old, label, accounts, actions))
            text = json.dumps(policy)
            if len(text) > TEXT_BYTES_MAX:
                raise OverLimit(f"The policy would be longer than {TEXT_BYTES_MAX} bytes.")
            return replace(old, attributes={**old.attributes, "Policy": text}, modified_at_ms=now_ms)

        await self._services.store.update(queue_ref(context, params), change)
        return {}

    @operation("RemovePermission")
    async def remove_permission(self, context: RequestContext, params: Params) -> Result:
        """Remove the statement of a label."""
        label, now_ms = params["Label"], self._services.clock.now_ms()

        def change(old: QueueRecord) -> QueueRecord:
            policy = _policy(old)
            rest = [statement for statement in policy["Statement"] if _sid(statement) != label]
            if len(rest) == len(policy["Statement"]):
                raise QueueParameterInvalid.of(label, "Label", "can't find label on existing policy.")
            attributes = {name: value for name, value in old.attributes.items() if name != "Policy"}
            if rest:
                attributes["Policy"] = json.dumps({**policy, "Statement": rest})
            return replace(old, attributes=attributes, modified_at_ms=now_ms)

        await self._services.store.update(queue_ref(context, params), change)
        return {}


def _check(label: str, accounts: list[str], actions: list[str]) -> None:
    if _LABEL.fullmatch(label) is None:
        reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        raise QueueParameterInvalid.of(label[:256], "Label", reason)
    if not accounts:
        raise MissingParameter.of("AWSAccountIds")
    if not actions:
        raise MissingParameter.of("Actions")
    if len(actions) > STATEMENT_ACTIONS_MAX:
        raise OverLimit(f"{len(actions)} Actions were found, maximum allowed is {STATEMENT_ACTIONS_MAX}.")
    for action in actions:
        if action not in ACTIONS:
            reason = "Only the queue owner is allowed to invoke this action."
            raise QueueParameterInvalid.of(f"SQS:{action[:256]}", "ActionName", reason)
    for account in accounts:
        if re.fullmatch("[0-9]{12}", account) is None:
            reason = "Unable to verify."
            raise QueueParameterInvalid.of(account[:256], "PrincipalId", reason)


def _policy(queue: QueueRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(queue.attributes.get("Policy") or "{}")
    statements = found.get("Statement", [])
    return {
        "Version": found.get("Version", "2012-10-17"),
        "Id": found.get("Id", f"{queue.arn}/SQSDefaultPolicy"),
        "Statement": list(statements) if isinstance(statements, list) else [statements],
    }


def _sid(statement: Any) -> Any:
    return statement.get("Sid") if isinstance(statement, dict) else None


def _statement(queue: QueueRecord, label: str, accounts: list[str], actions: list[str]) -> dict[str, Any]:
    principals = [f"arn:aws:iam::{account}:root" for account in accounts]
    names = [f"SQS:{action}" for action in actions]
    return {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": principals[0] if len(principals) == 1 else principals},
        "Action": names[0] if len(names) == 1 else names,
        "Resource": queue.arn,
    }
