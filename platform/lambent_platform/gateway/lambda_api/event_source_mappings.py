"""Event source mappings: which queue or stream a function is called with.

A request writes what is wanted; the scheduler makes it so and says so in `State`.

Source: Lambda API reference, `CreateEventSourceMapping` and its siblings; texts as Lambda replies.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from lambent_platform.contracts.errors import ResourceConflict
from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.mappings import MappingRecord
from lambent_platform.contracts.names import FunctionRef
from lambent_platform.core import mappings as rules
from lambent_platform.core.configuration import check_tags, invalid
from lambent_platform.core.mapping_sources import source_rules
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api.access import LambdaServices, deployed, marker, named, read_marker
from lambent_platform.store.mappings import MappingStore, PairTaken, TooManyMappings

PAGE_MAX: Final = 100
"""Lambda gives no more on a page, whatever is asked for."""
WRITE_TRIES: Final = 20


class EventSourceMappingOperations:
    """Serves the operations on event source mappings."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions
        self._clock = services.clock
        self._mappings = services.mappings
        self._checks = services.mapping_checks

    @operation("CreateEventSourceMapping")
    async def create_event_source_mapping(self, context: RequestContext, params: Params) -> Result:
        """Map a source to a function."""
        source = source_rules(params.get("EventSourceArn"))
        ref = named(context, params)
        tags = params.get("Tags", {})
        check_tags(tags)
        values = rules.settings(params, source, {})
        record = MappingRecord(
            uuid=str(uuid.uuid4()),
            account=context.account,
            region=context.region,
            source_arn=params["EventSourceArn"],
            function_arn=ref.named_arn,
            tags=tags,
            last_modified_ms=self._clock.now_ms(),
            **{"batch_size": source.batch_size_default, **values},
        )
        return await self._put(record)

    @operation("UpdateEventSourceMapping")
    async def update_event_source_mapping(self, context: RequestContext, params: Params) -> Result:
        """Change the settings that are given; the others stay."""
        for _ in range(WRITE_TRIES):
            before = await self._read(context, params["UUID"])
            values = rules.settings(params, source_rules(before.source_arn), before.passthrough)
            if "FunctionName" in params:
                values["function_arn"] = named(context, params).named_arn
            after = rules.changed(before, values, now_ms=self._clock.now_ms())
            if (shown := await self._try_put(after)) is not None:
                return shown
        raise _contended()

    @operation("GetEventSourceMapping")
    async def get_event_source_mapping(self, context: RequestContext, params: Params) -> Result:
        """Return one mapping."""
        return _shown(await self._read(context, params["UUID"]))

    @operation("DeleteEventSourceMapping")
    async def delete_event_source_mapping(self, context: RequestContext, params: Params) -> Result:
        """Stop polling a source for a function; batches that run end."""
        for _ in range(WRITE_TRIES):
            before = await self._read(context, params["UUID"])
            after = rules.deleted(before, now_ms=self._clock.now_ms())
            if await self._mappings.write(after):
                return _shown(after)
        raise _contended()

    @operation("ListEventSourceMappings")
    async def list_event_source_mappings(self, context: RequestContext, params: Params) -> Result:
        """List the mappings of a function, of a source, or all."""
        limit = min(params.get("MaxItems", PAGE_MAX), PAGE_MAX)
        found = await self._mappings.page(
            context.account,
            context.region,
            function_arn=named(context, params).named_arn if params.get("FunctionName") else "",
            source_arn=params.get("EventSourceArn", ""),
            after=read_marker(params),
            limit=limit + 1,
        )
        some = found[:limit]
        shown = [_shown(one) for one in await self._mappings.load_many(some)]
        return {"EventSourceMappings": shown, "NextMarker": marker(some[-1]) if len(found) > limit else None}

    async def _read(self, context: RequestContext, mapping_id: str) -> MappingRecord:
        record = await self._mappings.load(mapping_id)
        if record is None or (record.account, record.region) != (context.account, context.region):
            raise rules.not_found()
        return record

    async def _put(self, record: MappingRecord) -> dict[str, Any]:
        shown = await self._try_put(record)
        if shown is None:
            raise _contended()
        return shown

    async def _try_put(self, record: MappingRecord) -> dict[str, Any] | None:
        """Check a mapping and write it; None where it was changed since it was read."""
        source = source_rules(record.source_arn)
        source.check(record)
        version = await self._called(record.function)
        if source.kind in self._checks:
            await self._checks[source.kind](record, version)
        try:
            written = await self._mappings.write(record)
        except PairTaken as taken:
            raise rules.duplicate(record.source_arn, record.function, taken.uuid) from None
        except TooManyMappings as error:
            raise invalid(f"No more event source mappings can be made: {error}.") from None
        return _shown(record) if written else None

    async def _called(self, ref: FunctionRef) -> FunctionVersion:
        record = await self._functions.load(ref.ident)
        if record is None:
            raise invalid("Function does not exist")
        return deployed(record, ref)


class MappingTags:
    """The tags of mappings, for the operations on tags of any resource."""

    def __init__(self, mappings: MappingStore) -> None:
        self._mappings = mappings

    async def tags(self, mapping_id: str) -> Mapping[str, str]:
        """Read a mapping's tags.

        Raises:
            ResourceNotFound: there is no such mapping.
        """
        return (await self._read(mapping_id)).tags

    async def retag(self, mapping_id: str, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Change a mapping's tags; it goes on as it is.

        Raises:
            ResourceNotFound: there is no such mapping.
            InvalidParameterValue: the tags that it would have are not acceptable.
        """
        for _ in range(WRITE_TRIES):
            before = await self._read(mapping_id)
            tags = change(dict(before.tags))
            check_tags(tags)
            if await self._mappings.write(rules.retagged(before, tags)):
                return
        raise _contended()

    async def _read(self, mapping_id: str) -> MappingRecord:
        record = await self._mappings.load(mapping_id)
        if record is None:
            raise rules.not_found()
        return record


def _shown(record: MappingRecord) -> dict[str, Any]:
    return rules.described(record, source_rules(record.source_arn))


def _contended() -> ResourceConflict:
    return ResourceConflict("The event source mapping is being changed by others.", Type="User")
