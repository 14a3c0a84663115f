"""The management API of WebSocket connections: what functions use to reach clients, over any gateway.

Source: API Gateway Management API reference, `PostToConnection`, `GetConnection`, `DeleteConnection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from lambent_platform.contracts.connections import MESSAGE_BYTES_MAX, OrderDone
from lambent_platform.contracts.errors import ApiError
from lambent_platform.gateway.apis.hub import Hub
from lambent_platform.gateway.aws.body import read_body
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation, raw_operation

SERVICE: Final = "apigatewaymanagementapi"


class ConnectionOperations:
    """Serves the operations on connections."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @raw_operation("PostToConnection")
    async def post(
        self, context: RequestContext, request: web.Request, labels: Mapping[str, str]
    ) -> web.StreamResponse:
        """Send a message to a client: text where it is UTF-8, binary where it is not."""
        too_large = ApiError(
            f"A message can have at most {MESSAGE_BYTES_MAX} bytes", code="PayloadTooLargeException", status=413
        )
        data = await read_body(request, MESSAGE_BYTES_MAX, too_large)
        _check(await self._hub.ask("post", labels["connectionId"], data))
        return web.Response(status=200, headers={"x-amzn-RequestId": context.request_id})

    @operation("GetConnection")
    async def get(self, context: RequestContext, params: Params) -> Result:
        """Say when a client connected and was last active, and who it is."""
        return _check(await self._hub.ask("get", params["ConnectionId"])).facts

    @operation("DeleteConnection")
    async def delete(self, context: RequestContext, params: Params) -> Result:
        """Close a client's connection."""
        _check(await self._hub.ask("delete", params["ConnectionId"]))
        return {}


def _check(done: OrderDone) -> OrderDone:
    if done.end == "gone":
        raise ApiError("The connection is gone.", code="GoneException", status=410)
    if done.end == "slow":
        raise ApiError(
            "The client does not read fast enough, or its gateway does not answer.",
            code="LimitExceededException",
            status=429,
        )
    return done
