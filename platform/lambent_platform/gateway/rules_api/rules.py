"""Rules: put, shown, listed, enabled, disabled, deleted."""

from __future__ import annotations

import secrets
from typing import Final

from lambent_platform.contracts.errors import ValidationFailed
from lambent_platform.contracts.schedules import DEFAULT_BUS, RULES_MAX, SourceRecord, rule_id
from lambent_platform.core.schedules.rules import limit_exceeded, rule_data
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.rules_api.access import WRITE_TRIES, Data, RuleAccess, busy, check_bus, page

_SHOWN: Final = ("Name", "Arn", "ScheduleExpression", "EventPattern", "State", "Description", "RoleArn", "EventBusName")


class RuleOperations:
    """Serves PutRule, DescribeRule, ListRules, EnableRule, DisableRule and DeleteRule."""

    def __init__(self, access: RuleAccess) -> None:
        self._access = access

    @operation("PutRule")
    async def put(self, context: RequestContext, params: Params) -> Result:
        """Make a rule, or replace what it says; its targets stay."""
        name = params["Name"]
        for _ in range(WRITE_TRIES):
            before = await self._access.find(context, name, params)
            data = rule_data(
                params,
                account=context.account,
                region=context.region,
                now_ms=self._access.clock.now_ms(),
                before=before.data if before is not None else None,
            )
            data["Incarnation"] = before.data["Incarnation"] if before is not None else secrets.token_hex(6)
            if before is None:
                prefix = rule_id(context.account, context.region, "")
                if await self._access.schedules.count(prefix) >= RULES_MAX:
                    raise limit_exceeded()
            record = SourceRecord(
                id=rule_id(context.account, context.region, name),
                data=data,
                generation=before.generation if before is not None else 0,
            )
            if await self._access.write(record, before):
                return {"RuleArn": record.arn}
        raise busy()

    @operation("DescribeRule")
    async def describe(self, context: RequestContext, params: Params) -> Result:
        """Show a rule."""
        record = await self._access.read(context, params["Name"], params)
        return {**_shown(record.data), "CreatedBy": context.account}

    @operation("ListRules")
    async def list_rules(self, context: RequestContext, params: Params) -> Result:
        """List rules by name."""
        check_bus(params.get("EventBusName", DEFAULT_BUS))
        records = await self._access.all(context, params.get("NamePrefix", ""))
        rows, token = page(records, params)
        return {"Rules": [_shown(record.data) for record in rows], "NextToken": token}

    @operation("EnableRule")
    async def enable(self, context: RequestContext, params: Params) -> Result:
        """Let a rule tick; not for the time that it was disabled."""
        await self._set_state(context, params, "ENABLED")
        return {}

    @operation("DisableRule")
    async def disable(self, context: RequestContext, params: Params) -> Result:
        """Stop a rule."""
        await self._set_state(context, params, "DISABLED")
        return {}

    async def _set_state(self, context: RequestContext, params: Params, state: str) -> None:
        def decide(data: Data) -> tuple[Data, None]:
            return (data if data["State"] == state else {**data, "State": state}), None

        await self._access.change(context, params["Name"], params, decide)

    @operation("DeleteRule")
    async def delete(self, context: RequestContext, params: Params) -> Result:
        """Delete a rule, which must have no targets; one that does not exist is deleted already."""
        for _ in range(WRITE_TRIES):
            record = await self._access.find(context, params["Name"], params)
            if record is None:
                return {}
            if record.data["Targets"]:
                raise ValidationFailed("Rule can't be deleted since it has targets.")
            if await self._access.schedules.delete(record):
                return {}
        raise busy()


def _shown(data: Data) -> Result:
    return {name: data[name] for name in _SHOWN if name in data}
