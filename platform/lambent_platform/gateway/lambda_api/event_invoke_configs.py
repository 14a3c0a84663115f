"""How asynchronous calls of a function are retried, how old they may get, and where their results go.

Source: Lambda API reference, `PutFunctionEventInvokeConfig` and its siblings; texts as Lambda replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.errors import ResourceNotFound
from lambent_platform.contracts.function import FunctionRecord
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.configuration import invalid
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api.access import LambdaServices, change, named, page, read, unqualified
from lambent_platform.gateway.lambda_api.destinations import check_destination

_MEMBERS: Final = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
_SIDES: Final = ("OnSuccess", "OnFailure")


class EventInvokeConfigOperations:
    """Serves the operations on settings of asynchronous calls."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions
        self._queues = services.queues
        self._clock = services.clock

    @operation("PutFunctionEventInvokeConfig")
    async def put_function_event_invoke_config(self, context: RequestContext, params: Params) -> Result:
        """Replace the settings of a function, version or alias."""
        return await self._set(context, params, merge=False)

    @operation("UpdateFunctionEventInvokeConfig")
    async def update_function_event_invoke_config(self, context: RequestContext, params: Params) -> Result:
        """Change the settings that are given; the others stay."""
        return await self._set(context, params, merge=True)

    async def _set(self, context: RequestContext, params: Params, *, merge: bool) -> Result:
        ref = _named(context, params)
        given: dict[str, Any] = {name: params[name] for name in _MEMBERS if name in params}
        if not given:
            raise invalid("You must specify at least one of error handling or destination setting.")
        await self._check_destinations(params, ref)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, Mapping[str, Any]]:
            _check(record, ref)
            before: Mapping[str, Any] = _find(record, ref) if merge else {}
            config = {**before, **given, "LastModified": self._clock.now_ms() / 1000}
            return _with(record, ref, config), config

        if await self._functions.load(ref.ident) is None:
            raise ResourceNotFound("The function doesn't exist.", Type="User")
        return _render(await change(self._functions, ref, decide), ref)

    async def _check_destinations(self, params: Params, ref: FunctionRef) -> None:
        for side in _SIDES:
            arn = (params.get("DestinationConfig", {}).get(side) or {}).get("Destination")
            if arn:
                await check_destination(arn, ref, _described(params), self._functions, self._queues)

    @operation("GetFunctionEventInvokeConfig")
    async def get_function_event_invoke_config(self, context: RequestContext, params: Params) -> Result:
        """Return the settings of a function, version or alias."""
        ref = _named(context, params)
        record = await self._functions.load(ref.ident)
        return _render(_find(record, ref), ref)

    @operation("DeleteFunctionEventInvokeConfig")
    async def delete_function_event_invoke_config(self, context: RequestContext, params: Params) -> Result:
        """Go back to the defaults."""
        ref = _named(context, params)
        _find(await self._functions.load(ref.ident), ref)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            _find(record, ref)
            return _with(record, ref, None), None

        await change(self._functions, ref, decide)
        return {}

    @operation("ListFunctionEventInvokeConfigs")
    async def list_function_event_invoke_configs(self, context: RequestContext, params: Params) -> Result:
        """List the settings of a function with its versions and aliases."""
        ref = unqualified(context, params)
        record = await read(self._functions, ref)
        some, following = page(sorted(record.event_invoke_configs), str, params)
        shown = [_render(record.event_invoke_configs[key], ref.at(key)) for key in some]
        return {"FunctionEventInvokeConfigs": shown, "NextMarker": following}


def _named(context: RequestContext, params: Params) -> FunctionRef:
    ref = named(context, params)
    return ref.at(ref.qualifier or LATEST)


def _check(record: FunctionRecord, ref: FunctionRef) -> None:
    if ref.qualifier not in record.versions and ref.qualifier not in record.aliases:
        raise ResourceNotFound("The function doesn't exist.", Type="User")


def _find(record: FunctionRecord | None, ref: FunctionRef) -> Mapping[str, Any]:
    config = record.event_invoke_configs.get(ref.qualifier or LATEST) if record else None
    if config is None:
        raise ResourceNotFound(f"The function {ref.qualified_arn} doesn't have an EventInvokeConfig", Type="User")
    return config


def _with(record: FunctionRecord, ref: FunctionRef, config: Mapping[str, Any] | None) -> FunctionRecord:
    key = ref.qualifier or LATEST
    configs = {name: one for name, one in record.event_invoke_configs.items() if name != key}
    if config is not None:
        configs[key] = config
    return replace(record, event_invoke_configs=configs)


def _render(config: Mapping[str, Any], ref: FunctionRef) -> dict[str, Any]:
    destinations = config.get("DestinationConfig") or {}
    sides = {side: destinations.get(side) or {} for side in _SIDES}
    shown = {side: {"Destination": one["Destination"]} if one.get("Destination") else {} for side, one in sides.items()}
    return {**config, "FunctionArn": ref.qualified_arn, "DestinationConfig": shown}


def _described(params: Params) -> str:
    config = params["DestinationConfig"]
    texts = []
    for side in _SIDES:
        arn = (config.get(side) or {}).get("Destination")
        texts.append(
            f"{side[0].lower()}{side[1:]}={side}(destination={arn})" if arn else f"{side[0].lower()}{side[1:]}=null"
        )
    return f"DestinationConfig({', '.join(texts)})"
