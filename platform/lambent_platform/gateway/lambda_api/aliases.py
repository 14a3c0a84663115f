"""Aliases, with their weighted routing.

Source: Lambda API reference, `CreateAlias`, `GetAlias`, `UpdateAlias`, `DeleteAlias`, `ListAliases`; texts as Lambda
replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lambent_platform.contracts.errors import ResourceConflict
from lambent_platform.contracts.function import Alias, FunctionRecord
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.configuration import invalid
from lambent_platform.core.functions import without_settings
from lambent_platform.core.resolution import not_found
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api import render
from lambent_platform.gateway.lambda_api.access import (
    LambdaServices,
    change,
    check_revision,
    new_revision_id,
    no_alias,
    page,
    read,
    unqualified,
)


class AliasOperations:
    """Serves the operations on aliases."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions

    @operation("CreateAlias")
    async def create_alias(self, context: RequestContext, params: Params) -> Result:
        """Name a version."""
        ref = unqualified(context, params)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, Alias]:
            if params["Name"] in record.aliases:
                raise ResourceConflict(f"Alias already exists: {ref.at(params['Name']).qualified_arn}", Type="User")
            alias = Alias(
                name=params["Name"],
                version=params["FunctionVersion"],
                description=params.get("Description", ""),
                weights=_weights(params) or {},
                revision_id=new_revision_id(),
            )
            return _with(record, alias, ref), alias

        return render.alias(await change(self._functions, ref, decide), ref)

    @operation("GetAlias")
    async def get_alias(self, context: RequestContext, params: Params) -> Result:
        """Return one alias."""
        ref = unqualified(context, params)
        return render.alias(_find(await read(self._functions, ref), ref, params["Name"]), ref)

    @operation("UpdateAlias")
    async def update_alias(self, context: RequestContext, params: Params) -> Result:
        """Point an alias elsewhere, or change its weights; what is not given stays."""
        ref = unqualified(context, params)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, Alias]:
            alias = _find(record, ref, params["Name"])
            check_revision(params.get("RevisionId"), alias.revision_id)
            weights = _weights(params)
            alias = replace(
                alias,
                version=params.get("FunctionVersion", alias.version),
                description=params.get("Description", alias.description),
                weights=alias.weights if weights is None else weights,
                revision_id=new_revision_id(),
            )
            return _with(record, alias, ref), alias

        return render.alias(await change(self._functions, ref, decide), ref)

    @operation("DeleteAlias")
    async def delete_alias(self, context: RequestContext, params: Params) -> Result:
        """Delete an alias with its policy, URL and settings; nothing happens where there is none."""
        ref = unqualified(context, params)
        name = params["Name"]

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            if name not in record.aliases:
                return record, None
            aliases = {key: alias for key, alias in record.aliases.items() if key != name}
            return replace(without_settings(record, name), aliases=aliases), None

        await change(self._functions, ref, decide)
        return {}

    @operation("ListAliases")
    async def list_aliases(self, context: RequestContext, params: Params) -> Result:
        """List aliases by name; with `FunctionVersion`, those that point to that version."""
        ref = unqualified(context, params)
        record = await read(self._functions, ref)
        version = params.get("FunctionVersion")
        aliases = sorted(
            (alias for alias in record.aliases.values() if version in (None, alias.version)), key=lambda a: a.name
        )
        some, following = page(aliases, lambda alias: alias.name, params)
        return {"Aliases": [render.alias(alias, ref) for alias in some], "NextMarker": following}


def _weights(params: Params) -> Mapping[str, float] | None:
    """Return the weights that a request gives, empty to take them away, None to leave them."""
    if "RoutingConfig" not in params:
        return None
    weights: Mapping[str, float] = params["RoutingConfig"].get("AdditionalVersionWeights") or {}
    return weights


def _find(record: FunctionRecord, ref: FunctionRef, name: str) -> Alias:
    alias = record.aliases.get(name)
    if alias is None:
        raise no_alias(ref.at(name))
    return alias


def _with(record: FunctionRecord, alias: Alias, ref: FunctionRef) -> FunctionRecord:
    """Put an alias into its function, once it is seen to make sense."""
    if alias.version not in record.versions:
        raise not_found(ref.at(alias.version))
    if len(alias.weights) > 1:
        raise invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
    for other in alias.weights:
        if LATEST in (other, alias.version):
            raise invalid("$LATEST is not supported for an alias pointing to more than 1 version")
        if other == alias.version:
            raise invalid(
                f"Invalid function version {other}. "
                f"Function version {other} is already included in routing configuration."
            )
        if other not in record.versions:
            raise not_found(ref.at(other))
    return replace(record, aliases={**record.aliases, alias.name: alias})
