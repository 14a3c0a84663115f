"""A request and a reply as the protocols see them: plain data, apart from the server that carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from lambent_platform.gateway.aws.problems import serialization_error

QUERY_FIELDS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request with its whole body."""

    method: str
    path: str
    """Still percent-encoded, since a label may hold an encoded slash."""
    raw_query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """One reply."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def split_query(raw: str) -> list[tuple[str, str]]:
    """Decode a query string or a form body, keeping order, repetitions and empty values.

    Raises:
        ApiError: SerializationException, where it has more fields than any real request.
    """
    try:
        return parse_qsl(raw, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX, errors="replace")
    except ValueError:
        raise serialization_error("Too many fields in the query") from None
