"""A stack's deployment and its end: read what is there, plan, act, and write down every step before and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lambent.deployment import DEPLOY_TIMEOUT_S, OnProgress
from lambent.services import Services
from lambent.template.appliers import APPLIERS
from lambent.template.appliers.base import Applier, Target
from lambent.template.graph import Resource
from lambent.template.plan import Change, Desired, Existing, Plan, PlanError, Step, decide, differences, removals
from lambent.template.record import Recorded, StackRecord, shown_identity
from lambent.template.record_keeping import RecordKeeper
from lambent.template.stack import Environment, Stack
from lambent.template.values import Map, Place, Unknown, is_deferred, plain

_POLICY: Final = "DeletionPolicy"
OnStep = Callable[[Step, Literal["begun", "done"]], None]


@dataclass(frozen=True, slots=True)
class Progressing:
    """Whom to tell: of steps, and within a step of a function's deployment."""

    step: OnStep = lambda *_: None
    function: OnProgress = lambda _: None


class StackDeployment:
    """One deployment of one stack. Make a new one for the next."""

    def __init__(
        self,
        services: Services,
        stack: Stack,
        *,
        adopt: bool = False,
        timeout_s: float = DEPLOY_TIMEOUT_S,
        progress: Progressing | None = None,
    ) -> None:
        self._stack = stack
        self._adopt = adopt
        self._progress = progress or Progressing()
        self._keeper = RecordKeeper(services.transport)
        self._target = Target(services, stack.environment, stack.folder, stack.file, self._progress.function, timeout_s)
        self._record = StackRecord(stack.name)
        self._attributes: dict[str, Mapping[str, Any]] = {}
        self._moved: dict[str, str] = {}
        """Logical ids whose resource the stack made under another one: new → old."""

    async def plan(self) -> Plan:
        """Read what is there, and return what is to be done.

        Raises:
            PlanError: something is there already that the stack did not make. SpecError: a resource makes no sense.
            PackageError: code cannot be packed.
        """
        self._record = await self._keeper.load(self._stack.name) or StackRecord(self._stack.name)
        plan = Plan(notes=self._stack.notes, resumes=self._record.revision > 0 and not self._record.complete)
        seen: dict[tuple[str, str], str] = {}
        for resource in self._stack.resources:
            applier = APPLIERS[resource.type]
            desired = self._desired(resource, applier)
            if desired.identity and not is_deferred(desired.identity):
                key = (resource.type, shown_identity(desired.identity))
                if key in seen:
                    raise PlanError(f"{resource.logical_id} and {seen[key]} are both {resource.type} {key[1]}")
                seen[key] = resource.logical_id
            step = await self._step(resource, applier, desired)
            plan.steps.append(step)
            self._attributes[resource.logical_id] = _planned_attributes(
                step, applier, applier.predicted(self._target, desired)
            )
        plan.steps += removals(
            self._record, [*(each.logical_id for each in self._stack.resources), *self._moved.values()]
        )
        return plan

    async def apply(self, plan: Plan) -> dict[str, str]:
        """Do what the plan says, and return the outputs.

        Whatever stops it, what was done is written down, and the next deployment goes on from there.

        Raises:
            ApiError: the platform refused something. DeployFailed: a function cannot be run, or somebody else deploys
            the same stack.
        """
        if plan.changes_anything:
            # Written before anything is touched: who planned from an older record than another is told so here.
            self._record.complete = False
            await self._keeper.save(self._record)
        self._attributes = {}
        for step in plan.steps:
            if step.resource is not None:
                await self._make(step, step.resource)
        for step in removals(self._record, [each.logical_id for each in self._stack.resources]):
            await _remove(step, self._record, self._keeper, self._target, self._progress)
        outputs = self._outputs()
        # Written even where nothing changed: what needs what, and what is shown, may differ.
        self._record.outputs, self._record.complete = outputs, True
        await self._keeper.save(self._record)
        return outputs

    def _desired(self, resource: Resource, applier: Applier) -> Desired:
        place = Place(f"{resource.logical_id}.Properties", resource.place.line)
        properties = self._stack.evaluate(resource.properties, place, self._known)
        return applier.desired(self._target, resource.logical_id, plain(properties))

    def _known(self, logical_id: str, attribute: str | None) -> Any:
        attributes = self._attributes.get(logical_id, {})
        return attributes.get(
            attribute or "", Unknown(logical_id if attribute is None else f"{logical_id}.{attribute}")
        )

    async def _step(self, resource: Resource, applier: Applier, desired: Desired) -> Step:
        recorded = self._record.resources.get(resource.logical_id)
        if recorded is not None and recorded.type != resource.type:
            raise PlanError(
                f"{resource.logical_id} was {recorded.type} and is {resource.type} now: give it another name"
            )
        existing: Existing | None = None
        if recorded is not None and recorded.identity:
            existing = await applier.read(self._target, recorded.identity)
        if existing is None and (recorded is None or recorded.state == "making" or not recorded.identity):
            existing = await applier.find(self._target, resource.logical_id, desired)
            if existing is not None and recorded is None:
                recorded = self._made_before(resource, existing)
        step = decide(
            resource,
            desired,
            existing,
            recorded,
            fixed=applier.fixed,
            optional=applier.optional,
            adopt=self._adopt,
            stack=self._stack.name,
        )
        if recorded is not None and recorded.retain != resource.retain and step.action in ("none", "update"):
            policies = [("Delete", "Retain")[flag] for flag in (recorded.retain, resource.retain)]
            step.changes = [*step.changes, Change(_POLICY, *policies)]
            step.action = "update"
        return step

    def _made_before(self, resource: Resource, existing: Existing) -> Recorded | None:
        """Return the record of a resource that the stack made under a logical id that is no longer in the template."""
        wanted = {each.logical_id for each in self._stack.resources}
        for recorded in self._record.resources.values():
            if recorded.type != resource.type or recorded.identity != dict(existing.identity):
                continue
            if recorded.logical_id in wanted or recorded.logical_id in self._moved.values():
                raise PlanError(
                    f"{resource.logical_id} and {recorded.logical_id} are both {resource.type} {recorded.name}"
                )
            self._moved[resource.logical_id] = recorded.logical_id
            return recorded
        return None

    async def _make(self, step: Step, resource: Resource) -> None:
        """Carry out one step that leaves a resource behind."""
        applier = APPLIERS[resource.type]
        desired = self._desired(resource, applier)
        name = resource.logical_id
        existing = step.existing
        if step.action != "none":
            self._progress.step(step, "begun")
        if step.action in ("create", "replace"):
            before = self._record.resources.get(name)
            if step.action == "replace" and before is not None:
                self._record.leaving.append(before)
            facts = {} if desired.identity else {"settings": plain(desired.settings)}
            self._record.resources[name] = self._recorded(resource, desired.identity, facts)
            await self._keeper.save(self._record)
            existing = await applier.create(self._target, name, desired)
        elif existing is not None and step.action == "update":
            changed = {change.setting for change in step.changes}
            changed |= {
                change.setting for change in differences(existing.settings, desired.settings, optional=applier.optional)
            }
            changed -= {_POLICY}
            if changed:
                existing = await applier.update(self._target, existing, desired, frozenset(changed))
        if existing is None:
            raise PlanError(f"{name} was there when the plan was made, and is gone: run it again")
        self._attributes[name] = existing.attributes
        if name in self._moved:
            self._record.resources.pop(self._moved[name], None)
        self._record.resources[name] = self._recorded(resource, existing.identity, {}, made=True)
        if step.action != "none":
            await self._keeper.save(self._record)
            self._progress.step(step, "done")

    def _recorded(
        self, resource: Resource, identity: Mapping[str, Any], facts: dict[str, Any], *, made: bool = False
    ) -> Recorded:
        return Recorded(
            resource.logical_id,
            resource.type,
            {key: str(value) for key, value in identity.items()},
            "made" if made else "making",
            list(self._stack.needs[resource.logical_id]),
            resource.retain,
            facts,
        )

    def _outputs(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, output in self._stack.outputs.items():
            place = Place(f"Outputs.{name}", self._stack.outputs.lines.get(name, 0))
            value = self._stack.evaluate(Map(output), place, self._known)["Value"]
            found[name] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return found


class StackRemoval:
    """The end of one stack."""

    def __init__(
        self,
        services: Services,
        environment: Environment,
        *,
        timeout_s: float = DEPLOY_TIMEOUT_S,
        progress: Progressing | None = None,
    ) -> None:
        self._progress = progress or Progressing()
        self._keeper = RecordKeeper(services.transport)
        self._target = Target(services, environment, Path(), None, self._progress.function, timeout_s)
        self._record: StackRecord | None = None

    async def plan(self) -> Plan | None:
        """Return what would be removed, None where there is no such stack."""
        self._record = await self._keeper.load(self._target.stack)
        return None if self._record is None else Plan(removals(self._record, ()))

    async def apply(self) -> None:
        """Remove everything, then the record. Run again, it goes on where it was stopped."""
        if self._record is None:
            return
        self._record.complete = False
        await self._keeper.save(self._record)
        for step in removals(self._record, ()):
            await _remove(step, self._record, self._keeper, self._target, self._progress)
        await self._keeper.remove(self._record)


async def _remove(step: Step, record: StackRecord, keeper: RecordKeeper, target: Target, progress: Progressing) -> None:
    """Remove one resource, and then what is written down of it."""
    recorded = step.recorded
    if recorded is None:
        return
    progress.step(step, "begun")
    if step.action == "delete":
        applier = APPLIERS[recorded.type]
        identity: Mapping[str, str] = recorded.identity
        if not identity:
            # It was to be made, and nobody saw what it is called.
            wanted = Desired({}, recorded.facts.get("settings", {}))
            found = await applier.find(target, recorded.logical_id, wanted) if wanted.settings else None
            identity = found.identity if found is not None else {}
        if identity:
            await applier.delete(target, identity)
    if recorded in record.leaving:
        record.leaving.remove(recorded)
    else:
        record.resources.pop(recorded.logical_id, None)
    await keeper.save(record)
    progress.step(step, "done")


def _planned_attributes(step: Step, applier: Applier, predicted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what references to a resource will give, as far as that can be said now."""
    if step.existing is None or step.action in ("create", "replace"):
        return predicted
    attributes: dict[str, Any] = dict(step.existing.attributes)
    if step.action == "update":
        attributes |= {key: Unknown(f"the next version of {step.logical_id}") for key in applier.volatile}
    return attributes
