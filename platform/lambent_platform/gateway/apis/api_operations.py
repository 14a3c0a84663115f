"""Operations on APIs themselves. Source: API Gateway v2 API reference."""

from __future__ import annotations

from typing import Final

from lambent_platform.contracts.apis import APIS_MAX, WEBSOCKET, ApiRecord
from lambent_platform.core.apis.problems import limit_reached
from lambent_platform.core.apis.settings import create_api, update_api, without_cors
from lambent_platform.gateway.apis.access import ApiServices, make_token, read_page
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.hosts import API, site_authority
from lambent_platform.store.apis import new_id

ID_CHARACTERS: Final = 10


class ApiOperations:
    """Serves the operations on APIs."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    @operation("CreateApi")
    async def create_api(self, context: RequestContext, params: Params) -> Result:
        """Create an API; with `Target` one that leads to a function at once."""
        apis = self._services.apis
        if await apis.count(context.account, context.region) >= APIS_MAX:
            raise limit_reached("APIs in an account and region", APIS_MAX)
        while True:
            record = create_api(
                params,
                api_id=new_id(ID_CHARACTERS),
                account=context.account,
                region=context.region,
                now=self._services.now(),
                new_id=new_id,
            )
            if await apis.create(record):
                return _render(record, context)

    @operation("GetApi")
    async def get_api(self, context: RequestContext, params: Params) -> Result:
        """Return an API's settings."""
        return _render(await self._services.read(context, params["ApiId"]), context)

    @operation("GetApis")
    async def get_apis(self, context: RequestContext, params: Params) -> Result:
        """List the APIs of an account and region."""
        after, most = read_page(params)
        ids = await self._services.apis.page(context.account, context.region, after=after, limit=most + 1)
        records = [await self._services.apis.load(api_id) for api_id in ids[:most]]
        return {
            "Items": [_render(record, context) for record in records if record is not None],
            "NextToken": make_token(ids[most - 1]) if len(ids) > most else None,
        }

    @operation("UpdateApi")
    async def update_api(self, context: RequestContext, params: Params) -> Result:
        """Change an API's settings."""

        def decide(record: ApiRecord) -> tuple[ApiRecord, Result]:
            after = update_api(record, params)
            return after, _render(after, context)

        return await self._services.change(context, params["ApiId"], decide)

    @operation("DeleteApi")
    async def delete_api(self, context: RequestContext, params: Params) -> Result:
        """Delete an API with all that belongs to it."""
        while True:
            record = await self._services.read(context, params["ApiId"])
            if await self._services.apis.delete(record):
                self._services.sites.forget(record.id)
                return {}

    @operation("DeleteCorsConfiguration")
    async def delete_cors(self, context: RequestContext, params: Params) -> Result:
        """Take an API's cross-origin rules away."""
        return await self._services.change(context, params["ApiId"], lambda record: (without_cors(record), {}))


def endpoint(record: ApiRecord, base_url: str) -> str:
    """Return an API's endpoint for whoever came by `base_url`."""
    scheme, authority = site_authority(record.id, API, record.region, base_url)
    if record.protocol == WEBSOCKET:
        scheme = "wss" if scheme == "https" else "ws"
    return f"{scheme}://{authority}"


def _render(record: ApiRecord, context: RequestContext) -> Result:
    return {"ApiId": record.id, "ApiEndpoint": endpoint(record, context.base_url), **record.settings}
