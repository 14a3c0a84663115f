"""Lambent for people: the client and the `lambent` command."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lambent.aio import AsyncClient as AsyncClient
    from lambent.clock import ClockTime as ClockTime
    from lambent.errors import ApiError as ApiError
    from lambent.errors import DeployFailed as DeployFailed
    from lambent.errors import EndpointUnreachable as EndpointUnreachable
    from lambent.errors import FunctionError as FunctionError
    from lambent.errors import LambentError as LambentError
    from lambent.errors import PackageError as PackageError
    from lambent.errors import ResourceConflict as ResourceConflict
    from lambent.errors import ResourceNotFound as ResourceNotFound
    from lambent.errors import SpecError as SpecError
    from lambent.errors import TooManyRequests as TooManyRequests
    from lambent.records import Environment as Environment
    from lambent.records import Function as Function
    from lambent.records import InvocationResult as InvocationResult
    from lambent.records import KeepAlive as KeepAlive
    from lambent.records import LogEvent as LogEvent
    from lambent.spec import FunctionSpec as FunctionSpec
    from lambent.streaming import AsyncInvocationStream as AsyncInvocationStream
    from lambent.sync import Client as Client
    from lambent.sync import InvocationStream as InvocationStream

_HOMES = {
    "lambent.aio": ("AsyncClient",),
    "lambent.clock": ("ClockTime",),
    "lambent.errors": (
        "ApiError", "DeployFailed", "EndpointUnreachable", "FunctionError", "LambentError", "PackageError",
        "ResourceConflict", "ResourceNotFound", "SpecError", "TooManyRequests",
    ),
    "lambent.records": ("Environment", "Function", "InvocationResult", "KeepAlive", "LogEvent"),
    "lambent.spec": ("FunctionSpec",),
    "lambent.streaming": ("AsyncInvocationStream",),
    "lambent.sync": ("Client", "InvocationStream"),
}  # fmt: skip

__all__ = sorted(name for names in _HOMES.values() for name in names)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    # The `lambent` command starts through this package; it must not pay for the HTTP client to print its help.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'lambent' has no attribute {name!r}")
