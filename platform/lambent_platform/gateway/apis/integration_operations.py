"""Operations on integrations. Source: API Gateway v2 API reference."""

from __future__ import annotations

from lambent_platform.core.apis import integrations
from lambent_platform.gateway.apis.access import ApiServices, page
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.store.apis import new_id


class IntegrationOperations:
    """Serves the operations on integrations."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    @operation("CreateIntegration")
    async def create_integration(self, context: RequestContext, params: Params) -> Result:
        """Add an integration with a function."""
        return await self._services.change(
            context, params["ApiId"], lambda record: integrations.create_integration(record, params, new_id=new_id)
        )

    @operation("GetIntegration")
    async def get_integration(self, context: RequestContext, params: Params) -> Result:
        """Return an integration."""
        record = await self._services.read(context, params["ApiId"])
        return integrations.find_integration(record, params["IntegrationId"])

    @operation("GetIntegrations")
    async def get_integrations(self, context: RequestContext, params: Params) -> Result:
        """List integrations."""
        return page((await self._services.read(context, params["ApiId"])).integrations.items(), params)

    @operation("UpdateIntegration")
    async def update_integration(self, context: RequestContext, params: Params) -> Result:
        """Change an integration in what is given."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: integrations.update_integration(record, params["IntegrationId"], params),
        )

    @operation("DeleteIntegration")
    async def delete_integration(self, context: RequestContext, params: Params) -> Result:
        """Delete an integration that no route leads to."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: (integrations.delete_integration(record, params["IntegrationId"]), {}),
        )
