"""Which heads the front reads itself, and which it leaves to aiohttp."""

from __future__ import annotations

import pytest

from lambent_platform.gateway.front.head import BODY_BYTES_MAX, read_head

HOST = "Host: h"


def head(*lines: str, first: str = "POST /a/b?q=1 HTTP/1.1") -> bytes:
    """Join lines as they are sent."""
    return "\r\n".join([first, *lines]).encode("latin-1")


def test_a_plain_head_is_read() -> None:
    """Method, path, query and fields come out as they were sent; the fields' names in lower case, values trimmed."""
    found = read_head(head(HOST, "Content-Length: 12", "X-Amz-Log-Type:\t Tail "))
    assert found is not None
    assert (found.method, found.path, found.raw_query, found.content_length) == ("POST", "/a/b", "q=1", 12)
    assert found.headers == {"host": "h", "content-length": "12", "x-amz-log-type": "Tail"}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(), id="no host"),
        pytest.param(head(HOST, "Host: other"), id="two hosts"),
        pytest.param(head(HOST, "Content-Length: 1", "content-length: 2"), id="two lengths"),
        pytest.param(head(HOST, "Transfer-Encoding: chunked"), id="chunked"),
        pytest.param(head(HOST, "Transfer-Encoding: chunked", "Content-Length: 3"), id="chunked with a length"),
        pytest.param(head(HOST, "Expect: 100-continue"), id="expects an invitation"),
        pytest.param(head(HOST, "Upgrade: websocket"), id="an upgrade"),
        pytest.param(head(HOST, "Connection: close"), id="the last of its connection"),
        pytest.param(head(HOST, "Content-Encoding: gzip"), id="a coded body"),
        pytest.param(head(HOST, "Content-Length: +1"), id="a signed length"),
        pytest.param(head(HOST, "Content-Length: -1"), id="a negative length"),
        pytest.param(head(HOST, "Content-Length: 0x10"), id="a hexadecimal length"),
        pytest.param(head(HOST, "Content-Length: 1_0"), id="a length with an underscore"),
        pytest.param(head(HOST, f"Content-Length: {BODY_BYTES_MAX + 1}"), id="a large body"),
        pytest.param(head(HOST, "Content-Length : 1"), id="a space before the colon"),
        pytest.param(head(HOST, " folded"), id="a folded line"),
        pytest.param(head(HOST, "\tfolded: 1"), id="a folded line that looks like a field"),
        pytest.param(head(HOST, ": no name"), id="no name"),
        pytest.param(head(HOST, "no colon"), id="no colon"),
        pytest.param(head(HOST, "A: 1\nB: 2"), id="a bare line feed"),
        pytest.param(head(HOST, "A: 1\rB: 2"), id="a bare carriage return"),
        pytest.param(head(HOST, "A: \0"), id="a NUL"),
        pytest.param(head(HOST, "A: \x0b"), id="a control character"),
        pytest.param(head(HOST, "Transfer-Encoding\x0b: chunked"), id="a name that others may trim"),
        pytest.param(head(HOST, "Transfer Encoding: chunked"), id="a space in a name"),
        pytest.param(head(HOST, "A(b): 1"), id="no token for a name"),
        pytest.param(head(HOST, "A: \xe9"), id="not ASCII"),
        pytest.param(head(HOST, first="POST /a HTTP/1.0"), id="an older version"),
        pytest.param(head(HOST, first="POST /a  HTTP/1.1"), id="two spaces"),
        pytest.param(head(HOST, first="POST http://h/a HTTP/1.1"), id="a proxy's form"),
        pytest.param(head(HOST, first="OPTIONS * HTTP/1.1"), id="a star"),
        pytest.param(head(HOST, first="POST /a#b HTTP/1.1"), id="a fragment"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_not_plain_is_left_to_the_real_parser(data: bytes) -> None:
    """Anything that could be read in two ways, or that asks for more than one answer, is not read here."""
    assert read_head(data) is None
