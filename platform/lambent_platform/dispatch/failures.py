"""The errors that the platform itself ends calls with."""

from __future__ import annotations

from lambent_platform.contracts.errors import ApiError
from lambent_platform.contracts.invocation import Reply


def failure_of(reply: Reply) -> ApiError:
    """Return the error of a reply whose `failure` is set."""
    status = {"ResourceNotFoundException": 404, "TooManyRequestsException": 429}.get(reply.failure, 500)
    return ApiError(
        reply.payload.decode(errors="replace"),
        code=reply.failure,
        status=status,
        Type="User" if status < 500 else "Service",
    )
