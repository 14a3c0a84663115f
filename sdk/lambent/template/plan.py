"""What a deployment has to do, from what is wanted, what is there, and what the stack made before. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lambent.errors import LambentError
from lambent.template.graph import Resource
from lambent.template.record import Recorded, StackRecord
from lambent.template.values import Unknown, is_deferred

Action = Literal["create", "update", "replace", "delete", "leave", "none"]
SHOWN_CHARS: Final = 100
HIDDEN: Final = "****"


class PlanError(LambentError):
    """The plan cannot be: something is there already that the stack did not make."""


@dataclass(frozen=True, slots=True)
class Desired:
    """A resource as the template wants it. Values may be `Unknown` until what they refer to is made.

    `identity` is what its API will call it, as far as that can be said before it is made.
    """

    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    payload: Any = None
    """What is needed to make it and not to compare it, such as a package."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A resource as the platform has it."""

    identity: Mapping[str, str]
    settings: Mapping[str, Any]
    attributes: Mapping[str, str]
    """What `Ref` (under the empty name) and `Fn::GetAtt` give."""
    owner: tuple[str, str] | None = None
    """(stack, logical id) by its tags, where it can have any."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting and what becomes of it; None is "not there"."""

    setting: str
    before: Any
    after: Any


@dataclass(slots=True)
class Step:
    """What is to be done with one resource."""

    action: Action
    logical_id: str
    type: str
    name: str
    changes: Sequence[Change] = ()
    resource: Resource | None = None
    recorded: Recorded | None = None
    existing: Existing | None = None
    reason: str = ""


@dataclass(slots=True)
class Plan:
    """Every step in the order in which they are taken: what is made or changed, then what goes."""

    steps: list[Step] = field(default_factory=list)
    notes: Sequence[str] = ()
    resumes: bool = False
    """Whether the last deployment of the stack did not come to its end."""

    @property
    def changes_anything(self) -> bool:
        """Whether there is something to do."""
        return any(step.action != "none" for step in self.steps)

    def count(self, action: Action) -> int:
        """How many steps have this action."""
        return sum(step.action == action for step in self.steps)


def differences(
    existing: Mapping[str, Any], desired: Mapping[str, Any], *, optional: frozenset[str] = frozenset()
) -> list[Change]:
    """Return the settings that differ. Those in `optional` count only where the template has them."""
    changes = [
        Change(setting, existing.get(setting), value)
        for setting, value in desired.items()
        if is_deferred(value) or existing.get(setting) != value
    ]
    changes += [
        Change(setting, value, None)
        for setting, value in existing.items()
        if setting not in desired and setting not in optional and value not in (None, "", [], {})
    ]
    return changes


def decide(
    resource: Resource,
    desired: Desired,
    existing: Existing | None,
    recorded: Recorded | None,
    *,
    fixed: frozenset[str],
    optional: frozenset[str] = frozenset(),
    adopt: bool = False,
    stack: str = "",
) -> Step:
    """Return what is to be done with one resource of the template.

    `existing` is what is there under the recorded identity, else under the desired one; `fixed` are the settings that
    its API cannot change.

    Raises:
        PlanError: it exists, and this stack did not make it.
    """
    known = {key: value for key, value in desired.identity.items() if not isinstance(value, Unknown)}
    name = "/".join(map(str, (existing.identity if existing else known).values()))
    step = Step(
        "none", resource.logical_id, resource.type, name, resource=resource, recorded=recorded, existing=existing
    )
    if existing is None:
        step.action = "create"
        step.reason = "" if recorded is None or recorded.state == "making" else "it is gone"
        return step
    if recorded is None and not adopt and existing.owner != (stack, resource.logical_id):
        raise PlanError(
            f"{resource.logical_id}: {resource.type} {name} is there already, and this stack did not make it: "
            "remove it, give yours another name, or take it over with --adopt"
        )
    renamed = [
        Change(key, existing.identity.get(key), value)
        for key, value in known.items()
        if existing.identity.get(key) != value
    ]
    step.changes = [*renamed, *differences(existing.settings, desired.settings, optional=optional)]
    if renamed or any(change.setting in fixed for change in step.changes):
        step.action = "replace"
        step.name = "/".join(map(str, known.values())) or name
    elif step.changes:
        step.action = "update"
    elif recorded is None:
        step.action = "update"
        step.reason = "it becomes part of the stack"
    return step


def removals(record: StackRecord, wanted: Sequence[str]) -> list[Step]:
    """Return what the stack made and the template does not have, those first that need others."""
    gone = {name: each for name, each in record.resources.items() if name not in wanted}
    ordered: list[Recorded] = list(record.leaving)
    # Every one before those that it needs; a circle, which no template makes, does not hold anything up.
    waiting = dict(gone)
    while waiting:
        free = [
            name
            for name in waiting
            if not any(name in other.needs for other in waiting.values() if other.logical_id != name)
        ]
        for name in free or list(waiting)[:1]:
            ordered.append(waiting.pop(name))
    return [
        Step(
            "leave" if each.retain else "delete",
            each.logical_id,
            each.type,
            each.name,
            recorded=each,
            reason="its DeletionPolicy is Retain" if each.retain else "",
        )
        for each in ordered
    ]


def details(change: Change) -> list[Change]:
    """Return a change of a mapping as the changes of what is in it, of anything else as it is."""
    before, after = change.before, change.after
    if not (isinstance(before, Mapping) and isinstance(after, Mapping) and before and after):
        return [change]
    found: list[Change] = []
    for key in [*before, *(key for key in after if key not in before)]:
        if before.get(key) != after.get(key) or is_deferred(after.get(key)):
            found += details(Change(f"{change.setting}.{key}", before.get(key), after.get(key)))
    return found


def shown_change(change: Change, secrets: frozenset[str] = frozenset()) -> tuple[str, str]:
    """Return both sides of a change as the plan shows them.

    Where a secret is put, what was there before is as secret, and nobody knows it any more: all of it is hidden.
    """
    before, after = shown(change.before, secrets), shown(change.after, secrets)
    text = change.after if isinstance(change.after, str) else json.dumps(change.after, default=str)
    hidden = change.before not in (None, "") and any(secret in text for secret in secrets)
    return HIDDEN if hidden else before, after


def shown(value: Any, secrets: frozenset[str] = frozenset()) -> str:
    """Return a setting's value as the plan shows it, without secrets and not too long."""
    if value is None or value == "":
        return "(none)"
    text = str(value) if isinstance(value, str | Unknown) else json.dumps(value, default=str)
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 3] + "..."
