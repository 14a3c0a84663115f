"""Events on the default bus, for rules with a pattern."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from lambent_platform.contracts.errors import ValidationFailed
from lambent_platform.core.schedules.events import EntryError, event_firings, event_of, matching
from lambent_platform.core.schedules.json_text import read_json
from lambent_platform.core.schedules.rules import check_pattern
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.rules_api.access import RuleAccess


class EventOperations:
    """Serves PutEvents and TestEventPattern."""

    def __init__(self, access: RuleAccess) -> None:
        self._access = access

    @operation("PutEvents")
    async def put(self, context: RequestContext, params: Params) -> Result:
        """Take events; those that are answered with an id are stored for every target of every rule that matches."""
        rules = await self._access.all(context)
        entries = [await self._put(context, rules, entry) for entry in params["Entries"]]
        return {"FailedEntryCount": sum("ErrorCode" in entry for entry in entries), "Entries": entries}

    async def _put(self, context: RequestContext, rules: list[Any], entry: Mapping[str, Any]) -> dict[str, str]:
        now_ms = self._access.clock.now_ms()
        event = event_of(
            entry, event_id=str(uuid.uuid4()), account=context.account, region=context.region, now_ms=now_ms
        )
        if isinstance(event, EntryError):
            return {"ErrorCode": event.code, "ErrorMessage": event.message}
        for rule in matching(rules, event):
            firings = event_firings(rule, event, now_ms=now_ms)
            if not await self._access.schedules.put(rule.id, firings, due_ms=now_ms):
                reason = f"Too many events wait for the targets of rule {rule.data['Name']}."
                return {"ErrorCode": "ThrottlingException", "ErrorMessage": reason}
        return {"EventId": event["id"]}

    @operation("TestEventPattern")
    async def test_pattern(self, context: RequestContext, params: Params) -> Result:
        """Say whether an event matches a pattern."""
        pattern = check_pattern(params["EventPattern"])
        try:
            event = read_json(params["Event"])
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise ValidationFailed("Parameter Event is not valid. Reason: it must be a JSON object.")
        return {"Result": pattern.matches(event)}
