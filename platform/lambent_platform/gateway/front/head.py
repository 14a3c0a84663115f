"""Reading the head of a plain request; whatever is not plain is somebody else's to judge.

Being strict is what makes this safe: a head that two parsers could read in two ways (repeated fields, folded lines,
stray carriage returns, transfer codings) is never read here, so there is one opinion of it, aiohttp's.

Source: RFC 9112, sections 2, 3, 5 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HEAD_BYTES_MAX: Final = 16_384
BODY_BYTES_MAX: Final = 262_144
"""Larger bodies are for aiohttp, which reads them under limits and deadlines of its own."""
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NOT_PLAIN: Final = frozenset({"transfer-encoding", "expect", "upgrade", "content-encoding", "trailer"})


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one plain HTTP/1.1 request."""

    method: str
    path: str
    """Percent-encoded, as it was sent."""
    raw_query: str
    headers: Mapping[str, str]
    """Names in lower case, each once."""
    content_length: int


def read_head(data: bytes) -> Head | None:
    """Read a head, without the empty line at its end; None where it is not plain."""
    lines = data.split(b"\r\n")
    ends = len(lines) - 1
    if data.count(b"\n") != ends or data.count(b"\r") != ends or _CONTROL.search(data) or not data.isascii():
        return None
    first = lines[0].split(b" ")
    if len(first) != 3 or first[2] != b"HTTP/1.1" or first[1][:1] != b"/" or b"#" in first[1]:
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(name) is None:
            return None
        headers[name.decode("ascii").lower()] = value.strip(b" \t").decode("ascii")
    if len(headers) != ends or "host" not in headers or not _NOT_PLAIN.isdisjoint(headers):
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length", "0")
    if not length.isdigit() or len(length) > 9 or int(length) > BODY_BYTES_MAX:
        return None
    path, _, query = first[1].decode("ascii").partition("?")
    return Head(first[0].decode("ascii"), path, query, headers, int(length))
