"""One HTTP request to the platform, and its failures as the client's own errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from lambent.connection import Connection
from lambent.errors import ApiError, EndpointUnreachable, api_error
from lambent_platform.contracts.limits import TIMEOUT_S_MAX

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 120.0
STREAM_SILENCE_S = TIMEOUT_S_MAX + 60.0
"""The longest that a function may run before its first part, and its way there and back."""
_CHUNK_BYTES = 256 * 1024

Progress = Callable[[int, int], None]
"""Called with the bytes sent so far and the bytes in all."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with a status below 400, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            EndpointUnreachable: it is not JSON, so this is no Lambda API.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise EndpointUnreachable("the answer is not JSON: is this endpoint a Lambda API?") from error


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer with a status below 400, read while it comes."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Transport:
    """Keeps the connections to one endpoint. Use it with `async with`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Whoever calls many at once wants them at once: the platform, not the client, bounds concurrency.
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        service: str = "lambda",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = REQUEST_TIMEOUT_S,
        on_progress: Progress | None = None,
    ) -> Response:
        """Send one request; `path` is already escaped.

        Raises:
            ApiError: the answer's status is 400 or more.
            EndpointUnreachable: nothing listens there, the connection broke, or `timeout_s` passed.
            RuntimeError: outside of `async with`.
        """
        data: Any = body if on_progress is None else _in_chunks(body, on_progress)
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S)
        try:
            async with self._send(method, path, service, headers, body, data, timeout) as answer:
                response = Response(answer.status, dict(answer.headers), await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error, timeout_s) from error
        if response.status >= 400:
            raise _error_of(response)
        return response

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, service: str = "lambda", headers: Mapping[str, str] | None = None, body: bytes
    ) -> AsyncIterator[Streamed]:
        """Send one request and read the answer while it comes.

        Raises:
            ApiError: the answer's status is 400 or more.
            EndpointUnreachable: as `request`; also in mid-answer, where the connection broke or nothing came for
                `STREAM_SILENCE_S`.
        """
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=STREAM_SILENCE_S)
        try:
            async with self._send(method, path, service, headers, body, body, timeout) as answer:
                if answer.status >= 400:
                    raise _error_of(Response(answer.status, dict(answer.headers), await answer.read()))
                yield Streamed(dict(answer.headers), answer.content.iter_any())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error, STREAM_SILENCE_S) from error

    def _send(
        self,
        method: str,
        path: str,
        service: str,
        headers: Mapping[str, str] | None,
        body: bytes,
        data: Any,
        timeout: aiohttp.ClientTimeout,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("the client is not open: use it with `async with`")
        url = self.connection.endpoint + path
        signed = self.connection.sign(service, method, url, headers or {}, body)
        signed["Content-Length"] = str(len(body))
        return self._session.request(
            method, URL(url, encoded=True), headers=signed, data=data, timeout=timeout, allow_redirects=False
        )

    def _unreachable(self, error: Exception, timeout_s: float) -> EndpointUnreachable:
        endpoint = self.connection.endpoint
        if isinstance(error, aiohttp.ClientConnectorError):
            return EndpointUnreachable(
                f"nothing listens at {endpoint}: start the platform with `lambent up`, "
                "or name another with --endpoint or AWS_ENDPOINT_URL"
            )
        if isinstance(error, TimeoutError):
            return EndpointUnreachable(f"{endpoint} did not answer within {timeout_s:g} s")
        return EndpointUnreachable(f"the connection to {endpoint} broke: {error}")


async def _in_chunks(body: bytes, on_progress: Progress) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]
        on_progress(min(start + _CHUNK_BYTES, len(body)), len(body))


def _error_of(response: Response) -> ApiError:
    """Read an error in any of the shapes of AWS's JSON protocols."""
    try:
        data = json.loads(response.body)
    except ValueError:
        data = None
    fields: dict[str, Any] = data if isinstance(data, dict) else {}
    headers = {name.lower(): value for name, value in response.headers.items()}
    code = str(headers.get("x-amzn-errortype") or fields.get("__type") or fields.get("code") or "")
    code = code.split(":", 1)[0].rsplit("#", 1)[-1] or f"HTTP{response.status}"
    message = str(fields.get("message") or fields.get("Message") or "")
    if not message and not fields:
        message = response.body[:200].decode(errors="replace").strip()
    return api_error(code, message, response.status)
