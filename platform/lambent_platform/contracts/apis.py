"""An API of API Gateway v2: several functions behind one site, by HTTP or over WebSockets.

What users set is kept in the service's own shapes and names (`RouteKey`, `IntegrationUri`), since that is what goes in
and comes out of its operations. Source: API Gateway v2 API reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Item = Mapping[str, Any]
"""One route, integration, stage …: members of the service's shape."""

HTTP: Final = "HTTP"
WEBSOCKET: Final = "WEBSOCKET"
DEFAULT_STAGE: Final = "$default"
DEFAULT_ROUTE: Final = "$default"

APIS_MAX: Final = 600
ROUTES_MAX: Final = 300
INTEGRATIONS_MAX: Final = 300
STAGES_MAX: Final = 10
DEPLOYMENTS_MAX: Final = 50
"""Ours; whole configurations are kept with those that no stage follows by itself."""
TIMEOUT_MS_MIN: Final = 50
TIMEOUT_MS_MAX: Final = {HTTP: 30_000, WEBSOCKET: 29_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRecord:
    """One API with all that belongs to it."""

    id: str
    account: str
    region: str
    settings: Item
    routes: Mapping[str, Item] = field(default_factory=dict)
    """By id, as the others."""
    responses: Mapping[str, Item] = field(default_factory=dict)
    """Route responses, by `route id/response id`."""
    integrations: Mapping[str, Item] = field(default_factory=dict)
    stages: Mapping[str, Item] = field(default_factory=dict)
    """By name."""
    deployments: Mapping[str, Item] = field(default_factory=dict)
    snapshots: Mapping[str, Item] = field(default_factory=dict)
    """What was deployed, by the deployment's id: `settings`, `routes`, `responses`, `integrations`. The deployment that
    stages with AutoDeploy follow has none: it is what the API is now."""
    generation: int = 0

    @property
    def protocol(self) -> str:
        """`HTTP` or `WEBSOCKET`."""
        return str(self.settings["ProtocolType"])

    @property
    def ident(self) -> str:
        """`account:region:id`, by which APIs are listed."""
        return f"{self.account}:{self.region}:{self.id}"


_FUNCTION_URI: Final = re.compile(
    r"^arn:aws[a-z-]*:apigateway:[a-z0-9-]+:lambda:path/2015-03-31/functions/(?P<arn>.+)/invocations$"
)


def function_arn_of(integration_uri: str) -> str:
    """Return the function's ARN within an IntegrationUri, which may be the ARN itself or the path of its Invoke."""
    match = _FUNCTION_URI.match(integration_uri)
    return match["arn"] if match else integration_uri
