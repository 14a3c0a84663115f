"""Versions: published and listed.

Source: Lambda API reference, `PublishVersion`, `ListVersionsByFunction`.
"""

from __future__ import annotations

from lambent_platform.contracts.function import FunctionRecord, FunctionVersion
from lambent_platform.core.configuration import invalid
from lambent_platform.core.functions import published, refuse_while_busy
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api import render
from lambent_platform.gateway.lambda_api.access import (
    LambdaServices,
    change,
    check_revision,
    new_revision,
    new_revision_id,
    page,
    read,
    unqualified,
)


class VersionOperations:
    """Serves the operations on versions."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions
        self._clock = services.clock

    @operation("PublishVersion")
    async def publish_version(self, context: RequestContext, params: Params) -> Result:
        """Publish `$LATEST`; where nothing changed since the last version, that one is returned again."""
        ref = unqualified(context, params)
        if params.get("PublishTo"):
            raise invalid("Publishing to $LATEST.PUBLISHED is not served: publish a numbered version.")

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, FunctionVersion]:
            latest = record.latest
            check_revision(params.get("RevisionId"), latest.revision_id)
            wanted = params.get("CodeSha256")
            if wanted and wanted != latest.code.sha256:
                raise invalid(
                    f"CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({latest.code.sha256}). "
                    "Please try again with the CodeSHA256 in $LATEST."
                )
            refuse_while_busy(latest)
            return published(
                record,
                description=params.get("Description"),
                revision=new_revision(),
                revision_id=new_revision_id(),
                latest_revision_id=new_revision_id(),
                now_ms=self._clock.now_ms(),
            )

        version = await change(self._functions, ref, decide)
        return render.configuration(version, version.version)

    @operation("ListVersionsByFunction")
    async def list_versions_by_function(self, context: RequestContext, params: Params) -> Result:
        """List `$LATEST`, then the published versions from the oldest to the newest."""
        record = await read(self._functions, unqualified(context, params))
        numbers = sorted(record.versions, key=render.version_order)
        some, following = page(numbers, render.version_order, params)
        return {
            "Versions": [render.listed(record.versions[number], number) for number in some],
            "NextMarker": following,
        }
