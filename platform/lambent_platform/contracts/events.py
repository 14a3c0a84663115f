"""What an asynchronous event carries besides its payload, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from lambent_platform.contracts.limits import ASYNC_MAX_AGE_S_DEFAULT, ASYNC_RETRIES_DEFAULT

Condition = Literal["Success", "RetriesExhausted", "EventAgeExceeded"]
DeliveryKind = Literal["dead_letter", "on_failure", "on_success"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMeta:
    """The rules that an event was accepted under, and when. Does not change between attempts.

    `on_success`, `on_failure` and `dead_letter` are the ARNs of destinations ("" for none).
    """

    accepted_at_ms: int
    """Event time."""
    function_arn: str
    """With the qualifier that was called, `$LATEST` where none was: `requestContext.functionArn` of envelopes."""
    retries_max: int = ASYNC_RETRIES_DEFAULT
    age_max_s: int = ASYNC_MAX_AGE_S_DEFAULT
    on_success: str = ""
    on_failure: str = ""
    dead_letter: str = ""

    @property
    def expires_at_ms(self) -> int:
        """The event time until which an attempt may begin."""
        return self.accepted_at_ms + self.age_max_s * 1000

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo `to_dict`; fields that this release does not know are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an event ended: kept with it until everybody was told who wants to know, and while it is dead."""

    condition: Condition
    ended_at_ms: int
    """Event time."""
    attempts: int
    """How many were made."""
    status_code: int = 200
    """Of the last attempt, as Lambda's destinations give it: 200 also where the function failed."""
    function_error: str = ""
    executed_version: str = ""
    error_type: str = ""
    error_message: str = ""
    """The first KB."""
    deliveries: tuple[tuple[DeliveryKind, str], ...] = ()
    """Who is told: kind and ARN. The scripts read this member."""

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo `to_dict`; fields that this release does not know are left out."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        return cls(**{**values, "deliveries": tuple((kind, arn) for kind, arn in values.get("deliveries", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of an event after an attempt; made by `core.retries`."""

    action: Literal["done", "retry", "dead"]
    due_ms: int = 0
    ending: Ending | None = None
    """Of a dead event always, of one that is done where a destination wants to know."""
    response: bytes = b""
    """What the last attempt returned, where a destination is told."""
