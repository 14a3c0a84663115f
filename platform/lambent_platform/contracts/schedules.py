"""Schedules and rules, and the firings that their ticks become. Times are ms since the epoch, in event time.

Source: EventBridge Scheduler API reference and User Guide; EventBridge API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

DEFAULT_GROUP: Final = "default"
DEFAULT_BUS: Final = "default"
SCHEDULES_MAX: Final = 1_000_000
"""Schedules and rules of a partition, which has those of an account and region or a part of them."""
GROUPS_MAX: Final = 500
RULES_MAX: Final = 300
TARGETS_MAX: Final = 5
"""Targets of one rule."""
TAGS_MAX: Final = 50
PENDING_MAX: Final = 2000
"""Firings of one schedule that wait for their target: more than a day of minutes. With so many its ticks wait too."""
FIRINGS_MAX: Final = 200_000
"""Firings of a partition; with so many, the ticks of those schedules wait that have more than their share."""
PENDING_SHARE: Final = 100
RETRIES_DEFAULT: Final = 185
AGE_S_DEFAULT: Final = 86_400

SourceKind = Literal["schedule", "rule"]


def schedule_arn(account: str, region: str, group: str, name: str) -> str:
    """Return a schedule's ARN."""
    return f"arn:aws:scheduler:{region}:{account}:schedule/{group}/{name}"


def group_arn(account: str, region: str, name: str) -> str:
    """Return the ARN of a group of schedules."""
    return f"arn:aws:scheduler:{region}:{account}:schedule-group/{name}"


def rule_arn(account: str, region: str, name: str) -> str:
    """Return the ARN of a rule of the default bus."""
    return f"arn:aws:events:{region}:{account}:rule/{name}"


def schedule_id(account: str, region: str, group: str, name: str) -> str:
    """How keys on Redis name a schedule."""
    return f"schedule/{account}:{region}:{group}/{name}"


def rule_id(account: str, region: str, name: str) -> str:
    """How keys on Redis name a rule."""
    return f"rule/{account}:{region}:{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """A schedule or a rule as it is stored: what ticks.

    `data` has the members of the service's own model, and of ours: `Arn`, `Account`, `Region`, `CreatedMs`,
    `ModifiedMs`, `AnchorMs` (where a rate counts from) and `Incarnation` (tells it from one of that name before).
    """

    id: str
    data: Mapping[str, Any]
    next_ms: int | None = None
    """Its next tick; None where it has none, or is disabled."""
    passed: int = 0
    generation: int = 0
    """Changes with every write of `data`; 0 before the first."""

    @property
    def kind(self) -> SourceKind:
        """Which service it belongs to."""
        return "rule" if self.id.startswith("rule/") else "schedule"

    @property
    def arn(self) -> str:
        """Its ARN."""
        return str(self.data["Arn"])

    @property
    def enabled(self) -> bool:
        """Whether it ticks."""
        return str(self.data.get("State", "ENABLED")) != "DISABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """One tick, or one event that a rule matched, on its way to one target.

    It knows all that it needs: its schedule or rule may be gone by then.
    """

    id: str
    """Made of schedule, tick and target, so that firing twice is firing once."""
    source: str
    """The id of the schedule or rule."""
    arn: str
    account: str
    region: str
    event_id: str
    tick_ms: int
    since_ms: int
    """When it could first be sent: its age counts from there."""
    target: Mapping[str, Any]
    """In the shape of the service's model."""
    event: str = ""
    """The event that a rule matched, as JSON; nothing for a tick. A text, so that all that JSON can say is kept."""
    cancellable: bool = False
    """It waits within a flexible window, and is not sent where its schedule is gone or disabled by then."""
    attempts: int = 0
    """Attempts that failed."""
    failure: Mapping[str, str] = field(default_factory=dict)
    """Why it is given up (`code`, `message`, `condition`): only its dead-letter queue is still to be told."""

    @property
    def kind(self) -> SourceKind:
        """Which service it belongs to."""
        return "rule" if self.source.startswith("rule/") else "schedule"

    def to_dict(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        return cls(**data)
