"""A template file as a stack: its resources in their order, ready to be compared with what is deployed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lambent.errors import SpecError
from lambent.template.common import merged, read_globals
from lambent.template.expansion import expand
from lambent.template.graph import Names, Resource, in_order
from lambent.template.intrinsics import Evaluator, Lookup
from lambent.template.loading import load_template
from lambent.template.parameters import read_parameters
from lambent.template.properties import NOTED_TYPES, REFUSED_TYPES, SAM_TYPES, TYPES
from lambent.template.shapes import check
from lambent.template.values import Map, Place, Seq, TemplateError, Unknown

FILE_NAMES: Final = ("template.yaml", "template.yml", "template.json")
RESOURCES_MAX: Final = 500
"""CloudFormation's limit on the resources of a template."""
SAM_TRANSFORM: Final = "AWS::Serverless-2016-10-31"
STACK_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,127}")

_SECTIONS: Final = {
    "AWSTemplateFormatVersion", "Transform", "Description", "Metadata", "Parameters", "Mappings", "Conditions",
    "Globals", "Resources", "Outputs",
}  # fmt: skip
_ATTRIBUTES: Final = {
    "Type", "Properties", "DependsOn", "Condition", "Metadata", "DeletionPolicy", "UpdateReplacePolicy",
    "IgnoreGlobals",
}  # fmt: skip
_LOGICAL_ID: Final = re.compile(r"[a-zA-Z0-9]{1,255}")


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a stack is deployed to: the values of pseudo parameters."""

    stack: str
    account: str
    region: str

    def pseudo(self) -> dict[str, str]:
        """Return the pseudo parameters."""
        return {
            "AWS::AccountId": self.account,
            "AWS::Region": self.region,
            "AWS::StackName": self.stack,
            "AWS::StackId": f"arn:aws:cloudformation:{self.region}:{self.account}:stack/{self.stack}/lambent",
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
        }


@dataclass(slots=True)
class Stack:
    """A template, resolved as far as it can be without the platform."""

    name: str
    folder: Path
    file: Path
    environment: Environment
    resources: list[Resource]
    """Every one comes after those that it needs."""
    needs: Mapping[str, list[str]]
    outputs: Map
    notes: list[str]
    secrets: frozenset[str]
    names: Names
    noted: Mapping[str, str]
    """Resources that are nothing here: logical id → type."""
    _evaluator: Evaluator = field(repr=False)

    def evaluate(self, value: Any, place: Place, attributes: Callable[[str, str | None], Any]) -> Any:
        """Return a value with everything in it resolved; `attributes` gives what a resource is known to have."""

        def lookup(logical_id: str, attribute: str | None, where: Place) -> Any:
            found, part = self.names.find(logical_id, attribute, where)
            if found in self.noted:
                return self._noted(found, part)
            return attributes(found, part)

        checked: Lookup = lookup
        return self._evaluator.evaluate(value, place, checked)

    def _noted(self, logical_id: str, attribute: str | None) -> str:
        """What somebody who refers to a role, or another such thing, gets."""
        kind, name, place = self.noted[logical_id], f"{self.name}-{logical_id}", self.environment
        arns = {
            "AWS::IAM::Role": f"arn:aws:iam::{place.account}:role/{name}",
            "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{place.account}:policy/{name}",
            "AWS::Logs::LogGroup": f"arn:aws:logs:{place.region}:{place.account}:log-group:{name}:*",
        }
        as_arn = attribute in ("Arn", "PolicyArn") or (attribute is None and kind == "AWS::IAM::ManagedPolicy")
        return arns.get(kind, name) if as_arn else name


def find_template(path: Path) -> Path | None:
    """Return the template in a folder, or the path itself where it is a file; None where there is none."""
    if path.is_file():
        return path
    return next((path / name for name in FILE_NAMES if (path / name).is_file()), None)


def load_stack(file: Path, environment: Environment, parameters: Mapping[str, str] | None = None) -> Stack:
    """Read a template and resolve it.

    Raises:
        SpecError: the file or the stack's name is wrong; says which file, line, resource and property.
    """
    if STACK_NAME.fullmatch(environment.stack) is None:
        raise SpecError(
            f"{environment.stack!r} is no name of a stack (a letter, then letters, digits and -, at most 128): "
            "pass one by --stack"
        )
    try:
        return _Loading(file, environment, parameters or {}).stack()
    except TemplateError as error:
        # The file in front, once, for every error of its content.
        raise SpecError(f"{file}: {error}") from error


class _Loading:
    """One template on its way to a stack."""

    def __init__(self, file: Path, environment: Environment, given: Mapping[str, str]) -> None:
        self._file = file
        self._environment = environment
        self._given = given
        self._notes: dict[str, None] = {}
        self._dropped: frozenset[str] = frozenset()
        """Resources whose condition does not hold."""

    def stack(self) -> Stack:
        template = load_template(self._file)
        _check_sections(template)
        parameters = read_parameters(template.get("Parameters"), self._given)
        for name in ("Mappings", "Conditions", "Resources", "Outputs"):
            if name in template and not isinstance(template[name], Map):
                raise Place(name, template.lines.get(name, 0)).error("must be a mapping")
        evaluator = Evaluator(
            parameters=parameters.values,
            pseudo=self._environment.pseudo(),
            mappings=template.get("Mappings"),
            conditions=template.get("Conditions"),
        )
        for name in template.get("Conditions", ()):
            evaluator.holds(name, Place("Conditions").at(template["Conditions"], name))
        common = read_globals(template.get("Globals"))
        declared, noted = self._resources(template, evaluator, common)
        expanded = expand(declared, self._note, self._common(common, evaluator))
        noted.update({name: kind for name, kind in expanded.implied.items() if name not in noted})
        types = {name: each.type for name, each in expanded.resources.items()} | noted
        if len(types) > RESOURCES_MAX:
            raise TemplateError(f"it makes {len(types)} resources, over the limit of {RESOURCES_MAX}")
        names = Names(types, expanded.parts)
        for resource in expanded.resources.values():
            # What depends on something that is nothing here waits for nothing.
            resource.depends_on -= set(noted)
        ordered, needs = in_order(expanded.resources, names)
        return Stack(
            name=self._environment.stack,
            folder=self._file.parent,
            file=self._file,
            environment=self._environment,
            resources=ordered,
            needs=needs,
            outputs=self._outputs(template, evaluator, names),
            notes=list(self._notes),
            secrets=parameters.secrets,
            names=names,
            noted=noted,
            _evaluator=evaluator,
        )

    def _note(self, place: Place, text: str) -> None:
        self._notes[f"{place.path.replace('.Properties', '')}: {text}"] = None

    def _common(self, common: Mapping[str, Map], evaluator: Evaluator) -> dict[str, Map]:
        """Return what Globals says of the APIs, checked, for those that nobody declares."""
        found = {}
        for kind in ("AWS::Serverless::HttpApi", "AWS::Serverless::Api"):
            place = Place("Globals")
            shape = SAM_TYPES[kind]
            given = evaluator.evaluate(common.get(kind, Map()), place)
            if kind == "AWS::Serverless::Api":
                given.setdefault("StageName", "Prod")
            found[kind] = check(given, shape, place, lambda *_: None)
        return found

    def _resources(
        self, template: Map, evaluator: Evaluator, common: Mapping[str, Map]
    ) -> tuple[dict[str, Resource], dict[str, str]]:
        """Return the resources that are to be, with checked properties, and those that are nothing here."""
        section = template.get("Resources")
        if not section:
            raise TemplateError("has no Resources", line=template.lines.get("Resources", 0))
        if len(section) > RESOURCES_MAX:
            raise TemplateError(f"has {len(section)} resources, over the limit of {RESOURCES_MAX}")
        found: dict[str, Resource] = {}
        noted: dict[str, str] = {}
        self._dropped = frozenset(
            name
            for name, each in section.items()
            if isinstance(each, Map)
            and "Condition" in each
            and not evaluator.holds(each["Condition"], Place(name).at(each, "Condition"))
        )
        for name, declaration in section.items():
            place = Place("").at(section, name)
            if _LOGICAL_ID.fullmatch(name) is None:
                raise place.error("a resource is named with letters and digits alone")
            if not isinstance(declaration, Map):
                raise place.error("must be a mapping with a Type")
            for key in declaration:
                if key not in _ATTRIBUTES:
                    raise place.at(declaration, key).error("is not an attribute of a resource that is known here")
            if name in self._dropped:
                continue
            kind = declaration.get("Type")
            where = place.at(declaration, "Type")
            if not isinstance(kind, str):
                raise place.error("has no Type")
            if kind in NOTED_TYPES:
                self._note(place, f"{kind} is {NOTED_TYPES[kind]}")
                noted[name] = kind
                continue
            shape = SAM_TYPES.get(kind) or TYPES.get(kind)
            if shape is None:
                raise where.error(f"{kind} is not served here" + _reason(kind))
            found[name] = self._resource(name, kind, shape, declaration, place, evaluator, common)
        return found, noted

    def _resource(
        self,
        name: str,
        kind: str,
        shape: Any,
        declaration: Map,
        place: Place,
        evaluator: Evaluator,
        common: Mapping[str, Map],
    ) -> Resource:
        where = place.at(declaration, "Properties") if "Properties" in declaration else place
        given = declaration.get("Properties")
        if given is not None and not isinstance(given, Map):
            raise where.error("must be a mapping")
        own = given if given is not None else Map(line=place.line)
        if kind in common:
            own = merged(common[kind], own, declaration.get("IgnoreGlobals"))
        path = Place(f"{name}.Properties", where.line)
        properties = check(evaluator.evaluate(own, path), shape, path, self._note)
        depends = declaration.get("DependsOn", Seq())
        listed = depends if isinstance(depends, Seq) else Seq([depends])
        if not all(isinstance(each, str) for each in listed):
            raise place.at(declaration, "DependsOn").error("takes names of resources")
        needed = {each for each in listed if each not in self._dropped}
        policy = declaration.get("DeletionPolicy", "Delete")
        if policy not in ("Delete", "Retain", "RetainExceptOnCreate"):
            raise place.at(declaration, "DeletionPolicy").error(f"{policy} is not served here; Delete and Retain are")
        return Resource(name, kind, properties, place, needed, retain=policy != "Delete")

    def _outputs(self, template: Map, evaluator: Evaluator, names: Names) -> Map:
        """Return name → {Value, Description}, with functions left where they wait for resources."""
        found = Map()
        section = template.get("Outputs", Map())
        for name, output in section.items():
            place = Place("Outputs").at(section, name)
            if not isinstance(output, Map) or "Value" not in output:
                raise place.error("has no Value")
            for key in output:
                if key not in ("Value", "Description", "Export", "Condition"):
                    raise place.at(output, key).error("is not known here")
            if "Condition" in output and not evaluator.holds(output["Condition"], place):
                continue
            if "Export" in output:
                self._note(place, "Export is accepted; no other stack can import it")

            def known(logical_id: str, attribute: str | None, where: Place) -> Unknown:
                names.find(logical_id, attribute, where)
                return Unknown(logical_id)

            # Evaluated once, to see that what it refers to is there.
            evaluator.evaluate(output["Value"], place.at(output, "Value"), known)
            found.put(name, output, section.lines.get(name, 0))
        return found


def _reason(kind: str) -> str:
    reason = REFUSED_TYPES.get(kind)
    return f": {reason}" if reason else ""


def _check_sections(template: Map) -> None:
    for name in template:
        if name not in _SECTIONS:
            raise Place("", template.lines.get(name, 0)).at(template, name).error("is not a section that is known here")
    transform = template.get("Transform", SAM_TRANSFORM)
    for each in transform if isinstance(transform, Seq) else [transform]:
        if each != SAM_TRANSFORM:
            raise Place("Transform", template.lines.get("Transform", 0)).error(f"{each} is not served here")
