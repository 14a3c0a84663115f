"""Wiring of API Gateway v2 in a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lambent_platform.contracts.clock import EventClock
from lambent_platform.dispatch.dispatcher import Dispatcher
from lambent_platform.gateway.apis import API_OPERATIONS, serve_apis
from lambent_platform.gateway.apis import SERVICE as APIS
from lambent_platform.gateway.apis.access import ApiServices
from lambent_platform.gateway.apis.connection_operations import SERVICE as CONNECTIONS
from lambent_platform.gateway.apis.connection_operations import ConnectionOperations
from lambent_platform.gateway.apis.entrance import Entrance
from lambent_platform.gateway.apis.http_apis import HttpApis
from lambent_platform.gateway.apis.hub import Hub
from lambent_platform.gateway.apis.sites import Sites
from lambent_platform.gateway.apis.socket_apis import SocketApis
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.main.settings import Settings
from lambent_platform.store.apis import ApiStore
from lambent_platform.store.connections import ConnectionStore
from lambent_platform.store.redis import RedisStore

SETTINGS: Final = ("websocket_idle_s", "websocket_max_s")
SERVED: Final[Mapping[str, tuple[type, ...]]] = {APIS: API_OPERATIONS, CONNECTIONS: (ConnectionOperations,)}


@dataclass(frozen=True, slots=True)
class ApiGateway:
    """What a gateway runs of it: where requests come in, and the connections that it holds."""

    entrance: Entrance
    hub: Hub


def api_gateway(
    settings: Settings,
    redis: RedisStore,
    dispatcher: Dispatcher,
    clock: EventClock,
    registry: Registry,
    catalog: ServiceCatalog,
) -> ApiGateway:
    """Serve the operations in `registry`; returns what serves the APIs that are made by them."""
    apis = ApiStore(redis)
    sites = Sites(apis)
    hub = Hub(ConnectionStore(redis), gateway_id=dispatcher.gateway_id)
    serve_apis(registry, ApiServices(apis=apis, sites=sites, clock=clock))
    connections = ConnectionOperations(hub)
    registry.serve(CONNECTIONS, connections)
    sockets = SocketApis(
        dispatcher, clock, sites, hub, idle_s=settings.websocket_idle_s, max_s=settings.websocket_max_s
    )
    return ApiGateway(Entrance(sites, HttpApis(dispatcher, clock), sockets, connections, catalog), hub)
