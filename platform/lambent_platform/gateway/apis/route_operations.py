"""Operations on routes and route responses. Source: API Gateway v2 API reference."""

from __future__ import annotations

from lambent_platform.contracts.apis import ApiRecord
from lambent_platform.core.apis import routes
from lambent_platform.gateway.apis.access import ApiServices, page
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.store.apis import new_id


class RouteOperations:
    """Serves the operations on routes."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    @operation("CreateRoute")
    async def create_route(self, context: RequestContext, params: Params) -> Result:
        """Add a route."""
        return await self._services.change(
            context, params["ApiId"], lambda record: routes.create_route(record, params, new_id=new_id)
        )

    @operation("GetRoute")
    async def get_route(self, context: RequestContext, params: Params) -> Result:
        """Return a route."""
        return routes.find_route(await self._services.read(context, params["ApiId"]), params["RouteId"])

    @operation("GetRoutes")
    async def get_routes(self, context: RequestContext, params: Params) -> Result:
        """List routes."""
        return page((await self._services.read(context, params["ApiId"])).routes.items(), params)

    @operation("UpdateRoute")
    async def update_route(self, context: RequestContext, params: Params) -> Result:
        """Change a route in what is given."""
        return await self._services.change(
            context, params["ApiId"], lambda record: routes.update_route(record, params["RouteId"], params)
        )

    @operation("DeleteRoute")
    async def delete_route(self, context: RequestContext, params: Params) -> Result:
        """Delete a route."""
        return await self._services.change(
            context, params["ApiId"], lambda record: (routes.delete_route(record, params["RouteId"]), {})
        )

    @operation("CreateRouteResponse")
    async def create_response(self, context: RequestContext, params: Params) -> Result:
        """Let a route answer its messages (WebSocket)."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: routes.create_response(record, params["RouteId"], params, new_id=new_id),
        )

    @operation("GetRouteResponse")
    async def get_response(self, context: RequestContext, params: Params) -> Result:
        """Return a response of a route."""
        record = await self._services.read(context, params["ApiId"])
        return routes.find_response(record, params["RouteId"], params["RouteResponseId"])

    @operation("GetRouteResponses")
    async def get_responses(self, context: RequestContext, params: Params) -> Result:
        """List the responses of a route."""
        record = await self._services.read(context, params["ApiId"])
        routes.find_route(record, params["RouteId"])
        own = f"{params['RouteId']}/"
        return page(((key, item) for key, item in record.responses.items() if key.startswith(own)), params)

    @operation("UpdateRouteResponse")
    async def update_response(self, context: RequestContext, params: Params) -> Result:
        """Change a response of a route in what is given."""

        def decide(record: ApiRecord) -> tuple[ApiRecord, Result]:
            routes.find_response(record, params["RouteId"], params["RouteResponseId"])
            return routes.put_response(record, params["RouteId"], params["RouteResponseId"], params)

        return await self._services.change(context, params["ApiId"], decide)

    @operation("DeleteRouteResponse")
    async def delete_response(self, context: RequestContext, params: Params) -> Result:
        """Delete a response of a route."""
        return await self._services.change(
            context,
            params["ApiId"],
            lambda record: (routes.delete_response(record, params["RouteId"], params["RouteResponseId"]), {}),
        )
