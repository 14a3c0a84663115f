"""From an HTTP request to an operation's parameters, in each protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from lambent_platform.contracts.errors import InvalidRequestContent
from lambent_platform.gateway.aws.http import HttpRequest
from lambent_platform.gateway.aws.problems import serialization_error
from lambent_platform.gateway.aws.registry import Params
from lambent_platform.gateway.aws.serialization import query_name
from lambent_platform.gateway.aws.values import from_json, from_text, wrong_json_type

if TYPE_CHECKING:  # a gateway that has not needed a model yet does not pay for botocore
    from botocore.model import OperationModel, Shape

QUERY_INDEX_MAX: Final = 10_000


def parse_rest(
    operation: OperationModel, request: HttpRequest, labels: Mapping[str, str], query: Sequence[tuple[str, str]]
) -> Params:
    """Collect the members of a rest-json input from path, query, headers and body.

    Raises:
        ApiError: InvalidRequestContentException for a body that is not JSON, SerializationException for wrong types.
    """
    shape = operation.input_shape
    if shape is None:
        return {}
    params: Params = {}
    fields = _grouped(query)
    in_body: dict[str, Shape] = {}
    for name, member in shape.members.items():
        location = member.serialization.get("location")
        if location is None:
            in_body[name] = member
            continue
        wire = member.serialization.get("name", name)
        value = _located(location, member, wire, labels, fields, request.headers, shape)
        if value is not None:
            params[name] = value
    payload = shape.serialization.get("payload")
    if payload:
        if request.body:
            params[payload] = _payload(shape.members[payload], request.body)
    elif in_body and request.body.strip():
        body = _load_json(request.body)
        for name, member in in_body.items():
            value = body.get(member.serialization.get("name", name))
            if value is not None:
                params[name] = from_json(member, value)
    return params


def parse_json(operation: OperationModel, body: bytes) -> Params:
    """Read the input of the json protocols, whose body is the input shape itself.

    Raises:
        ApiError: SerializationException.
    """
    try:
        value = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise serialization_error(f"Unable to parse the request body as JSON: {error}") from None
    if operation.input_shape is None:
        return {}
    params: Params = from_json(operation.input_shape, value)
    return params


def parse_query(operation: OperationModel, fields: Sequence[tuple[str, str]]) -> Params:
    """Read the input of the query protocol: `Member.Nested`, `List.member.1`, `Map.entry.1.key`.

    Raises:
        ApiError: SerializationException.
    """
    if operation.input_shape is None:
        return {}
    tree: dict[str, Any] = {}
    for key, text in fields:
        node = tree
        *parents, leaf = key.split(".")
        for part in parents[:32]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise serialization_error(f"{key[:128]!r} is both a value and a structure")
            node = child
        if isinstance(node.get(leaf), dict):
            raise serialization_error(f"{key[:128]!r} is both a value and a structure")
        node[leaf] = text
    params: Params = _from_tree(operation.input_shape, tree)
    return params


def _located(
    location: str,
    member: Shape,
    wire: str,
    labels: Mapping[str, str],
    fields: Mapping[str, list[str]],
    headers: Mapping[str, str],
    shape: Shape,
) -> Any:
    """Return the value of a member that travels outside of the body, None where it is not there."""
    if location == "uri":
        return from_text(member, labels[wire]) if wire in labels else None
    if location == "querystring":
        return _from_fields(member, wire, fields, shape)
    if location == "header":
        text = headers.get(wire.lower())
        return None if text is None else from_text(member, text)
    prefix = wire.lower()
    found = {name[len(prefix) :]: text for name, text in headers.items() if name.startswith(prefix)}
    return found or None


def _from_fields(member: Shape, wire: str, fields: Mapping[str, list[str]], shape: Shape) -> Any:
    if member.type_name == "map":
        # A map takes every field that no other member names.
        named = {other.serialization.get("name", name) for name, other in shape.members.items() if other is not member}
        many = member.value.type_name == "list"
        return {key: values if many else values[0] for key, values in fields.items() if key not in named} or None
    values = fields.get(wire)
    if values is None:
        return None
    if member.type_name == "list":
        return [from_text(member.member, value) for value in values]
    return from_text(member, values[0])


def _payload(member: Shape, body: bytes) -> Any:
    if member.type_name == "blob":
        return body
    if member.type_name == "string":
        return body.decode("utf-8", "replace")
    return from_json(member, _load_json(body))


def _load_json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestContent(f"Could not parse request body into json: {error}") from None
    if not isinstance(value, dict):
        raise wrong_json_type(value, "Map")
    return value


def _grouped(query: Collection[tuple[str, str]]) -> Mapping[str, list[str]]:
    fields: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in query:
        fields[name].append(value)
    return dict(fields)


def _from_tree(shape: Shape, node: Any) -> Any:
    kind = shape.type_name
    if kind not in {"structure", "list", "map"}:
        if not isinstance(node, str):
            raise serialization_error("Start of structure or map found where not expected.")
        return from_text(shape, node)
    if not isinstance(node, dict):
        if kind == "list" and node == "":
            return []
        if kind == "list" and shape.serialization.get("flattened"):
            return [_from_tree(shape.member, node)]  # `AttributeName=All`, as people write by hand
        raise serialization_error(f"Expected {kind} or null")
    if kind == "structure":
        members = ((name, member, query_name(name, member)) for name, member in shape.members.items())
        return {name: _from_tree(member, node[wire]) for name, member, wire in members if wire in node}
    flat = shape.serialization.get("flattened")
    if kind == "list":
        wrapper = "" if flat else _name(shape.member, "member")
        return [_from_tree(shape.member, item) for item in _numbered(node, wrapper)]
    entries = _numbered(node, "" if flat else "entry")
    key, value = _name(shape.key, "key"), _name(shape.value, "value")
    return {
        str(_from_tree(shape.key, entry[key])): _from_tree(shape.value, entry[value])
        for entry in entries
        if isinstance(entry, dict) and key in entry and value in entry
    }


def _name(shape: Shape, default: str) -> str:
    return str(shape.serialization.get("name", default))


def _numbered(node: dict[str, Any], wrapper: str) -> list[Any]:
    """Return the children called `1`, `2`, … in their order, below `wrapper` where there is one."""
    inner = node.get(wrapper, {}) if wrapper else node
    if not isinstance(inner, dict):
        raise serialization_error("Expected list or null")
    numbers = sorted(int(key) for key in inner if key.isascii() and key.isdigit() and len(key) < 6)
    return [inner[str(number)] for number in numbers[:QUERY_INDEX_MAX] if str(number) in inner]
