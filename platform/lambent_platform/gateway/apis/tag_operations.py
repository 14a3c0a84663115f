"""Tags of APIs and stages. Source: API Gateway v2 API reference, `TagResource`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lambent_platform.contracts.apis import ApiRecord
from lambent_platform.core.apis.tags import tagged_resource, tags_of, with_tags
from lambent_platform.gateway.apis.access import ApiServices
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation


class TagOperations:
    """Serves the operations on tags."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    @operation("TagResource")
    async def tag_resource(self, context: RequestContext, params: Params) -> Result:
        """Add tags, or change their values."""
        await self._retag(context, params, lambda tags: {**tags, **params.get("Tags", {})})
        return {}

    @operation("UntagResource")
    async def untag_resource(self, context: RequestContext, params: Params) -> Result:
        """Take tags away; nothing happens for those that are not there."""
        gone = set(params["TagKeys"])
        await self._retag(context, params, lambda tags: {k: v for k, v in tags.items() if k not in gone})
        return {}

    @operation("GetTags")
    async def get_tags(self, context: RequestContext, params: Params) -> Result:
        """Return the tags of an API or a stage."""
        api_id, stage = tagged_resource(params["ResourceArn"])
        return {"Tags": tags_of(await self._services.read(context, api_id), stage)}

    async def _retag(
        self, context: RequestContext, params: Params, retag: Callable[[Mapping[str, str]], dict[str, str]]
    ) -> None:
        api_id, stage = tagged_resource(params["ResourceArn"])

        def decide(record: ApiRecord) -> tuple[ApiRecord, None]:
            return with_tags(record, stage, retag(tags_of(record, stage))), None

        await self._services.change(context, api_id, decide, deploys=False)
