"""Tags of functions and of event source mappings.

Source: Lambda API reference, `TagResource`, `UntagResource`, `ListTags`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lambent_platform.contracts.function import FunctionRecord
from lambent_platform.contracts.mappings import mapping_uuid
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.configuration import check_tags, invalid, out_of_range
from lambent_platform.core.functions import with_tags
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api.access import LambdaServices, change, new_revision, new_revision_id, read
from lambent_platform.gateway.lambda_api.event_source_mappings import MappingTags


class TagOperations:
    """Serves the operations on tags."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions
        self._mappings = MappingTags(services.mappings)

    @operation("TagResource")
    async def tag_resource(self, context: RequestContext, params: Params) -> Result:
        """Add tags, or change their values."""
        if not params["Tags"]:
            raise invalid("An error occurred and the request cannot be processed.")
        await self._retag(context, params, lambda tags: {**tags, **params["Tags"]})
        return {}

    @operation("UntagResource")
    async def untag_resource(self, context: RequestContext, params: Params) -> Result:
        """Take tags away; nothing happens for those that are not there."""
        gone = set(params["TagKeys"])
        await self._retag(
            context, params, lambda tags: {name: value for name, value in tags.items() if name not in gone}
        )
        return {}

    @operation("ListTags")
    async def list_tags(self, context: RequestContext, params: Params) -> Result:
        """Return the tags of a function or a mapping."""
        if (mapping := mapping_uuid(params["Resource"])) is not None:
            return {"Tags": dict(await self._mappings.tags(mapping))}
        record = await read(self._functions, _tagged(context, params))
        return {"Tags": dict(record.tags)}

    async def _retag(
        self, context: RequestContext, params: Params, retag: Callable[[dict[str, str]], dict[str, str]]
    ) -> None:
        if (mapping := mapping_uuid(params["Resource"])) is not None:
            await self._mappings.retag(mapping, retag)
            return
        ref = _tagged(context, params)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            tags = retag(dict(record.tags))
            check_tags(tags)
            after = with_tags(record, tags, revisions=iter(new_revision, None))
            latest = replace(after.latest, revision_id=new_revision_id())
            return replace(after, versions={**after.versions, LATEST: latest}), None

        await change(self._functions, ref, decide)


def _tagged(context: RequestContext, params: Params) -> FunctionRef:
    arn = params["Resource"]
    ref = FunctionRef.parse(arn, account=context.account, region=context.region)
    if ref is None or not arn.startswith("arn:"):
        raise out_of_range(arn, "resource", "be the ARN of a function")
    if ref.qualifier is not None:
        raise invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
    return ref
