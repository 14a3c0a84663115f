"""What an asynchronous event carries besides its payload, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from lambent_platform.contracts.limits import ASYNC_MAX_AGE_S_DEFAULT, ASYNC_RETRIES_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMeta:
    """The rules that an event was accepted under, and when. Does not change between attempts.

    `on_success` and `on_failure` are the ARNs of destinations ("" for none).
    """

    accepted_at_ms: int
    """Event time."""
    function_arn: str
    """With the qualifier that was called, `$LATEST` where none was: `requestContext.functionArn` of envelopes."""
    retries_max: int = ASYNC_RETRIES_DEFAULT
    age_max_s: int = ASYNC_MAX_AGE_S_DEFAULT
    on_success: str = ""
    on_failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of an event after an attempt; made by `core.retries`."""

    action: Literal["done", "retry", "dead"]
    due_ms: int = 0
    delivery: dict[str, Any] | None = None
    """What a destination is sent: `{destination, envelope}`."""
