"""A closed-loop HTTP client: so many connections, each with one request in flight, for so long.

It parses as little as it can (status and Content-Length), so that on a small machine the load costs less than what
it measures. Run as a module it prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import uvloop


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
    def __init__(self, request: bytes, until: float, latencies: list[float], ended: asyncio.Event) -> None:
        self._request = request
        self._until = until
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
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.errors += 1
        self._ended.set()


async def run_load(url: str, *, connections: int, seconds: float, body: bytes, host: str = "") -> Load:
    """Send POST requests with `body` and measure them."""
    parts = urlsplit(url)
    request = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {host or parts.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    began = time.perf_counter()
    until = began + seconds
    protocols = []
    ends = []
    for _ in range(connections):
        ended = asyncio.Event()
        _, protocol = await loop.create_connection(
            lambda ended=ended: _Connection(request, until, latencies, ended), parts.hostname, parts.port
        )
        protocols.append(protocol)
        ends.append(ended)
    async with asyncio.timeout(seconds + 60):
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
    args = parser.parse_args()
    load = uvloop.run(
        run_load(
            args.url,
            connections=args.connections,
            seconds=args.seconds,
            body=args.body.encode(),
            host=args.host,
        )
    )
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
