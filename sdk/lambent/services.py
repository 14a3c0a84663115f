"""Calls of AWS's APIs in the protocols that they have: JSON over paths, JSON by target, and one form."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from lambent.errors import EndpointUnreachable
from lambent.transport import REQUEST_TIMEOUT_S, Progress, Transport

_TARGETS: Final[Mapping[str, tuple[str, str]]] = {
    "sqs": ("AmazonSQS", "application/x-amz-json-1.0"),
    "events": ("AWSEvents", "application/x-amz-json-1.1"),
}
_ACCOUNT: Final = re.compile(rb"<Account>(\d{12})</Account>")


class Services:
    """Calls operations by their wire form; every method raises `ApiError` and `EndpointUnreachable`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def endpoint(self) -> str:
        """Where the platform is."""
        return self.transport.connection.endpoint

    @property
    def region(self) -> str:
        """The region that is asked."""
        return self.transport.connection.region

    async def account(self) -> str:
        """Return the account that this is (STS `GetCallerIdentity`)."""
        answer = await self.transport.request(
            "POST",
            "/",
            service="sts",
            headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
            body=b"Action=GetCallerIdentity&Version=2011-06-15",
        )
        found = _ACCOUNT.search(answer.body)
        if found is None:
            raise EndpointUnreachable("the answer names no account: is this endpoint a platform of Lambent's?")
        return found[1].decode()

    async def call(
        self, service: str, operation: str, timeout_s: float = REQUEST_TIMEOUT_S, /, **parameters: Any
    ) -> dict[str, Any]:
        """Call an operation of a service that is asked by target (SQS, EventBridge)."""
        prefix, kind = _TARGETS[service]
        answer = await self.transport.request(
            "POST",
            "/",
            service=service,
            headers={"Content-Type": kind, "X-Amz-Target": f"{prefix}.{operation}"},
            body=json.dumps({key: value for key, value in parameters.items() if value is not None}).encode(),
            timeout_s=timeout_s,
        )
        return answer.json() if answer.body else {}

    async def rest(
        self,
        service: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        on_progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Call an operation of a service that is asked by paths (Lambda, Scheduler, API Gateway)."""
        given = {key: value for key, value in (query or {}).items() if value is not None}
        answer = await self.transport.request(
            method,
            path + ("?" + urlencode(given, quote_via=quote) if given else ""),
            service=service,
            headers={} if body is None else {"Content-Type": "application/json"},
            body=b"" if body is None else json.dumps(body).encode(),
            timeout_s=timeout_s,
            on_progress=on_progress,
        )
        return answer.json() if answer.body else {}

    async def pages(
        self,
        service: str,
        path: str,
        items: str,
        following_as: tuple[str, str] = ("NextToken", "NextToken"),
        query: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of every page.

        `following_as` is what the answer calls its place in the list, and what the query calls it.
        """
        answered_as, asked_as = following_as
        following: str | None = None
        while True:
            page = await self.rest(service, "GET", path, query={**(query or {}), asked_as: following})
            for item in page.get(items, ()):
                yield item
            before, following = following, page.get(answered_as)
            if not following or following == before:
                return


def segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")
