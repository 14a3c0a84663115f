"""API Gateway v2: its operations, and the requests and connections of the APIs that are made by them."""

from __future__ import annotations

from typing import Final

from lambent_platform.gateway.apis.access import ApiServices
from lambent_platform.gateway.apis.api_operations import ApiOperations
from lambent_platform.gateway.apis.integration_operations import IntegrationOperations
from lambent_platform.gateway.apis.route_operations import RouteOperations
from lambent_platform.gateway.apis.stage_operations import StageOperations
from lambent_platform.gateway.apis.tag_operations import TagOperations
from lambent_platform.gateway.aws.registry import Registry

SERVICE: Final = "apigatewayv2"
API_OPERATIONS: Final = (ApiOperations, RouteOperations, IntegrationOperations, StageOperations, TagOperations)


def serve_apis(registry: Registry, services: ApiServices) -> None:
    """Serve every operation of the service."""
    for operations in API_OPERATIONS:
        registry.serve(SERVICE, operations(services))
