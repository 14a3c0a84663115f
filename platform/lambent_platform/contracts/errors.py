"""The errors that a caller of the platform can meet.

    LambentError
    ├── ApiError                    an answer in AWS's shape: code, status, message
    │   ├── ResourceNotFound, ResourceConflict, InvalidParameterValue, ValidationFailed …
    ├── StoreUnavailable            Redis is away: 503 with Retry-After
    └── SandboxError                a sandbox could not be started or was lost

Exceptions of other libraries are translated where they are met first (the store, the drivers); the gateway turns
an `ApiError` into HTTP in one place.
"""

from __future__ import annotations

from typing import Any


class LambentError(Exception):
    """Base of every error that the platform raises on purpose."""


class StoreUnavailable(LambentError):
    """Redis or the object store cannot be reached; nothing was changed, or it is not known."""


class SandboxError(LambentError):
    """A sandbox could not be started, or was lost, through no fault of the function."""


class ApiError(LambentError):
    """An error in the shape of an AWS service.

    `code` travels in `x-amzn-ErrorType`; `extra` are further members of the error's shape (`Reason`, `Type`).
    """

    code = "ServiceException"
    status = 500
    message_key = "Message"
    extra: dict[str, Any]

    def __init__(self, message: str = "", *, code: str | None = None, status: int | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.extra = extra


class ServiceException(ApiError):
    """Something failed inside the platform."""

    extra_type = "Service"


class ResourceNotFound(ApiError):
    """No such function, version, alias or setting."""

    code, status = "ResourceNotFoundException", 404


class ResourceConflict(ApiError):
    """It exists already, or its state does not allow this now."""

    code, status, message_key = "ResourceConflictException", 409, "message"


class InvalidParameterValue(ApiError):
    """A parameter is of the right shape but not acceptable."""

    code, status, message_key = "InvalidParameterValueException", 400, "message"


class ValidationFailed(ApiError):
    """A parameter breaks a constraint of the service model."""

    code, status, message_key = "ValidationException", 400, "message"


class InvalidRequestContent(ApiError):
    """The body is not JSON."""

    code, status, message_key = "InvalidRequestContentException", 400, "message"


class RequestTooLarge(ApiError):
    """The payload of an invocation is over its limit."""

    code, status, message_key = "RequestTooLargeException", 413, "message"


class PreconditionFailed(ApiError):
    """The RevisionId given is not the current one."""

    code, status, message_key = "PreconditionFailedException", 412, "message"


class TooManyRequests(ApiError):
    """No concurrency left. `extra["Reason"]` says whose."""

    code, status, message_key = "TooManyRequestsException", 429, "message"


class RecursiveInvocation(ApiError):
    """The invocation would be one turn too many of a loop, and the function does not allow that."""

    code, status = "RecursiveInvocationException", 400


class NotImplementedByUs(ApiError):
    """An operation of the service model that is not served."""

    code, status, message_key = "NotImplementedException", 501, "message"
