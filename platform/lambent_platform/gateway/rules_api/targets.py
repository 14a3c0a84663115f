"""The targets of rules."""

from __future__ import annotations

from lambent_platform.contracts.schedules import DEFAULT_BUS
from lambent_platform.core.schedules.rules import with_targets
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.rules_api.access import Data, RuleAccess, check_bus, page


class TargetOperations:
    """Serves PutTargets, RemoveTargets, ListTargetsByRule and ListRuleNamesByTarget."""

    def __init__(self, access: RuleAccess) -> None:
        self._access = access

    @operation("PutTargets")
    async def put(self, context: RequestContext, params: Params) -> Result:
        """Give a rule targets; all of them, or none where one cannot be."""

        def decide(data: Data) -> tuple[Data, None]:
            return {**data, "Targets": with_targets(data["Targets"], params["Targets"])}, None

        await self._access.change(context, params["Rule"], params, decide)
        return {"FailedEntryCount": 0, "FailedEntries": []}

    @operation("RemoveTargets")
    async def remove(self, context: RequestContext, params: Params) -> Result:
        """Take targets from a rule; those that it does not have are told."""
        gone = list(dict.fromkeys(params["Ids"]))

        def decide(data: Data) -> tuple[Data, list[str]]:
            unknown = [one for one in gone if one not in {target["Id"] for target in data["Targets"]}]
            left = [target for target in data["Targets"] if target["Id"] not in gone]
            return {**data, "Targets": left}, unknown

        unknown = await self._access.change(context, params["Rule"], params, decide)
        failed = [
            {
                "TargetId": one,
                "ErrorCode": "ResourceNotFoundException",
                "ErrorMessage": f"Rule {params['Rule']} has no target {one}.",
            }
            for one in unknown
        ]
        return {"FailedEntryCount": len(failed), "FailedEntries": failed}

    @operation("ListTargetsByRule")
    async def of_rule(self, context: RequestContext, params: Params) -> Result:
        """List a rule's targets."""
        record = await self._access.read(context, params["Rule"], params)
        rows, token = page(record.data["Targets"], params)
        return {"Targets": list(rows), "NextToken": token}

    @operation("ListRuleNamesByTarget")
    async def by_target(self, context: RequestContext, params: Params) -> Result:
        """List the names of rules that have a target."""
        check_bus(params.get("EventBusName", DEFAULT_BUS))
        names = [
            record.data["Name"]
            for record in await self._access.all(context)
            if any(target["Arn"] == params["TargetArn"] for target in record.data["Targets"])
        ]
        rows, token = page(names, params)
        return {"RuleNames": list(rows), "NextToken": token}
