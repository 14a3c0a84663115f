"""A template's text as a tree.

YAML 1.1 as CloudFormation reads it, JSON being a part of it: `!Sub` and the like are functions; dates, numbers that
start with a zero and fractions stay the text that they are. Sizes are bounded before anything is built of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from lambent.errors import SpecError
from lambent.template.values import Intrinsic, Map, Place, Seq, TemplateError

TEMPLATE_BYTES_MAX: Final = 1_000_000
"""CloudFormation's limit on a template (AWS CloudFormation User Guide, "Understand CloudFormation quotas": 1 MB)."""
DEPTH_MAX: Final = 60
VALUES_MAX: Final = 50_000
"""How many values a template may have after its aliases are written out."""

_SHORT: Final = {
    "Ref": "Ref", "Condition": "Condition", "GetAtt": "Fn::GetAtt", "Sub": "Fn::Sub", "Join": "Fn::Join",
    "Select": "Fn::Select", "Split": "Fn::Split", "If": "Fn::If", "Equals": "Fn::Equals", "And": "Fn::And",
    "Or": "Fn::Or", "Not": "Fn::Not", "FindInMap": "Fn::FindInMap", "ImportValue": "Fn::ImportValue",
    "Base64": "Fn::Base64", "GetAZs": "Fn::GetAZs", "Cidr": "Fn::Cidr", "Transform": "Fn::Transform",
    "Length": "Fn::Length", "ToJsonString": "Fn::ToJsonString",
}  # fmt: skip
_TAG: Final = "tag:yaml.org,2002:"
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")


def load_template(file: Path) -> Map:
    """Read a file.

    Raises:
        SpecError: it cannot be read. TemplateError: it is no template, is too large, too deep, or has unknown tags.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror}") from error
    if len(raw) > TEMPLATE_BYTES_MAX:
        raise TemplateError(f"a template may have {TEMPLATE_BYTES_MAX:,} bytes; this one has {len(raw):,}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TemplateError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error
    return parse_template(text)


def parse_template(text: str) -> Map:
    """Read a text; the errors are those of `load_template`."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            tree = None if node is None else _Builder(loader).build(node, Place(""), 0)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise TemplateError(f"it is not YAML: {error.problem or error.context}", line=line) from error
    except yaml.YAMLError as error:
        raise TemplateError(f"it is not YAML: {getattr(error, 'reason', error)}") from error
    if not isinstance(tree, Map):
        raise TemplateError("a template is a mapping with `Resources`", line=1)
    return tree


class _Loader(yaml.SafeLoader):
    """Safe, and refuses what is nested so deeply that reading it would exhaust the stack."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise TemplateError(f"it is nested more than {DEPTH_MAX} deep", line=self.line + 1)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Builder:
    """Turns YAML's nodes into values."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._count = 0

    def build(self, node: yaml.Node, place: Place, depth: int) -> Any:
        """Return the value of a node. An alias is built again wherever it stands, and counted there."""
        place = Place(place.path, node.start_mark.line + 1)
        self._count += 1
        if self._count > VALUES_MAX:
            raise place.error(f"a template may have {VALUES_MAX:,} values, those behind aliases included")
        if depth > DEPTH_MAX:
            raise place.error(f"it is nested more than {DEPTH_MAX} deep")
        if not node.tag.startswith(_TAG):
            return self._function(node, place, depth)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return self._sequence(node, place, depth)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return _long_form(self._mapping(node, place, depth), place)
        raise place.error(f"the tag !!{node.tag.removeprefix(_TAG)} has no meaning in a template")

    def _function(self, node: yaml.Node, place: Place, depth: int) -> Intrinsic:
        name = _SHORT.get(node.tag.removeprefix("!"))
        if name is None:
            raise place.error(f"{node.tag} is no function of CloudFormation's")
        if isinstance(node, yaml.ScalarNode):
            argument: Any = node.value
            if name == "Fn::GetAtt":
                logical, dot, attribute = node.value.partition(".")
                if not dot:
                    raise place.error(f"!GetAtt takes Resource.Attribute, not {node.value!r}")
                argument = Seq([logical, attribute], line=place.line)
        elif isinstance(node, yaml.SequenceNode):
            argument = self._sequence(node, place, depth)
        else:
            argument = _long_form(self._mapping(node, place, depth), place)
        return Intrinsic(name, argument, place.line)

    def _sequence(self, node: yaml.SequenceNode, place: Place, depth: int) -> Seq:
        found = Seq(line=place.line)
        for index, each in enumerate(node.value):
            found.append(self.build(each, place.at(found, index), depth + 1))
            found.lines.append(each.start_mark.line + 1)
        return found

    def _mapping(self, node: yaml.Node, place: Place, depth: int) -> Map:
        found = Map(line=place.line)
        inherited: list[Map] = []
        for key_node, value_node in node.value:
            here = Place(place.path, key_node.start_mark.line + 1)
            if key_node.tag == _TAG + "merge":
                value = self.build(value_node, here, depth + 1)
                inherited += value if isinstance(value, Seq) else [value]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise here.error("a key must be text")
            key = key_node.value
            if key in found:
                raise here.error(f"the key {key!r} is there twice")
            value = self.build(value_node, Place(f"{place.path}.{key}".lstrip("."), here.line), depth + 1)
            found.put(key, value, here.line)
        for each in inherited:
            if not isinstance(each, Map):
                raise place.error("`<<` takes a mapping, or a list of mappings")
            for key, value in each.items():
                if key not in found:
                    found.put(key, value, each.lines.get(key, each.line))
        return found

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return bool(self._loader.construct_yaml_bool(node))
        if kind == "int" and _INTEGER.fullmatch(node.value):
            return int(node.value)
        # An account id with zeros in front, a version such as 1.10 and a date are text to CloudFormation too.
        if kind in ("str", "int", "float", "timestamp", "value"):
            return node.value
        raise place.error(f"the tag !!{kind} has no meaning in a template")


def _long_form(found: Map, place: Place) -> Map | Intrinsic:
    """Recognise `{"Fn::Sub": …}` and `{"Ref": …}`."""
    if len(found) != 1:
        return found
    (name,) = found
    if name == "Ref" or name.startswith("Fn::"):
        argument = found[name]
        if name == "Fn::GetAtt" and isinstance(argument, str):
            logical, _, attribute = argument.partition(".")
            argument = Seq([logical, attribute], line=place.line)
        return Intrinsic(name, argument, found.lines.get(name, place.line))
    return found
