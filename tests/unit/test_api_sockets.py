"""Frames and events of WebSocket APIs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.contracts.connections import (
    ConnectionRecord,
    Order,
    OrderDone,
    decode_item,
)
from lambent_platform.core.apis.frames import FrameLengths
from lambent_platform.core.apis.socket_event import disconnect_event, message_event

RECORD = ConnectionRecord(
    id="abc=",
    api_id="api",
    stage="dev",
    connected_ms=1_583_348_638_390,
    source_ip="127.0.0.1",
    user_agent="me",
    domain="api.execute-api.us-east-1.localhost",
)


def frame(length: int, *, masked: bool = True, opcode: int = 1) -> bytes:
    """One frame with a payload of this length."""
    bit = 0x80 if masked else 0
    if length < 126:
        head = bytes([0x80 | opcode, bit | length])
    elif length < 65_536:
        head = bytes([0x80 | opcode, bit | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, bit | 127]) + length.to_bytes(8, "big")
    return head + (b"mask" if masked else b"") + b"\x81" * length


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("masked", [True, False])
def test_lengths(length: int, masked: bool) -> None:
    """Each of the three forms of a length is read, whether its frame is masked or not."""
    lengths = FrameLengths()
    lengths.feed(frame(length, masked=masked) + frame(0))
    assert lengths.longest == length


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.lists(st.integers(1, 50), max_size=200))
def test_bytes_may_be_cut_anywhere(frames: list[int], cuts: list[int]) -> None:
    """However the bytes arrive, the longest frame is the longest, and what follows is read in step."""
    data = b"".join(frame(length) for length in frames)
    lengths = FrameLengths()
    for cut in cuts:
        lengths.feed(data[:cut])
        data = data[cut:]
    lengths.feed(data)
    assert lengths.longest == max(frames)


def test_a_long_frame_is_known_by_its_head() -> None:
    """A frame's length counts as soon as its head is whole, before any of its payload."""
    lengths = FrameLengths()
    lengths.feed(frame(1_000_000)[:13])
    assert lengths.longest == 0
    lengths.feed(frame(1_000_000)[13:14])
    assert lengths.longest == 1_000_000


def test_a_message() -> None:
    """A message's event has the body, the context of its connection, and no headers."""
    event = message_event(RECORD, {"a": "b"}, "join", "hello", request_id="r", now_ms=1_583_348_640_000)
    context: dict[str, Any] = event.pop("requestContext")
    assert event == {"stageVariables": {"a": "b"}, "isBase64Encoded": False, "body": "hello"}
    assert context.pop("messageId")
    assert context == {
        "routeKey": "join",
        "eventType": "MESSAGE",
        "extendedRequestId": "r",
        "requestTime": "04/Mar/2020:19:04:00 +0000",
        "messageDirection": "IN",
        "stage": "dev",
        "connectedAt": 1_583_348_638_390,
        "requestTimeEpoch": 1_583_348_640_000,
        "identity": {"sourceIp": "127.0.0.1", "userAgent": "me"},
        "requestId": "r",
        "domainName": "api.execute-api.us-east-1.localhost",
        "connectionId": "abc=",
        "apiId": "api",
    }


@pytest.mark.parametrize(
    ("status", "reason", "told"),
    [
        (4000, "my own", "my own"),
        (1000, "", "Connection Closed Normally"),
        (1005, "", "Client-side close frame status not set"),
        (1001, "", "Going away"),
        (4000, "", ""),
    ],
)
def test_ends(status: int, reason: str, told: str) -> None:
    """An end says its status and the reason that came with it, or what the status means."""
    context = disconnect_event(RECORD, {}, status, reason, request_id="r", now_ms=0)["requestContext"]
    assert (context["disconnectStatusCode"], context["disconnectReason"]) == (status, told)


def test_items_of_a_box() -> None:
    """Orders, whatever their payload, and ends come out of a box as they went in."""
    order = Order(id="1", kind="post", connection_id="abc=", asker="g", payload=b"a\nb\xff")
    done = OrderDone(id="1", end="ok", facts={"ConnectedAt": 1.5})
    assert decode_item(order.encode()) == order
    assert decode_item(done.encode()) == done
    assert ConnectionRecord.decode(RECORD.encode()) == RECORD
