"""A closed-loop HTTP client: so many connections, each with one request in flight, for so long.

It parses as little as it can (status and Content-Length), so that on a small machine the load costs less than what
it measures. Run as a module it prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import uvloop

EACH_TIMEOUT_S = 1200.0


@dataclass(frozen=True)
class Load:
    """What one run measured."""

    connections: int
    requests: int
    errors: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float


class _Connection(asyncio.Protocol):
    def __init__(
        self, request: bytes, until: float, latencies: list[float], ended: asyncio.Event, each: int | None
    ) -> None:
        self._request = request
        self._until = until
        self._left = each
        self._latencies = latencies
        self._ended = ended
        self._buffer = b""
        self._began = 0.0
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head, separator, body = buffer.partition(b"\r\n\r\n")
        if not separator:
            self._buffer = buffer
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            self._buffer = buffer
            return
        self._buffer = b""
        now = time.perf_counter()
        self._latencies.append(now - self._began)
        if head[9:10] != b"2" or b"x-amz-function-error" in head.lower():
            self.errors += 1
        if self._left is not None:
            self._left -= 1
        if now < self._until and self._left != 0:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.errors += 1
        self._ended.set()


async def run_load(
    url: str,
    *,
    connections: int,
    seconds: float,
    body: bytes,
    host: str = "",
    headers: Sequence[str] = (),
    each: int | None = None,
) -> Load:
    """Send POST requests with `body` and measure them: for so long, or `each` so many on every connection."""
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path or '/'} HTTP/1.1",
        f"Host: {host or parts.netloc}",
        *(headers or ["Content-Type: application/json"]),
        f"Content-Length: {len(body)}",
    ]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    began = time.perf_counter()
    until = began + seconds if each is None else float("inf")
    protocols = []
    ends = []
    for _ in range(connections):
        ended = asyncio.Event()
        _, protocol = await loop.create_connection(
            lambda ended=ended: _Connection(request, until, latencies, ended, each), parts.hostname, parts.port
        )
        protocols.append(protocol)
        ends.append(ended)
    async with asyncio.timeout(seconds + 60 if each is None else EACH_TIMEOUT_S):
        for ended in ends:
            await ended.wait()
    took = time.perf_counter() - began
    ordered = sorted(latencies)
    return Load(
        connections=connections,
        requests=len(ordered),
        errors=sum(p.errors for p in protocols),
        requests_per_s=round(len(ordered) / took, 1),
        p50_ms=round(ordered[len(ordered) // 2] * 1000, 3),
        p99_ms=round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
    )


def main() -> None:
    """Run one load from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--body", default='{"message":"hello"}')
    parser.add_argument("--host", default="")
    parser.add_argument("--header", action="append", default=[], help="in place of Content-Type")
    parser.add_argument("--each", type=int, help="requests of each connection, in place of --seconds")
    args = parser.parse_args()
    load = uvloop.run(
        run_load(
            args.url,
            connections=args.connections,
            seconds=args.seconds,
            body=args.body.encode(),
            host=args.host,
            headers=args.header,
            each=args.each,
        )
    )
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
