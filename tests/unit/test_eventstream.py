"""AWS's event stream encoding, as botocore decodes it."""

from __future__ import annotations

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.gateway.aws import eventstream


@given(payloads=st.lists(st.binary(max_size=3000), max_size=5), cut=st.integers(1, 50))
def test_events_survive_any_cut(payloads: list[bytes], cut: int) -> None:
    """What is encoded is what botocore decodes, however it is cut on its way."""
    data = b"".join(eventstream.event("PayloadChunk", one, content_type="a/b") for one in payloads)
    buffer = EventStreamBuffer()
    for at in range(0, len(data), cut):
        buffer.add_data(data[at : at + cut])
    found = list(buffer)
    assert [message.payload for message in found] == payloads
    for message in found:
        assert message.headers == {":message-type": "event", ":event-type": "PayloadChunk", ":content-type": "a/b"}


def test_an_error() -> None:
    """An error is one for botocore: a status of 400 with code and message."""
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.error("ServiceException", "lost"))
    [message] = buffer
    assert message.to_response_dict()["status_code"] == 400
    assert (message.headers[":error-code"], message.headers[":error-message"]) == ("ServiceException", "lost")


@pytest.mark.parametrize("text", ["", "ü" * 20_000])
def test_texts_of_any_length(text: str) -> None:
    """A header that would be too long is cut, never a message that cannot be read."""
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.error("E", text))
    [message] = buffer
    assert text.startswith(message.headers[":error-message"])
