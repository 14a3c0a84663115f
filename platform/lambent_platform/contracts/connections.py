"""Clients' connections to WebSocket APIs, as gateways tell each other of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import orjson

MESSAGE_BYTES_MAX: Final = 131_072
"""Largest message, in either direction."""
FRAME_BYTES_MAX: Final = 32_768
"""Largest frame that a client may send. Source: API Gateway quotas for WebSocket APIs."""

OrderKind = Literal["post", "get", "delete"]
OrderEnd = Literal["ok", "gone", "slow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRecord:
    """One connection, as every gateway knows it."""

    id: str
    api_id: str
    stage: str
    connected_ms: int
    """In event time."""
    source_ip: str
    user_agent: str
    domain: str
    """The host that the client named, without a port."""

    def encode(self) -> bytes:
        """Write it as JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> ConnectionRecord:
        """Undo `encode`."""
        return cls(**orjson.loads(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the gateway that holds a connection is to do with it: header line and payload."""

    id: str
    kind: OrderKind
    connection_id: str
    asker: str
    """The gateway that waits for the end of it."""
    payload: bytes = b""

    def encode(self) -> bytes:
        """Header line and payload."""
        return orjson.dumps([self.id, self.kind, self.connection_id, self.asker]) + b"\n" + self.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDone:
    """How an order ended; `facts` answer a `get`."""

    id: str
    end: OrderEnd
    facts: dict[str, Any]

    def encode(self) -> bytes:
        """Header line alone; `done` stands where an order has its kind."""
        return orjson.dumps([self.id, "done", self.end, self.facts]) + b"\n"


def decode_item(data: bytes) -> Order | OrderDone:
    """Read one item of a gateway's box."""
    line, _, payload = data.partition(b"\n")
    ident, kind, third, fourth = orjson.loads(line)
    if kind == "done":
        return OrderDone(id=ident, end=third, facts=fourth)
    return Order(id=ident, kind=kind, connection_id=third, asker=fourth, payload=payload)
