"""The answer of a function while it comes: Lambda's `InvokeWithResponseStream`."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from lambent.errors import EndpointUnreachable, api_error
from lambent.records import InvocationResult
from lambent.transport import Transport

_INVOKE: Final = "/2021-11-15/functions/{}/response-streaming-invocations"


class AsyncInvocationStream:
    """What a function answers, part by part: `async for part in stream`, each as bytes.

    Iterating begins the call, and can be done once. It raises `FunctionError` where the function failed, after what
    it had sent before; `ApiError` where the platform refused or failed; `EndpointUnreachable` where the answer broke
    off. Of a function that does not stream the only part is its result, as JSON.
    """

    def __init__(
        self, transport: Transport, name: str, payload: bytes, *, qualifier: str | None = None, log_tail: bool = False
    ) -> None:
        query = "" if qualifier is None else "?" + urlencode({"Qualifier": qualifier})
        self._transport = transport
        self._path = _INVOKE.format(quote(name, safe="")) + query
        self._payload = payload
        self._headers = {"X-Amz-Log-Type": "Tail"} if log_tail else {}
        self.request_id = ""
        self.executed_version = ""
        """Known with the first part, as is the request id."""
        self.log = ""
        """The last 4 KB of its log, once it has ended, where that was asked for."""
        self._parts = self._read()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts

    async def aclose(self) -> None:
        """Hang up. The function runs to its end."""
        await self._parts.aclose()

    async def _read(self) -> AsyncGenerator[bytes]:
        # Imported here: it takes a while, and only streams need it.
        from botocore.eventstream import EventStreamBuffer, ParserError

        async with self._transport.stream("POST", self._path, headers=self._headers, body=self._payload) as answer:
            found = {key.lower(): value for key, value in answer.headers.items()}
            self.request_id = found.get("x-amzn-requestid", "")
            self.executed_version = found.get("x-amz-executed-version", "")
            buffer = EventStreamBuffer()
            try:
                async for data in answer.chunks:
                    buffer.add_data(data)
                    for message in buffer:
                        if message.headers.get(":event-type") == "PayloadChunk":
                            yield message.payload
                        elif message.headers.get(":event-type") == "InvokeComplete":
                            self._complete(json.loads(message.payload or b"{}"))
                            return
                        else:
                            self._refuse(message.headers)
            except (ParserError, ValueError) as error:
                raise EndpointUnreachable(f"the answer is no event stream: {error}") from error
        raise EndpointUnreachable("the answer broke off before its end")

    def _complete(self, event: Mapping[str, Any]) -> None:
        self.log = base64.b64decode(event.get("LogResult", "")).decode(errors="replace")
        if event.get("ErrorCode"):
            raise InvocationResult(
                request_id=self.request_id,
                payload=str(event.get("ErrorDetails", "")).encode(),
                function_error=str(event["ErrorCode"]),
                executed_version=self.executed_version,
                log=self.log,
            ).error()

    def _refuse(self, headers: Mapping[str, Any]) -> None:
        if headers.get(":message-type") in ("error", "exception"):
            code = str(headers.get(":error-code") or headers.get(":exception-type") or "")
            raise api_error(code, str(headers.get(":error-message") or ""), 500)
