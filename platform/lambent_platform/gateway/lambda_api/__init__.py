"""Lambda's own API: one module a resource.

`serve_lambda` registers all of them but Invoke, which needs a dispatcher.
"""

from __future__ import annotations

from typing import Final

from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.lambda_api.access import LambdaServices
from lambent_platform.gateway.lambda_api.account import AccountOperations
from lambent_platform.gateway.lambda_api.aliases import AliasOperations
from lambent_platform.gateway.lambda_api.concurrency import ConcurrencyOperations
from lambent_platform.gateway.lambda_api.event_invoke_configs import EventInvokeConfigOperations
from lambent_platform.gateway.lambda_api.event_source_mappings import EventSourceMappingOperations
from lambent_platform.gateway.lambda_api.functions import FunctionOperations
from lambent_platform.gateway.lambda_api.policy import PolicyOperations
from lambent_platform.gateway.lambda_api.recursion import RecursionOperations
from lambent_platform.gateway.lambda_api.tags import TagOperations
from lambent_platform.gateway.lambda_api.url_configs import UrlConfigOperations
from lambent_platform.gateway.lambda_api.versions import VersionOperations

__all__ = ["LAMBDA_OPERATIONS", "LambdaServices", "serve_lambda"]

LAMBDA_OPERATIONS: Final = (
    FunctionOperations,
    VersionOperations,
    AliasOperations,
    TagOperations,
    PolicyOperations,
    ConcurrencyOperations,
    UrlConfigOperations,
    EventInvokeConfigOperations,
    EventSourceMappingOperations,
    RecursionOperations,
    AccountOperations,
)
"""What needs only what is stored."""


def serve_lambda(registry: Registry, services: LambdaServices) -> None:
    """Register the operations on functions and everything that belongs to them."""
    for operations in LAMBDA_OPERATIONS:
        registry.serve("lambda", operations(services))
