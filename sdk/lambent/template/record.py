"""What a stack has made: kept by the platform, so that it can be changed and removed from anywhere.

A resource is written down before it is made, and stays written down until it is gone; whatever happens in between, the
next deployment knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, Self

VERSION: Final = 1


@dataclass(slots=True)
class Recorded:
    """One resource of a stack."""

    logical_id: str
    type: str
    identity: dict[str, str]
    """What its API calls it: `{"FunctionName": …}`. Empty where it was to be made and nobody saw its name."""
    state: Literal["making", "made"] = "making"
    needs: list[str] = field(default_factory=list)
    """Logical ids that it refers to, and that therefore stay until it is gone."""
    retain: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    """What its API does not tell again, such as what it was made of."""

    @property
    def name(self) -> str:
        """Its identity as people read it."""
        return shown_identity(self.identity)


@dataclass(slots=True)
class StackRecord:
    """A stack as the platform keeps it."""

    name: str
    resources: dict[str, Recorded] = field(default_factory=dict)
    leaving: list[Recorded] = field(default_factory=list)
    """Resources that others have replaced, and that are still there."""
    outputs: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    """Whether the last deployment came to its end."""
    revision: int = 0
    """Counts its writings; 0 is one that was never written."""

    def to_api(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "version": VERSION,
            "resources": [asdict(each) for each in self.resources.values()],
            "leaving": [asdict(each) for each in self.leaving],
            "outputs": self.outputs,
            "complete": self.complete,
        }

    @classmethod
    def from_api(cls, name: str, data: Mapping[str, Any], revision: int) -> Self:
        """Read what `to_api` wrote."""
        resources = [Recorded(**each) for each in data["resources"]]
        return cls(
            name=name,
            resources={each.logical_id: each for each in resources},
            leaving=[Recorded(**each) for each in data["leaving"]],
            outputs=dict(data["outputs"]),
            complete=bool(data["complete"]),
            revision=revision,
        )


def shown_identity(identity: Mapping[str, Any]) -> str:
    """Return an identity as one text."""
    return "/".join(str(value) for value in identity.values())
