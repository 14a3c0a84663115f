"""How a build ends other than well."""

from __future__ import annotations

from lambent_platform.contracts.errors import LambentError


class BuildFailed(LambentError):
    """What was asked for cannot be built; trying again would not help. `code` is a `StateReasonCode`."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class InfrastructureFailed(LambentError):
    """Something that the build leans on was away: an engine, a store, the network. It is worth another try."""


class Stopping(BaseException):
    """The builder was told to end, or lost its build: clean up and go. Not to be caught on the way."""
