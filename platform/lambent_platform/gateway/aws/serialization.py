"""From an operation's result to an HTTP reply, in each protocol. A member that is None is left out."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import orjson

from lambent_platform.gateway.aws.http import HttpReply
from lambent_platform.gateway.aws.registry import Result
from lambent_platform.gateway.aws.timestamps import Format, format_of, format_timestamp

if TYPE_CHECKING:  # a gateway that has not needed a model yet does not pay for botocore
    from botocore.model import OperationModel, Shape

_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def reply_rest(operation: OperationModel, result: Result) -> HttpReply:
    """Write a rest-json reply: status, headers and body as the model places them."""
    status = int(operation.http.get("responseCode", 200))
    shape = operation.output_shape
    if shape is None:
        return HttpReply(status=status)
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}
    for name, member in shape.members.items():
        value = result.get(name)
        if value is None:
            continue
        location = member.serialization.get("location")
        wire = member.serialization.get("name", name)
        if location == "statusCode":
            status = int(value)
        elif location == "header":
            headers[wire] = _text(member, value, "rfc822")
        elif location == "headers":
            headers.update({f"{wire}{key}": str(item) for key, item in value.items()})
        else:
            body[name] = value
    payload = shape.serialization.get("payload")
    if payload:
        return _payload_reply(shape.members[payload], body.get(payload), status, headers)
    if status == 204:
        return HttpReply(status=status, headers=headers)
    headers["Content-Type"] = "application/json"
    return HttpReply(status=status, headers=headers, body=orjson.dumps(to_json(shape, body)))


def reply_json(operation: OperationModel, result: Result, version: str) -> HttpReply:
    """Write a reply of the json protocols; `version` is the model's `jsonVersion`."""
    headers = {"Content-Type": f"application/x-amz-json-{version}"}
    shape = operation.output_shape
    return HttpReply(headers=headers, body=orjson.dumps(to_json(shape, result)) if shape is not None else b"")


def reply_query(operation: OperationModel, result: Result, namespace: str, request_id: str) -> HttpReply:
    """Write an XML reply of the query protocol."""
    root = ET.Element(f"{operation.name}Response", {"xmlns": namespace})
    shape = operation.output_shape
    if shape is not None:
        wrapper = shape.serialization.get("resultWrapper")
        _add_members(ET.SubElement(root, wrapper) if wrapper else root, shape, result)
    ET.SubElement(ET.SubElement(root, "ResponseMetadata"), "RequestId").text = request_id
    return HttpReply(headers={"Content-Type": "text/xml"}, body=xml_bytes(root))


def to_json(shape: Shape, value: Any) -> Any:
    """Turn a value of the model into what JSON can carry; members that the model does not know are dropped."""
    kind = shape.type_name
    if kind == "structure":
        members = ((name, member, value.get(name)) for name, member in shape.members.items())
        return {
            member.serialization.get("name", name): to_json(member, item)
            for name, member, item in members
            if item is not None and "location" not in member.serialization
        }
    if kind == "list":
        return [to_json(shape.member, item) for item in value]
    if kind == "map":
        return {str(key): to_json(shape.value, item) for key, item in value.items() if item is not None}
    if kind == "blob":
        return base64.b64encode(_bytes(value)).decode()
    if kind == "timestamp":
        return format_timestamp(value, format_of(shape, "unixTimestamp"))
    return value


def xml_text(text: str) -> str:
    """Replace what XML 1.0 cannot carry in any form, so that a reply with a caller's own text stays readable."""
    return _NOT_XML.sub("\ufffd", text)


def xml_bytes(root: ET.Element) -> bytes:
    """Write a document in which carriage returns survive: a parser takes one that is not escaped for a line's end."""
    return bytes(ET.tostring(root, encoding="utf-8")).replace(b"\r", b"&#13;")


def _payload_reply(member: Shape, value: Any, status: int, headers: dict[str, str]) -> HttpReply:
    if value is None:
        return HttpReply(status=status, headers=headers)
    if member.type_name in {"blob", "string"}:
        headers.setdefault("Content-Type", "application/octet-stream")
        return HttpReply(status=status, headers=headers, body=_bytes(value))
    headers["Content-Type"] = "application/json"
    return HttpReply(status=status, headers=headers, body=orjson.dumps(to_json(member, value)))


def _add_members(parent: ET.Element, shape: Shape, value: Mapping[str, Any]) -> None:
    for name, member in shape.members.items():
        if value.get(name) is not None:
            _add(parent, query_name(name, member), member, value[name])


def query_name(name: str, member: Shape) -> str:
    """Return what the query protocol calls a member: a flat list goes by the name of its elements."""
    if member.type_name == "list" and member.serialization.get("flattened"):
        return str(member.member.serialization.get("name", member.serialization.get("name", name)))
    return str(member.serialization.get("name", name))


def _add(parent: ET.Element, tag: str, shape: Shape, value: Any) -> None:
    kind = shape.type_name
    flat = bool(shape.serialization.get("flattened"))
    if kind == "structure":
        _add_members(ET.SubElement(parent, tag), shape, value)
    elif kind == "list":
        holder = parent if flat else ET.SubElement(parent, tag)
        for item in value:
            _add(holder, tag if flat else shape.member.serialization.get("name", "member"), shape.member, item)
    elif kind == "map":
        holder = parent if flat else ET.SubElement(parent, tag)
        for key, item in value.items():
            entry = ET.SubElement(holder, tag if flat else "entry")
            _add(entry, shape.key.serialization.get("name", "key"), shape.key, key)
            _add(entry, shape.value.serialization.get("name", "value"), shape.value, item)
    else:
        ET.SubElement(parent, tag).text = xml_text(_text(shape, value, "iso8601"))


def _text(shape: Shape, value: Any, timestamps: Format) -> str:
    """Write a scalar as text, for a header or an XML element."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if shape.type_name == "timestamp":
        return str(format_timestamp(value, format_of(shape, timestamps)))
    if shape.type_name == "blob":
        return base64.b64encode(_bytes(value)).decode()
    return str(value)


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
