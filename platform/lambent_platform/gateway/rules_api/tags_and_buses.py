"""The tags of rules, and the default bus, which tools read before they make rules."""

from __future__ import annotations

import re
from typing import Final

from lambent_platform.contracts.schedules import DEFAULT_BUS
from lambent_platform.core.schedules.rules import checked_tags
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.rules_api.access import Data, RuleAccess, check_bus, not_found

_RULE_ARN: Final = re.compile(r"arn:aws[a-z-]*:events:[a-z0-9-]+:\d{12}:rule/(?:default/)?([.\-_A-Za-z0-9]{1,64})")


class TagAndBusOperations:
    """Serves TagResource, UntagResource, ListTagsForResource, DescribeEventBus and ListEventBuses."""

    def __init__(self, access: RuleAccess) -> None:
        self._access = access

    @operation("TagResource")
    async def tag(self, context: RequestContext, params: Params) -> Result:
        """Give a rule tags."""

        def decide(data: Data) -> tuple[Data, None]:
            return {**data, "Tags": checked_tags(params["Tags"], data["Tags"])}, None

        await self._access.change(context, _name(params), {}, decide)
        return {}

    @operation("UntagResource")
    async def untag(self, context: RequestContext, params: Params) -> Result:
        """Take tags from a rule."""
        gone = set(params["TagKeys"])

        def decide(data: Data) -> tuple[Data, None]:
            return {**data, "Tags": {key: value for key, value in data["Tags"].items() if key not in gone}}, None

        await self._access.change(context, _name(params), {}, decide)
        return {}

    @operation("ListTagsForResource")
    async def list_tags(self, context: RequestContext, params: Params) -> Result:
        """Show the tags of a rule."""
        if str(params["ResourceARN"]).endswith(f":event-bus/{DEFAULT_BUS}"):
            return {"Tags": []}
        record = await self._access.read(context, _name(params), {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in sorted(record.data["Tags"].items())]}

    @operation("DescribeEventBus")
    async def describe_bus(self, context: RequestContext, params: Params) -> Result:
        """Show the default bus."""
        check_bus(params.get("Name", DEFAULT_BUS))
        return _bus(context)

    @operation("ListEventBuses")
    async def list_buses(self, context: RequestContext, params: Params) -> Result:
        """List the default bus."""
        wanted = DEFAULT_BUS.startswith(params.get("NamePrefix", ""))
        return {"EventBuses": [_bus(context)] if wanted else []}


def _name(params: Params) -> str:
    match = _RULE_ARN.fullmatch(params["ResourceARN"])
    if match is None:
        raise not_found(f"Rule {params['ResourceARN']} does not exist on EventBusName {DEFAULT_BUS}.")
    return match[1]


def _bus(context: RequestContext) -> Result:
    arn = f"arn:aws:events:{context.region}:{context.account}:event-bus/{DEFAULT_BUS}"
    return {"Name": DEFAULT_BUS, "Arn": arn}
