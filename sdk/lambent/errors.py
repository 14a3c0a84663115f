"""What can go wrong for somebody who uses the client.

LambentError
├── ApiError                 the platform refused: code, status, message (ResourceNotFound, TooManyRequests …)
├── FunctionError            the function itself failed
├── EndpointUnreachable      nothing answers at the endpoint
├── DeployFailed             the platform could not make the function runnable
├── PackageError             the folder cannot be packed
└── SpecError                lambent.toml, or what stands in for it, is wrong
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent_platform.contracts.errors import (
    ApiError,
    InvalidParameterValue,
    InvalidRequestContent,
    LambentError,
    PreconditionFailed,
    RequestTooLarge,
    ResourceConflict,
    ResourceNotFound,
    TooManyRequests,
    ValidationFailed,
)

__all__ = [
    "ApiError",
    "DeployFailed",
    "EndpointUnreachable",
    "FunctionError",
    "InvalidParameterValue",
    "InvalidRequestContent",
    "LambentError",
    "PackageError",
    "PreconditionFailed",
    "RequestTooLarge",
    "ResourceConflict",
    "ResourceNotFound",
    "SpecError",
    "TooManyRequests",
    "ValidationFailed",
    "api_error",
]

_BY_CODE: Final = {
    kind.code: kind
    for kind in (
        InvalidParameterValue,
        InvalidRequestContent,
        PreconditionFailed,
        RequestTooLarge,
        ResourceConflict,
        ResourceNotFound,
        TooManyRequests,
        ValidationFailed,
    )
}


class EndpointUnreachable(LambentError):
    """Nothing listens at the endpoint, or it stopped answering; whether a request was carried out is not known."""


class PackageError(LambentError):
    """The folder cannot be packed: it is not there, too large, or links out of itself."""


class SpecError(LambentError):
    """The description of a function (lambent.toml and what was given beside it) is incomplete or wrong."""


class DeployFailed(LambentError):
    """The platform has the function but cannot run it.

    `code` is Lambda's StateReasonCode, `build_log` the log of the dependency build where there was one.
    """

    def __init__(self, message: str, *, code: str = "", build_log: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.build_log = build_log


class FunctionError(LambentError):
    """The handler raised, timed out, ran out of memory or never came up.

    `type` and `trace` are what its runtime reported; `log` is the end of its log where that was asked for.
    """

    def __init__(self, message: str, *, type: str, trace: Sequence[str], request_id: str, log: str) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.message = message
        self.type = type
        self.trace = tuple(trace)
        self.request_id = request_id
        self.log = log


def api_error(code: str, message: str, status: int) -> ApiError:
    """Return the error for an answer of the API, as the class of its own where its code has one."""
    kind = _BY_CODE.get(code, ApiError)
    return kind(message, code=code, status=status)
