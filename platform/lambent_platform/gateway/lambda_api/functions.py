"""Functions: created, read, updated, deleted, listed.

Source: Lambda API reference, `CreateFunction`, `GetFunction`, `GetFunctionConfiguration`, `UpdateFunctionCode`,
`UpdateFunctionConfiguration`, `DeleteFunction`, `ListFunctions`; texts as Lambda replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.errors import ResourceConflict
from lambent_platform.contracts.function import CodePackage, FunctionRecord, FunctionVersion
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.configuration import check_tags, configuration_fields, invalid, refuse_unserved
from lambent_platform.core.functions import (
    DEFAULT_POOL,
    POOL_TAG,
    being_created,
    published,
    refuse_while_busy,
    timestamp,
    updated,
    without_version,
)
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api import code_download, deployment, render
from lambent_platform.gateway.lambda_api.access import (
    PAGE_ITEMS,
    WRITE_TRIES,
    LambdaServices,
    change,
    check_revision,
    contended,
    deployed,
    marker,
    named,
    new_revision,
    new_revision_id,
    read,
    read_marker,
    unqualified,
)
from lambent_platform.gateway.lambda_api.destinations import check_dead_letter

_CODE_MEMBERS: Final = ("ZipFile", "S3Bucket", "S3Key", "S3ObjectVersion", "ImageUri")
_MANDATORY: Final = "Runtime and Handler are mandatory parameters for functions created with deployment packages."


class FunctionOperations:
    """Serves the operations on whole functions."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions
        self._queues = services.queues
        self._objects = services.objects
        self._clock = services.clock

    @operation("CreateFunction", unchecked=("Runtime",))
    async def create_function(self, context: RequestContext, params: Params) -> Result:
        """Create a function; the scheduler makes it callable afterwards."""
        ref = named(context, params)
        if ref.qualifier is not None:
            raise invalid("A function is created under its unqualified name.")
        if params.get("PackageType") == "Image" or params["Code"].get("ImageUri"):
            raise invalid("Container images are not served yet: give the code as a zip package.")
        if "Runtime" not in params or "Handler" not in params:
            raise invalid(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages."
            )
        if await self._functions.load(ref.ident) is not None:
            raise _exists(ref)
        fields = configuration_fields(params, {})
        await check_dead_letter(fields.get("dead_letter_arn", ""), self._queues)
        tags = params.get("Tags", {})
        check_tags(tags)
        code = await deployment.package(params["Code"], params["Runtime"], self._objects)
        record, shown = self._new_record(ref, fields, code, tags, publish=params.get("Publish", False))
        if not await self._functions.create(ref.ident, record):
            raise _exists(ref)
        return render.configuration(shown)

    def _new_record(
        self, ref: FunctionRef, fields: Mapping[str, Any], code: CodePackage, tags: Mapping[str, str], *, publish: bool
    ) -> tuple[FunctionRecord, FunctionVersion]:
        now_ms = self._clock.now_ms()
        latest = being_created(
            FunctionVersion(
                account=ref.account,
                region=ref.region,
                name=ref.name,
                revision=new_revision(),
                revision_id=new_revision_id(),
                last_modified=timestamp(now_ms),
                code=code,
                pool=tags.get(POOL_TAG) or DEFAULT_POOL,
                **fields,
            )
        )
        record = FunctionRecord(versions={LATEST: latest}, tags=tags)
        return self._publish(record) if publish else (record, latest)

    def _publish(self, record: FunctionRecord) -> tuple[FunctionRecord, FunctionVersion]:
        return published(
            record,
            revision=new_revision(),
            revision_id=new_revision_id(),
            latest_revision_id=new_revision_id(),
            now_ms=self._clock.now_ms(),
        )

    @operation("GetFunction")
    async def get_function(self, context: RequestContext, params: Params) -> Result:
        """Return a function's configuration, where to download its code, its tags and its concurrency."""
        ref = named(context, params)
        record = await read(self._functions, ref)
        version = deployed(record, ref)
        result: dict[str, Any] = {
            "Configuration": render.configuration(version, ref.qualifier),
            "Code": {"RepositoryType": "S3", "Location": code_download.location(version.code, context.base_url)},
        }
        if record.tags:
            result["Tags"] = dict(record.tags)
        if record.reserved_concurrency is not None:
            result["Concurrency"] = {"ReservedConcurrentExecutions": record.reserved_concurrency}
        return result

    @operation("GetFunctionConfiguration")
    async def get_function_configuration(self, context: RequestContext, params: Params) -> Result:
        """Return a function's configuration."""
        ref = named(context, params)
        return render.configuration(deployed(await read(self._functions, ref), ref), ref.qualifier)

    @operation("UpdateFunctionCode")
    async def update_function_code(self, context: RequestContext, params: Params) -> Result:
        """Deploy other code to `$LATEST`."""
        ref = unqualified(context, params)
        refuse_unserved(params)
        dry = params.get("DryRun", False)
        runtime = self._updatable(await read(self._functions, ref), params).runtime
        given: dict[str, Any] = {name: params[name] for name in _CODE_MEMBERS if name in params}
        code = await deployment.package(given, runtime, self._objects, store=not dry)
        changes: dict[str, Any] = {"code": code}
        if "Architectures" in params:
            changes["architecture"] = params["Architectures"][0]

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, FunctionVersion]:
            latest = self._updatable(record, params)
            if latest.runtime != runtime:
                raise ResourceConflict(f"The runtime was changed in the meantime: {ref.arn}", Type="User")
            if dry:
                return record, replace(latest, **changes)
            after = self._update(record, latest, changes)
            return self._publish(after) if params.get("Publish") else (after, after.latest)

        shown = await change(self._functions, ref, decide)
        return render.configuration(shown, None if shown.version == LATEST else shown.version)

    @operation("UpdateFunctionConfiguration", unchecked=("Runtime",))
    async def update_function_configuration(self, context: RequestContext, params: Params) -> Result:
        """Change the configuration of `$LATEST`."""
        ref = unqualified(context, params)
        before = self._updatable(await read(self._functions, ref), params)
        fields = configuration_fields(params, before.passthrough)
        await check_dead_letter(fields.get("dead_letter_arn", ""), self._queues)
        runtime = params.get("Runtime", before.runtime)
        code = await deployment.for_runtime(before.code, before.runtime, runtime, self._objects)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, FunctionVersion]:
            latest = self._updatable(record, params)
            if latest.code != before.code or latest.runtime != before.runtime:
                raise ResourceConflict(f"The function was changed in the meantime: {ref.arn}", Type="User")
            changes = configuration_fields(params, latest.passthrough)
            if runtime != before.runtime:
                changes["code"] = replace(code, runnable_key="")
            after = self._update(record, latest, changes)
            return after, after.latest

        return render.configuration(await change(self._functions, ref, decide))

    def _updatable(self, record: FunctionRecord, params: Params) -> FunctionVersion:
        check_revision(params.get("RevisionId"), record.latest.revision_id)
        refuse_while_busy(record.latest)
        return record.latest

    def _update(self, record: FunctionRecord, latest: FunctionVersion, changes: Mapping[str, Any]) -> FunctionRecord:
        version = updated(
            latest, changes, revision=new_revision(), revision_id=new_revision_id(), now_ms=self._clock.now_ms()
        )
        return replace(record, versions={**record.versions, LATEST: version})

    @operation("DeleteFunction")
    async def delete_function(self, context: RequestContext, params: Params) -> Result:
        """Delete a function with all that belongs to it, or one of its versions."""
        ref = named(context, params)
        if ref.qualifier is None:
            await self._delete(ref)
        elif ref.qualifier == LATEST:
            raise invalid("$LATEST version cannot be deleted without deleting the function.")
        elif not ref.qualifier.isdigit():
            raise invalid("Deletion of aliases is not currently supported.")
        else:
            number = ref.qualifier

            def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
                return (without_version(record, number) if number in record.versions else record), None

            await change(self._functions, ref, decide)
        return {"StatusCode": 204}

    async def _delete(self, ref: FunctionRef) -> None:
        for _ in range(WRITE_TRIES):
            if await self._functions.delete(ref.ident, await read(self._functions, ref)):
                return
        raise contended(ref)

    @operation("ListFunctions")
    async def list_functions(self, context: RequestContext, params: Params) -> Result:
        """List functions by name, at most 50 at a time as Lambda does; with `ALL`, their versions too."""
        limit = min(params.get("MaxItems", PAGE_ITEMS), PAGE_ITEMS)
        if params.get("FunctionVersion") == "ALL":
            return await self._list_versions(context, params, limit)
        idents = await self._functions.page(context.account, context.region, after=read_marker(params), limit=limit + 1)
        found = await self._functions.load_latest(idents[:limit])
        return {
            "Functions": [render.listed(version) for version in found],
            "NextMarker": marker(idents[limit - 1].rpartition(":")[2]) if len(idents) > limit else None,
        }

    async def _list_versions(self, context: RequestContext, params: Params, limit: int) -> Result:
        """List every version of every function; the marker is `name:version` of the last one shown."""
        name, _, seen = read_marker(params).partition(":")
        idents = [FunctionRef(name, None, context.account, context.region).ident] if name else []
        idents += await self._functions.page(context.account, context.region, after=name, limit=limit + 1)
        records = await self._functions.load_many(idents)
        versions = [
            record.versions[number]
            for record in records
            for number in sorted(record.versions, key=render.version_order)
            if record.latest.name != name or render.version_order(number) > seen
        ]
        some = versions[:limit]
        more = len(versions) > limit
        return {
            "Functions": [render.listed(version, version.version) for version in some],
            "NextMarker": marker(f"{some[-1].name}:{render.version_order(some[-1].version)}") if more else None,
        }


def _exists(ref: FunctionRef) -> ResourceConflict:
    return ResourceConflict(f"Function already exist: {ref.name}", Type="User")
