"""What every kind of resource can do: say how it is wanted, be read, made, changed and removed."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from lambent.deployment import OnProgress
from lambent.services import Services
from lambent.template.plan import Desired, Existing
from lambent.template.stack import Environment
from lambent.template.values import Unknown, is_deferred, plain

STACK_TAG: Final = "lambent:stack"
LOGICAL_TAG: Final = "lambent:logical-id"
LATEST_CODE: Final = "what is deployed"
"""What an alias that follows its function is at."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where resources are made, and for which stack."""

    services: Services
    environment: Environment
    folder: Path
    template: Path | None
    tell: OnProgress
    timeout_s: float

    @property
    def stack(self) -> str:
        """The stack's name."""
        return self.environment.stack

    def arn(self, service: str, rest: str) -> str:
        """Return an ARN of this account and region."""
        return f"arn:aws:{service}:{self.environment.region}:{self.environment.account}:{rest}"

    def name(self, logical_id: str, limit: int, suffix: str = "") -> str:
        """Return the name of a resource that its owner has not named: stack, logical id; a hash where that is long."""
        whole = f"{self.stack}-{logical_id}"
        if len(whole) + len(suffix) <= limit:
            return whole + suffix
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        return f"{whole[: limit - len(suffix) - 9]}-{digest}{suffix}"

    def tags(self, logical_id: str, given: Any = None) -> dict[str, str]:
        """Return the tags of a resource: its owner's, in either of the forms that there are, and the stack's."""
        own = {each["Key"]: each["Value"] for each in given} if isinstance(given, list) else dict(given or {})
        return {**own, STACK_TAG: self.stack, LOGICAL_TAG: logical_id}


class Applier(ABC):
    """One type of resource. Stateless; every method that calls the platform raises `ApiError`."""

    fixed: ClassVar[frozenset[str]] = frozenset()
    """Settings that the API cannot change: another value needs another resource."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """Settings that are left alone where the template does not have them."""
    volatile: ClassVar[frozenset[str]] = frozenset()
    """Attributes that are others after an update."""

    @abstractmethod
    def desired(self, target: Target, logical_id: str, properties: Mapping[str, Any]) -> Desired:
        """Return the resource as its evaluated properties want it; anything in them may be `Unknown`."""

    @abstractmethod
    async def read(self, target: Target, identity: Mapping[str, str]) -> Existing | None:
        """Return what is there under an identity, None where nothing is."""

    async def find(self, target: Target, logical_id: str, desired: Desired) -> Existing | None:
        """Return what is there under the name that it is to have, None where nothing is."""
        if not desired.identity or is_deferred(desired.identity):
            return None
        return await self.read(target, dict(desired.identity))

    @abstractmethod
    def predicted(self, target: Target, desired: Desired) -> Mapping[str, Any]:
        """Return what `Ref` and `Fn::GetAtt` will give, as far as that can be said before it is made."""

    @abstractmethod
    async def create(self, target: Target, logical_id: str, desired: Desired) -> Existing:
        """Make it."""

    @abstractmethod
    async def update(self, target: Target, existing: Existing, desired: Desired, changed: frozenset[str]) -> Existing:
        """Change the settings named in `changed`."""

    @abstractmethod
    async def delete(self, target: Target, identity: Mapping[str, str]) -> None:
        """Remove it; that it is gone already is no error."""


def flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as settings of their own, so that a plan says which of them differ."""
    return {f"{prefix}.{key}": value for key, value in values.items()}


def unflat(prefix: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a prefix as a mapping."""
    return {
        key.removeprefix(f"{prefix}."): value
        for key, value in settings.items()
        if key.startswith(f"{prefix}.") and value is not None
    }


def owner_of(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """Return (stack, logical id) by a resource's tags."""
    stack = tags.get(STACK_TAG)
    return None if stack is None else (stack, tags.get(LOGICAL_TAG, ""))


def known(value: Any) -> Any:
    """Return a value without the lines that a template's values know."""
    return value if isinstance(value, Unknown) else plain(value)


def json_value(value: Any) -> Any:
    """Return JSON, given as text or as a tree, as a tree."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return known(value)


def function_name(value: Any) -> Any:
    """Return a function's name where its name or its ARN is given."""
    if isinstance(value, str) and value.startswith("arn:"):
        return value.split(":")[6]
    return value
