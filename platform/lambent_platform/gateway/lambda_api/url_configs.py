"""Function URLs: who may call them is NONE, which is everybody, since signatures are not verified yet.

A configuration that asks for AWS_IAM is refused: to accept it would open to everybody what its owner wants closed.

Source: Lambda API reference, `CreateFunctionUrlConfig` and its siblings; texts as Lambda replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from lambent_platform.contracts.errors import ResourceConflict, ResourceNotFound
from lambent_platform.contracts.function import FunctionRecord
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.configuration import invalid
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.hosts import FUNCTION_URL, site_authority
from lambent_platform.gateway.lambda_api.access import LambdaServices, change, named, page, read, unqualified
from lambent_platform.store.functions import URL_ID

_MEMBERS: Final = ("AuthType", "Cors", "InvokeMode")


class UrlConfigOperations:
    """Serves the operations on function URLs."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions
        self._clock = services.clock

    @operation("CreateFunctionUrlConfig")
    async def create_function_url_config(self, context: RequestContext, params: Params) -> Result:
        """Give a function or an alias a URL."""
        ref = _named(context, params)
        now = self._now()
        config = {
            URL_ID: self._functions.new_url_id(ref.ident),
            "CreationTime": now,
            "LastModifiedTime": now,
            "InvokeMode": "BUFFERED",
            **_given(params),
        }

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            if ref.qualifier is not None and ref.qualifier not in record.aliases:
                raise ResourceNotFound("Function does not exist", Type="User")
            if _key(ref) in record.url_configs:
                arn = ref.named_arn
                raise ResourceConflict(
                    f"Failed to create function url config for [functionArn = {arn}]. Error message:  "
                    "FunctionUrlConfig exists for this Lambda function",
                    Type="User",
                )
            return _with(record, ref, config), None

        try:
            await change(self._functions, ref, decide)
        except ResourceNotFound as error:
            raise ResourceNotFound("Function does not exist", Type="User") from error
        shown = _render(config, ref, context)
        return {name: value for name, value in shown.items() if name != "LastModifiedTime"}

    @operation("GetFunctionUrlConfig")
    async def get_function_url_config(self, context: RequestContext, params: Params) -> Result:
        """Return the URL of a function or an alias."""
        ref = _named(context, params)
        return _render(_find(await self._functions.load(ref.ident), ref), ref, context)

    @operation("UpdateFunctionUrlConfig")
    async def update_function_url_config(self, context: RequestContext, params: Params) -> Result:
        """Change a URL's settings; what is not given stays."""
        ref = _named(context, params)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, dict[str, Any]]:
            config = {**_find(record, ref), **_given(params), "LastModifiedTime": self._now()}
            return _with(record, ref, config), config

        try:
            return _render(await change(self._functions, ref, decide), ref, context)
        except ResourceNotFound as error:
            raise _missing() from error

    @operation("DeleteFunctionUrlConfig")
    async def delete_function_url_config(self, context: RequestContext, params: Params) -> Result:
        """Take a URL away."""
        ref = _named(context, params)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            _find(record, ref)
            return _with(record, ref, None), None

        try:
            await change(self._functions, ref, decide)
        except ResourceNotFound as error:
            raise _missing() from error
        return {}

    @operation("ListFunctionUrlConfigs")
    async def list_function_url_configs(self, context: RequestContext, params: Params) -> Result:
        """List the URLs of a function and its aliases."""
        ref = unqualified(context, params)
        record = await read(self._functions, ref)
        some, following = page(sorted(record.url_configs), str, params)
        shown = [_render(record.url_configs[key], ref.at(None if key == LATEST else key), context) for key in some]
        return {"FunctionUrlConfigs": shown, "NextMarker": following}

    def _now(self) -> str:
        moment = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def url(url_id: str, region: str, base_url: str) -> str:
    """Make a function's URL for whoever came by `base_url`."""
    scheme, authority = site_authority(url_id, FUNCTION_URL, region, base_url)
    return f"{scheme}://{authority}/"


def _named(context: RequestContext, params: Params) -> FunctionRef:
    ref = named(context, params)
    return ref.at(None) if ref.qualifier == LATEST else ref


def _key(ref: FunctionRef) -> str:
    return ref.qualifier or LATEST


def _given(params: Params) -> dict[str, Any]:
    if params.get("AuthType") == "AWS_IAM":
        raise invalid(
            "AuthType AWS_IAM is not served yet: signatures are not verified, so the URL would be open to everybody. "
            "Use NONE where that is what you want."
        )
    return {name: params[name] for name in _MEMBERS if name in params}


def _missing() -> ResourceNotFound:
    return ResourceNotFound("The resource you requested does not exist.", Type="User")


def _find(record: FunctionRecord | None, ref: FunctionRef) -> Mapping[str, Any]:
    config = record.url_configs.get(_key(ref)) if record else None
    if config is None:
        raise _missing()
    return config


def _with(record: FunctionRecord, ref: FunctionRef, config: Mapping[str, Any] | None) -> FunctionRecord:
    configs = {key: one for key, one in record.url_configs.items() if key != _key(ref)}
    if config is not None:
        configs[_key(ref)] = config
    return replace(record, url_configs=configs)


def _render(config: Mapping[str, Any], ref: FunctionRef, context: RequestContext) -> dict[str, Any]:
    shown = {name: value for name, value in config.items() if name != URL_ID and value != {}}
    return {"FunctionUrl": url(config[URL_ID], ref.region, context.base_url), "FunctionArn": ref.named_arn, **shown}
