"""One run of a command against the platform's APIs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from lambent.connection import Connection
from lambent.services import Services
from lambent.transport import Transport

T = TypeVar("T")


def with_services(endpoint: str | None, region: str | None, work: Callable[[Services], Awaitable[T]]) -> T:
    """Open a connection, do the work and return its result.

    Raises:
        ApiError: the platform refused. EndpointUnreachable: nothing answers there.
    """

    async def run() -> T:
        async with Transport(Connection.find(endpoint=endpoint, region=region)) as transport:
            return await work(Services(transport))

    return asyncio.run(run())
