"""The errors that the protocol layer itself finds, before an operation is known or run."""

from __future__ import annotations

from lambent_platform.contracts.errors import ApiError


def serialization_error(message: str) -> ApiError:
    """Return the error for a body whose JSON types are not those of the model."""
    return _lower("SerializationException", 400, message)


def unknown_operation(what: str, *, status: int = 404) -> ApiError:
    """Return the error for a path, target or action that no service model knows."""
    return _lower("UnknownOperationException", status, what)


def invalid_action(action: str) -> ApiError:
    """Return the error of the query protocol for an `Action` that the service does not have."""
    return _lower("InvalidAction", 400, f"The action {action[:256]} is not valid for this endpoint.")


def entity_too_large(limit: int, operation: str) -> ApiError:
    """Return Lambda's error for a control-plane body over `limit` bytes."""
    message = f"Request must be smaller than {limit} bytes for the {operation} operation"
    return _lower("RequestEntityTooLargeException", 413, message)


def request_timeout() -> ApiError:
    """Return the error for a body that stopped coming."""
    return _lower("RequestTimeoutException", 408, "The request body did not arrive in time")


def _lower(code: str, status: int, message: str) -> ApiError:
    error = ApiError(message, code=code, status=status)
    error.message_key = "message"
    return error
