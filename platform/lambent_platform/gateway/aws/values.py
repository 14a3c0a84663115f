"""From JSON values and from text to the types of the model. Nothing is converted in silence."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any, Final

from lambent_platform.contracts.errors import ApiError
from lambent_platform.gateway.aws.problems import serialization_error
from lambent_platform.gateway.aws.timestamps import parse_timestamp

if TYPE_CHECKING:  # a gateway that has not needed a model yet does not pay for botocore
    from botocore.model import Shape

_JAVA: Final = {
    "string": "String", "character": "String", "integer": "Integer", "long": "Long", "float": "Float",
    "double": "Double", "boolean": "Boolean", "blob": "Blob", "timestamp": "Date",
}  # fmt: skip
_wires: Final[dict[Shape, dict[str, tuple[str, Shape]]]] = {}
"""Members of a structure by what they are called on the wire; as many as there are structures in the models."""
_INTEGER_BITS: Final = {"integer": 31, "long": 63}


def from_json(shape: Shape, value: Any) -> Any:
    """Turn a JSON value into the shape's type; members that the model does not know are dropped, as AWS does.

    A null member of a structure is the same as none. A null element of a list or map stays None, for the validator.

    Raises:
        ApiError: SerializationException, in the words of AWS's services.
    """
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            raise wrong_json_type(value, "Map")
        return _structure(shape, value)
    if kind == "list":
        if not isinstance(value, list):
            raise serialization_error("Expected list or null")
        return [None if item is None else from_json(shape.member, item) for item in value]
    if kind == "map":
        if not isinstance(value, dict):
            raise serialization_error("Expected map or null")
        return {
            from_text(shape.key, key): None if item is None else from_json(shape.value, item)
            for key, item in value.items()
        }
    return _scalar(shape, value)


def from_text(shape: Shape, text: str) -> Any:
    """Turn the text of a label, query field, header or form field into a scalar shape's type.

    Raises:
        ApiError: SerializationException.
    """
    kind = shape.type_name
    try:
        if kind in _INTEGER_BITS:
            return _bounded(shape, int(text) if text.lstrip("-").isdecimal() else _refuse(text, kind))
        if kind in {"float", "double"}:
            return float(text)
    except ValueError:
        _refuse(text, kind)
    if kind == "boolean":
        if text.lower() not in {"true", "false"}:
            _refuse(text, kind)
        return text.lower() == "true"
    if kind == "timestamp":
        return parse_timestamp(text)
    return _blob(text) if kind == "blob" else text


def _structure(shape: Shape, value: dict[str, Any]) -> dict[str, Any]:
    wires = _wires.get(shape)
    if wires is None:
        members = shape.members.items()
        wires = _wires[shape] = {member.serialization.get("name", name): (name, member) for name, member in members}
    params = {}
    for key, item in value.items():
        found = wires.get(key)
        if found is not None and item is not None:
            params[found[0]] = from_json(found[1], item)
    return params


def _scalar(shape: Shape, value: Any) -> Any:
    kind = shape.type_name
    if isinstance(value, dict):
        raise serialization_error("Start of structure or map found where not expected.")
    if isinstance(value, list):
        raise serialization_error(f"Unrecognized collection type class java.lang.{_JAVA[kind]}")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in {"string", "character"} and isinstance(value, str):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in _INTEGER_BITS and number and value == int(value):
        return _bounded(shape, int(value))
    if kind in {"float", "double"} and number:
        return float(value)
    if kind == "blob" and isinstance(value, str):
        return _blob(value)
    if kind == "timestamp" and (number or isinstance(value, str)):
        return parse_timestamp(value)
    raise wrong_json_type(value, _JAVA[kind])


def _bounded(shape: Shape, value: int) -> int:
    bound = 1 << _INTEGER_BITS[shape.type_name]
    if not -bound <= value < bound:
        raise serialization_error(f"Value out of range for {_JAVA[shape.type_name]}")
    return value


def _blob(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise serialization_error("Unable to decode a blob: it is not valid base64") from None


def _refuse(text: str, kind: str) -> int:
    raise serialization_error(f"{text[:64]!r} can not be converted to {_article(_JAVA[kind])}")


def wrong_json_type(value: Any, wanted: str) -> ApiError:
    """Return the error for a JSON value that is not what the model wants, in the words of AWS's parsers."""
    if isinstance(value, list):
        return serialization_error("Start of list found where not expected.")
    if isinstance(value, bool):
        met = "TRUE_VALUE" if value else "FALSE_VALUE"
    elif value is None:
        met = "NULL_VALUE"
    else:
        met = "STRING_VALUE" if isinstance(value, str) else "NUMBER_VALUE"
    return serialization_error(f"{met} can not be converted to {_article(wanted)}")


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"
