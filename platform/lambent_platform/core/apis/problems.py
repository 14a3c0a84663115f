"""Errors of API Gateway v2, in its own codes and, where they are known, its own words."""

from __future__ import annotations

from lambent_platform.contracts.errors import ApiError


def bad_request(message: str) -> ApiError:
    """Return the error for a request that cannot be done as it is."""
    return ApiError(message, code="BadRequestException", status=400)


def conflict(message: str) -> ApiError:
    """Return the error for what exists already, is in use, or is changed by others."""
    return ApiError(message, code="ConflictException", status=409)


def not_found(kind: str, key: str) -> ApiError:
    """Return the error for an item that does not exist; `kind` is `API`, `Route` …."""
    return ApiError(f"Invalid {kind} identifier specified {key}", code="NotFoundException", status=404)


def limit_reached(kind: str, most: int) -> ApiError:
    """Return the error for one item more than there may be."""
    message = f"Unable to complete operation due to a limit: an API can have at most {most} {kind}."
    return ApiError(message, code="TooManyRequestsException", status=429)


def not_served(what: str, instead: str) -> ApiError:
    """Return the error for a setting that would be ignored, which a caller must know."""
    return bad_request(f"{what} is not served yet: {instead}")
