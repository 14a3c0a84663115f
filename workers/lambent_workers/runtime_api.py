"""Lambda's Runtime API, served to one environment over however many connections it makes.

    GET  /2018-06-01/runtime/invocation/next             waits until there is an event, however long that takes
    POST /2018-06-01/runtime/invocation/{id}/response    202
    POST /2018-06-01/runtime/invocation/{id}/error       202
    POST /2018-06-01/runtime/init/error                  202

A response with `Lambda-Runtime-Function-Response-Mode: streaming` is passed on while it is read; its connection is
not read while the caller is behind. An error after it has begun comes in the trailers
`Lambda-Runtime-Function-Error-Type` and `-Body` (JSON in base64), or as a request to `…/error` beside it. One whose
connection ends before it does is the error `Runtime.TruncatedResponse`.

What must not be is answered, never acted on: an id that is not in flight (400 `InvalidRequestID`), a step at the
wrong time such as a second response or a second poller (403 `InvalidStateTransition`), a result over the limit (413;
the caller gets `Function.ResponseSizeTooLarge`). Whoever connects, only the one event in flight can be answered, once.

Source: AWS Lambda Developer Guide, "Using the Lambda runtime API" and its OpenAPI description; "Building a custom
runtime for AWS Lambda", response streaming.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Final, cast

import httptools
import orjson

from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_workers.runtime_link import AnswerKind, Delivery, RuntimeEvents

VERSION: Final = "/2018-06-01/runtime"
_NEXT: Final = f"{VERSION}/invocation/next"
_INIT_ERROR: Final = f"{VERSION}/init/error"
_INVOCATION: Final = f"{VERSION}/invocation/"
HEADER_BYTES_MAX: Final = 1_310_720
"""AWS's clients send up to 1 MB of X-Ray cause in a header."""
CONNECTIONS_MAX: Final = 64
TRAILER_BYTES_MAX: Final = 262_144
DEFAULT_STREAM_TYPE: Final = "application/octet-stream"
TRUNCATED: Final = "Runtime.TruncatedResponse"
CUT_OFF_GRACE_S: Final = 0.25
_REASONS: Final = {
    200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    413: "Payload Too Large", 431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip


class RuntimeApi:
    """The state that an environment's connections share; a `RuntimeLink` once it is attached.

    Until `attach`, and for an environment whose runtime speaks frames, every request is refused.
    """

    def __init__(self) -> None:
        self._events: RuntimeEvents | None = None
        self._poller: Connection | None = None
        self._streaming: Connection | None = None
        """Which connection streams the answer to the event in flight."""
        self._waiting: Delivery | None = None
        self._in_flight = ""
        self._last = ""
        self._initialised = False
        self._connections: set[Connection] = set()
        self.taken = False

    def connect(self) -> asyncio.Protocol:
        """Make the protocol for one connection; the factory that a sandbox's spec names."""
        return Connection(self)

    def attach(self, events: RuntimeEvents) -> None:
        """Begin to serve a runtime."""
        self._events = events

    def deliver(self, delivery: Delivery) -> None:
        """Give the event to whoever polls, or to the first who will."""
        self.taken = False
        self._waiting = delivery
        self._hand_over()

    def drain(self) -> None:
        """Do nothing: requests are acted on as they arrive."""

    def pause(self) -> None:
        """Let the stream wait."""
        if self._streaming is not None:
            self._streaming.pause()

    def resume(self) -> None:
        """Let the stream go on."""
        if self._streaming is not None:
            self._streaming.resume()

    def close(self) -> None:
        """Refuse and end every connection."""
        self._events = self._poller = self._waiting = self._streaming = None
        self._in_flight = ""
        for connection in list(self._connections):
            connection.abort()

    # -- what connections ask ------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> bool:
        """Count a connection; False where there are too many."""
        if len(self._connections) >= CONNECTIONS_MAX:
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """Forget a connection; a poller that went away is not waiting any more."""
        self._connections.discard(connection)
        if self._poller is connection:
            self._poller = None
        if self._streaming is connection:
            # Where its process has ended too, that is what to say of it; the word of that comes another way.
            asyncio.get_running_loop().call_later(CUT_OFF_GRACE_S, self._cut_off, connection)

    def _cut_off(self, connection: Connection) -> None:
        """End the stream of a connection that is gone, if nothing else has ended it."""
        if self._streaming is connection:
            message = "The connection ended before the streamed response did"
            error = orjson.dumps({"errorMessage": message, "errorType": TRUNCATED})
            self._end_stream(AnswerKind.ERROR, error)

    def begins_stream(self, connection: Connection) -> bool:
        """Look at the head of a request; whether its body is the streamed answer to the event in flight."""
        request_id, _, verb = connection.path.removeprefix(_INVOCATION).partition("/")
        events = self._events
        wanted = connection.path.startswith(_INVOCATION) and connection.method == "POST" and verb == "response"
        if events is None or not wanted or not request_id or request_id != self._in_flight or self._streaming:
            return False
        self._streaming = connection
        events.on_stream(request_id, connection.content_type or DEFAULT_STREAM_TYPE)
        return True

    def part(self, connection: Connection, data: bytes) -> None:
        """Take a part of a stream; one that was ended otherwise is read on and dropped."""
        if self._streaming is connection and self._events is not None:
            self._events.on_part(self._in_flight, data)

    def stream_ended(self, connection: Connection) -> None:
        """Take the end of a stream, with the error of its trailers if there is one."""
        if self._streaming is not connection:
            connection.refuse(403, "InvalidStateTransition", "State transition failed for runtime: the call has ended")
            return
        connection.accept()
        if connection.error_type or connection.error_body:
            self._end_stream(AnswerKind.ERROR, _trailed_error(connection.error_type, connection.error_body))
        else:
            self._end_stream(AnswerKind.STREAMED, b"")

    def _end_stream(self, kind: AnswerKind, body: bytes) -> None:
        request_id, self._in_flight = self._in_flight, ""
        self._last, self._streaming = request_id, None
        if self._events is not None:
            self._events.on_answer(request_id, body, kind)

    def request(self, connection: Connection) -> None:
        """Answer one whole request, now or (`next`) later."""
        method, path = connection.method, connection.path
        events = self._events
        if events is None:
            connection.refuse(403, "InvalidStateTransition", "This environment does not use the Runtime API")
        elif path == _NEXT:
            if method == "GET":
                self._next(connection, events)
            else:
                connection.refuse(405, "MethodNotAllowed", f"{method} is not allowed here")
        elif path == _INIT_ERROR and method == "POST":
            self._init_error(connection, events)
        elif path.startswith(_INVOCATION) and method == "POST":
            self._answer(connection, events)
        else:
            connection.refuse(404, "NotFound", f"No such operation: {method} {path[:200]}")

    def _next(self, connection: Connection, events: RuntimeEvents) -> None:
        if self._streaming is not None and self._streaming not in self._connections:
            self._cut_off(self._streaming)
        if self._poller is not None or self._in_flight:
            step = "an invocation is in flight" if self._in_flight else "another request waits for the next invocation"
            connection.refuse(403, "InvalidStateTransition", f"State transition failed for runtime: {step}")
            return
        self._poller = connection
        if not self._initialised:
            self._initialised = True
            events.on_ready()
        self._hand_over()

    def _hand_over(self) -> None:
        if self._poller is None or self._waiting is None:
            return
        connection, delivery = self._poller, self._waiting
        self._poller = self._waiting = None
        self._in_flight = delivery.request_id
        self.taken = True
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": delivery.request_id,
            "Lambda-Runtime-Deadline-Ms": str(delivery.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": delivery.arn,
            "Lambda-Runtime-Trace-Id": delivery.trace_id,
        }
        if delivery.client_context:
            headers["Lambda-Runtime-Client-Context"] = delivery.client_context
        connection.respond(200, delivery.payload, headers)

    def _init_error(self, connection: Connection, events: RuntimeEvents) -> None:
        if self._initialised or connection.too_large:
            connection.refuse(403, "InvalidStateTransition", "State transition failed for runtime: init has ended")
            return
        self._initialised = True
        connection.accept()
        events.on_init_failed(_error_object(connection.body, connection.error_type))

    def _answer(self, connection: Connection, events: RuntimeEvents) -> None:
        request_id, _, verb = connection.path.removeprefix(_INVOCATION).partition("/")
        if verb not in ("response", "error"):
            connection.refuse(404, "NotFound", f"No such operation: POST {connection.path[:200]}")
        elif request_id != self._in_flight or not request_id or (self._streaming and verb == "response"):
            if request_id and request_id in (self._last, self._in_flight):
                message = "State transition failed for runtime: this invocation was answered already"
                connection.refuse(403, "InvalidStateTransition", message)
            else:
                connection.refuse(400, "InvalidRequestID", "Invalid request ID")
        else:
            if self._streaming is not None:
                self._streaming.resume()  # an error beside it ends it: the rest is read and dropped
            self._in_flight, self._last, self._streaming = "", request_id, None
            self._settle(connection, events, request_id, verb)

    def _settle(self, connection: Connection, events: RuntimeEvents, request_id: str, verb: str) -> None:
        if connection.too_large:
            message = f"Exceeded maximum allowed payload size ({SYNC_PAYLOAD_BYTES} bytes)."
            connection.refuse(413, "RequestEntityTooLarge", message)
            events.on_answer(request_id, b"", AnswerKind.TOO_LARGE)
        elif verb == "error":
            connection.accept()
            events.on_answer(request_id, _error_object(connection.body, connection.error_type), AnswerKind.ERROR)
        else:
            connection.accept()
            events.on_answer(request_id, connection.body, AnswerKind.RESULT)


class Connection(asyncio.Protocol):
    """One connection: HTTP/1.1, one request after the other, bodies and headers bounded."""

    def __init__(self, api: RuntimeApi) -> None:
        self._api = api
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waits = False
        """A whole request was read and is not answered yet."""
        self._header_bytes = 0
        self._framing_bytes = 0
        """Since the last byte of a body: chunk sizes and trailers."""
        self._reads_headers = True
        self._passes_on = self._paused = False
        self._reset()

    def _reset(self) -> None:
        self.method = ""
        self.path = ""
        self.content_type = ""
        self.error_type = ""
        self.error_body = b""
        """Of a stream's trailers: JSON in base64."""
        self._streaming = False
        self._in_body = False
        self.too_large = False
        self._url = b""
        self._body = bytearray()
        self._expects_continue = False

    @property
    def body(self) -> bytes:
        """The request's body."""
        return bytes(self._body)

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless this environment has too many connections."""
        # uvloop's transports have its methods, but not asyncio's class for a base.
        self._transport = cast(asyncio.Transport, transport)
        if not self._api.opened(self):
            self.refuse(503, "TooManyConnections", "This environment has too many connections", close=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._transport = None
        self._api.closed(self)

    def eof_received(self) -> bool:
        """Close: a runtime that stops sending does not wait for an answer either."""
        return False

    def data_received(self, data: bytes) -> None:
        """Parse; what is not HTTP is answered 400 and ends the connection."""
        if self._transport is None:
            return
        if self._reads_headers:
            self._header_bytes += len(data)
        self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.refuse(400, "BadRequest", "No upgrade here", close=True)
        except httptools.HttpParserError as error:
            if not self._waits:
                self.refuse(400, "BadRequest", f"Not HTTP: {error}", close=True)
            self.abort()
            return
        if self._reads_headers and self._header_bytes > HEADER_BYTES_MAX:
            self.refuse(431, "HeaderTooLarge", f"Headers are over {HEADER_BYTES_MAX} bytes", close=True)
        elif not self._reads_headers and self._framing_bytes > TRAILER_BYTES_MAX:
            self.refuse(431, "TrailerTooLarge", f"Trailers are over {TRAILER_BYTES_MAX} bytes", close=True)

    # -- httptools -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._waits:
            raise httptools.HttpParserError("a request before the answer to the one before it")
        self._reset()

    def on_url(self, url: bytes) -> None:
        """Collect the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the headers that matter."""
        lowered = name.lower()
        if lowered == b"lambda-runtime-function-response-mode":
            self._streaming = value.strip().lower() == b"streaming"
        elif lowered == b"lambda-runtime-function-error-type":
            self.error_type = value.decode("latin-1")[:256]
        elif lowered == b"lambda-runtime-function-error-body" and self._in_body:
            self.error_body = value
        elif lowered == b"content-type" and not self._in_body:
            self.content_type = value.decode("latin-1")[:256]
        elif lowered == b"expect":
            self._expects_continue = value.strip().lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Read the target; invite the body where the client waits for that."""
        self._reads_headers = False
        self._header_bytes = self._framing_bytes = 0
        self.method = self._parser.get_method().decode("ascii")
        self.path = self._url.decode("latin-1").partition("?")[0] or "/"
        if self._expects_continue and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._streaming:
            self.error_type = ""  # a stream's error is in its trailers
            self._passes_on = self._api.begins_stream(self)
        self._in_body = True

    def on_body(self, data: bytes) -> None:
        """Pass a stream on. Collect any other body up to the limit; what is over it is read and dropped."""
        self._framing_bytes = 0
        if self._passes_on:
            self._api.part(self, data)
        elif not self.too_large:
            if len(self._body) + len(data) > SYNC_PAYLOAD_BYTES:
                self.too_large = True
                self._body.clear()
            else:
                self._body += data

    def on_message_complete(self) -> None:
        """Act on the whole request."""
        self._waits = self._reads_headers = True
        if self._passes_on:
            self._passes_on = False
            self.resume()
            self._api.stream_ended(self)
        else:
            self._api.request(self)

    # -- answers -------------------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Answer 202."""
        self.respond(202, b'{"status":"OK"}\n', {"Content-Type": "application/json"})

    def refuse(self, status: int, error_type: str, message: str, *, close: bool = False) -> None:
        """Answer an error in the API's own shape."""
        body = orjson.dumps({"errorMessage": message, "errorType": error_type})
        self.respond(status, body, {"Content-Type": "application/json"}, close=close)

    def respond(self, status: int, body: bytes, headers: dict[str, str], *, close: bool = False) -> None:
        """Write one response."""
        self._waits = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        keep = not close and self._parser.should_keep_alive()
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}"]
        # A caller's text must not become a header of its own.
        lines += [f"{name}: {value}".replace("\r", " ").replace("\n", " ") for name, value in headers.items()]
        lines.append(f"Content-Length: {len(body)}")
        lines.append("Connection: keep-alive" if keep else "Connection: close")
        transport.write("\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body)
        if not keep:
            transport.close()

    def pause(self) -> None:
        """Read nothing for now. The peer's hang-up is then seen later."""
        if self._transport is not None and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
        self._paused = False

    def abort(self) -> None:
        """End the connection, after what was written."""
        if self._transport is not None:
            self._transport.close()


def _trailed_error(error_type: str, body: bytes) -> bytes:
    """Return what a caller gets of the error in a stream's trailers."""
    try:
        return _error_object(base64.b64decode(body, validate=True), error_type)
    except binascii.Error:
        return _error_object(body, error_type)


def _error_object(body: bytes, error_type: str) -> bytes:
    """Return what a caller gets of a runtime's error: its own JSON, or its text in the shape of one."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode(errors="replace")
        return orjson.dumps({"errorMessage": text, "errorType": error_type or "Unhandled"})
    return body
