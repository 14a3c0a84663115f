"""Runs a Python handler inside an execution environment.

Started without arguments, often long before its function is known. It speaks frames on the stream socket whose
descriptor `LAMBENT_CHANNEL_FD` names (big endian: u32 length of what follows, u8 type, body):

    CLAIM 1    in   JSON {env, handler, task_root}: become this function's environment (a null env: keep the process's)
    INVOKE 2   in   u32 length of header · JSON {id, deadline_ms, arn, trace_id, client_context} · event
    READY 16   out  the handler is loaded
    FAILED 17  out  JSON error: it could not be loaded; the process ends
    RESULT 18  out  36 bytes of request id · response
    ERROR 19   out  36 bytes of request id · JSON error
    STREAM 21  out  36 bytes of request id · content type: the response follows in parts
    PART 22    out  36 bytes of request id · bytes
    END 23     out  36 bytes of request id: the stream is whole; an ERROR instead says that it is not

A handler that is a generator, or an asynchronous one, streams its response: each `bytes` or `str` that it yields is
sent at once, and it goes on when there is room for it. A dictionary that it yields first, with any of `statusCode`,
`headers` and `cookies`, says what the reply over HTTP looks like.

Standard library only, Python 3.11 and later. Errors, context and log lines are those of AWS's own runtime client.
One call costs one read, one write and no thread.
"""

from __future__ import annotations

import decimal
import fcntl
import importlib
import json
import logging
import math
import os
import re
import socket
import struct
import sys
import time
import traceback
import types
from typing import Any, NoReturn

CLAIM, INVOKE, READY, FAILED, RESULT, ERROR, STREAM, PART, END = 1, 2, 16, 17, 18, 19, 21, 22, 23
PART_BYTES = 65536
GENERATORS = (types.GeneratorType, types.AsyncGeneratorType)
METADATA = frozenset({"statusCode", "headers", "cookies"})
METADATA_TYPE = "application/vnd.awslambda.http-integration-response"
HEAD = struct.Struct(">IB")
LENGTH = struct.Struct(">I")
READ_BYTES = 65536
RESPONSE_BYTES_MAX = 6_291_556
HIGH_FD = 700
"""The channel moves out of the way of handlers that close or reuse the first descriptors."""


class Fault(Exception):
    """A failure that the runtime itself reports, under a `Runtime.` type."""

    def __init__(self, error_type: str, message: str, trace: list[str] | None = None) -> None:
        super().__init__(message)
        self.error_type, self.message, self.trace = error_type, message, trace or []


class Channel:
    """The stream to the worker, one frame at a time."""

    def __init__(self, fd: int) -> None:
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, fd, inheritable=False)
            os.close(nothing)
        except OSError:  # a descriptor limit below HIGH_FD: it stays where it is
            moved = fd
            os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=moved)
        self._socket.setblocking(True)
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._pending = b""
        # A fork of the handler must never answer for it, nor take the next event.
        os.register_at_fork(after_in_child=self._socket.close)

    def receive(self) -> tuple[int, memoryview]:
        """Return (type, body); the body is valid until the next call. Ends the process when the worker has gone."""
        view, have = self._view, 0
        while have < 4:
            have += self._read(view[have:])
        size = 4 + LENGTH.unpack_from(view)[0]
        if size > len(view):
            larger = memoryview(bytearray(size))
            larger[:have] = view[:have]
            view = larger
        while have < size:
            have += self._read(view[have:size])
        return view[4], view[5:size]

    def _read(self, into: memoryview) -> int:
        try:
            got = self._socket.recv_into(into)
        except OSError:
            got = 0
        if not got:
            leave(0)
        return got

    def send(self, kind: int, *parts: bytes) -> None:
        """Send one frame. Ends the process when the worker has gone, or where this is a fork of the handler."""
        try:
            self._socket.sendall(b"".join((HEAD.pack(1 + sum(map(len, parts)), kind), *parts)))
        except OSError:
            leave(0)

    async def send_later(self, kind: int, *parts: bytes) -> None:
        """Send one frame and let the event loop run meanwhile."""
        import asyncio

        self._socket.setblocking(False)
        try:
            frame = b"".join((HEAD.pack(1 + sum(map(len, parts)), kind), *parts))
            await asyncio.get_running_loop().sock_sendall(self._socket, frame)
        except OSError:
            leave(0)
        finally:
            self._socket.setblocking(True)


def leave(code: int) -> NoReturn:
    """End without the handler's `atexit` functions and threads in the way."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
    os._exit(code)


class Encoder(json.JSONEncoder):
    """JSON as AWS's client writes it: `Decimal` is a number, bytes are text, not-a-number is `NaN`."""

    def __init__(self) -> None:
        super().__init__(ensure_ascii=sys.version_info < (3, 12))
        self._mark = os.urandom(8).hex()
        self._marked = re.compile(f'"{self._mark}([^"]*)"')
        self._used = False

    def default(self, value: Any) -> Any:
        """Encode what `json` cannot."""
        if isinstance(value, decimal.Decimal):
            if value.is_nan():
                return math.nan
            self._used = True
            return f"{self._mark}{value}"
        if isinstance(value, bytes):
            return value.decode()
        return super().default(value)

    def response(self, value: Any) -> bytes:
        """Return the bytes of a handler's response.

        Raises:
            Fault: `Runtime.MarshalError`.
        """
        if isinstance(value, bytes):
            return value
        try:
            text = self.encode(value)
            if self._used:
                self._used = False
                text = self._marked.sub(r"\1", text)
            return text.encode()
        except Exception as error:
            self._used = False
            raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error


class Fields:
    """An object made of some keys of a dictionary; the others are None."""

    names: tuple[str, ...] = ()

    def __init__(self, values: dict[str, Any]) -> None:
        for name in self.names:
            setattr(self, name, values.get(name))

    def __repr__(self) -> str:
        inner = ",".join(f"{name}={getattr(self, name)}" for name in self.names)
        return f"{type(self).__name__}([{inner}])"


class CognitoIdentity(Fields):
    """Who called, where a mobile SDK said so."""

    names = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(Fields):
    """The calling application."""

    names = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(Fields):
    """What a caller passed in `ClientContext`."""

    names = ("custom", "env", "client")

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.client = Client(values.get("client") or {})


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, header: dict[str, Any]) -> None:
        environ = os.environ
        self.aws_request_id: str = header["id"]
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn: str = header["arn"]
        self.tenant_id = None
        self.client_context = client_context(header.get("client_context") or "")
        self.identity = CognitoIdentity({})
        self._epoch_deadline_time_in_ms: int = header["deadline_ms"]

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until this invocation times out."""
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def log(self, message: object) -> None:
        """Write to the function's log."""
        sys.stdout.write(str(message))

    def __repr__(self) -> str:
        names = ("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb",
                 "function_version", "invoked_function_arn", "client_context", "identity", "tenant_id")  # fmt: skip
        return f"LambdaContext([{','.join(f'{name}={getattr(self, name)}' for name in names)}])"


def client_context(text: str) -> ClientContext | None:
    """Read a caller's client context.

    Raises:
        Fault: `Runtime.LambdaContextUnmarshalError`.
    """
    if not text:
        return None
    try:
        return ClientContext(json.loads(text))
    except Exception as error:
        message = f"Unable to parse Client Context JSON: {error}"
        raise Fault("Runtime.LambdaContextUnmarshalError", message) from error


class LogHandler(logging.Handler):
    """Writes what goes through `logging` in Lambda's form, under the request that is running."""

    def __init__(self) -> None:
        super().__init__()
        self.request_id = ""
        self.setFormatter(
            logging.Formatter(
                "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
            )
        )
        logging.Formatter.converter = time.gmtime

    def filter(self, record: logging.LogRecord) -> bool:
        """Name the request in every record."""
        record.aws_request_id = self.request_id
        return bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        sys.stdout.write(self.format(record))


def error_object(message: str, error_type: str, trace: list[str], request_id: str = "") -> dict[str, Any]:
    """Lambda's error object of a Python function."""
    return {"errorMessage": message, "errorType": error_type, "requestId": request_id, "stackTrace": trace}


def describe(error: BaseException, request_id: str = "") -> dict[str, Any]:
    """Turn an exception into Lambda's error object, without the frames of this file in front."""
    if isinstance(error, Fault):
        return error_object(error.message, error.error_type, error.trace, request_id)
    frames = traceback.extract_tb(error.__traceback__)
    own = 0
    while own < len(frames) and frames[own].filename == __file__:
        own += 1
    # Lines with the code under them but without the marks that newer interpreters draw below it.
    plain = [(frame.filename, frame.lineno, frame.name, frame.line) for frame in frames[own:]]
    lines = traceback.format_list(plain)  # type: ignore[arg-type]
    return error_object(str(error), type(error).__name__, lines, request_id)


def log_error(error: dict[str, Any]) -> None:
    """Print an error as Lambda does: one event, its lines joined by carriage returns, indented by hard spaces."""
    title = "[ERROR] " + ": ".join(part for part in (error["errorType"], error["errorMessage"]) if part)
    lines = [title, "Traceback (most recent call last):"]
    for entry in error["stackTrace"]:
        for line in entry.splitlines():
            text = line.lstrip(" ")
            lines.append("\u00a0" * (len(line) - len(text)) + text)
    try:
        sys.stdout.write("\r".join(lines) + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        pass  # the handler closed its output; the caller still gets the error


def load(handler: str) -> Any:
    """Import a handler by its name: `module.function`, `package.module.function` or `folder/module.function`.

    Raises:
        Fault: with Lambda's type and words.
    """
    module_name, dot, function = handler.rpartition(".")
    if not dot:
        message = f"Bad handler '{handler}': not enough values to unpack (expected 2, got 1)"
        raise Fault("Runtime.MalformedHandlerName", message)
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = f"Cannot use built-in module {module_name} as a handler module"
        raise Fault("Runtime.BuiltInModuleConflict", message)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from error
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        message = f"Syntax error in module '{module_name}': {error}"
        raise Fault("Runtime.UserCodeSyntaxError", message, trace) from error
    try:
        return getattr(module, function)
    except AttributeError as error:
        message = f"Handler '{function}' missing on module '{module_name}'"
        raise Fault("Runtime.HandlerNotFound", message) from error


def become(claim: dict[str, Any]) -> None:
    """Take on a function's environment variables, working directory and module path."""
    if claim["env"] is not None:
        os.environ.clear()
        os.environ.update(claim["env"])
    time.tzset()
    root = claim["task_root"]
    os.chdir(root)
    own = os.path.dirname(os.path.abspath(__file__))
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    front = [root, f"/opt/python/lib/{minor}/site-packages", "/opt/python"]
    wanted = [entry for entry in os.environ.get("PYTHONPATH", "").split(":") if entry and entry not in front]
    rest = [entry for entry in sys.path if entry not in front and entry not in wanted and entry not in ("", own)]
    sys.path[:] = [*front, *(entry for entry in wanted if entry != own), *rest]


class Stream:
    """The response of one call, in parts."""

    def __init__(self, channel: Channel, request_id: bytes, encoder: Encoder) -> None:
        self._channel, self._request_id, self._encoder = channel, request_id, encoder
        self._begun = False

    def send(self, values: Any) -> tuple[int, bytes, bytes]:
        """Send what a generator yields as it yields it; return the last frame."""
        if isinstance(values, types.AsyncGeneratorType):
            error = run(self._send_async(values))
            if error is not None:
                raise error
        else:
            try:
                for value in values:
                    for part in self._parts(value):
                        self._channel.send(PART, self._request_id, part)
            finally:
                values.close()
        if not self._begun:
            self._begin("application/octet-stream")
        return END, self._request_id, b""

    async def _send_async(self, values: Any) -> Exception | None:
        """Do the same for an asynchronous generator; return its error, without the event loop's own frames."""
        try:
            async for value in values:
                for part in self._parts(value):
                    await self._channel.send_later(PART, self._request_id, part)
        except Exception as error:
            return error
        finally:
            await values.aclose()
        return None

    def _begin(self, content_type: str) -> None:
        self._begun = True
        self._channel.send(STREAM, self._request_id, content_type.encode())

    def _parts(self, value: Any) -> list[bytes]:
        """Return the bytes of one value, cut to size; the first value begins the stream.

        Raises:
            Fault: `Runtime.MarshalError`, where it can be no part of a response.
        """
        if isinstance(value, str):
            data, content_type = value.encode(), "text/plain; charset=utf-8"
        elif isinstance(value, (bytes, bytearray, memoryview)):
            data, content_type = bytes(value), "application/octet-stream"
        elif not self._begun and isinstance(value, dict) and METADATA.issuperset(value):
            data, content_type = self._encoder.response(value) + bytes(8), METADATA_TYPE
        else:
            message = (
                "Unable to marshal response: a generator yields bytes or str, and may yield a dict of statusCode, "
                f"headers and cookies first, but not {type(value).__name__}"
            )
            raise Fault("Runtime.MarshalError", message)
        if not self._begun:
            self._begin(content_type)
        return [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]


def run(work: Any) -> Any:
    """Run a coroutine on the one event loop of this process, so that clients made in one call work in the next."""
    global _runner
    if _runner is None:
        import asyncio

        _runner = asyncio.Runner()
    return _runner.run(work)


_runner: Any = None


def invoke(
    handler: Any, body: memoryview, encoder: Encoder, logs: LogHandler, channel: Channel
) -> tuple[int, bytes, bytes]:
    """Run one event; return the frame's type, request id and bytes."""
    header_size = LENGTH.unpack_from(body)[0]
    header = json.loads(bytes(body[4 : 4 + header_size]))
    request_id: str = header["id"]
    logs.request_id = request_id
    trace_id = header.get("trace_id")
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    elif "_X_AMZN_TRACE_ID" in os.environ:
        del os.environ["_X_AMZN_TRACE_ID"]
    try:
        context = LambdaContext(header)
        try:
            event = json.loads(bytes(body[4 + header_size :]))
        except Exception as error:
            raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error
        result = handler(event, context)
        if isinstance(result, GENERATORS):
            return Stream(channel, request_id.encode(), encoder).send(result)
        # More than the limit is not sent: the worker only has to see that it is over it.
        response = encoder.response(result)[: RESPONSE_BYTES_MAX + 1]
        return RESULT, request_id.encode(), response
    except Exception as error:
        described = describe(error, request_id)
        log_error(described)
        return ERROR, request_id.encode(), json.dumps(described).encode()


def main() -> NoReturn:
    """Wait for a function, load it, and run its events one after the other until the worker goes away."""
    channel = Channel(int(os.environ.pop("LAMBENT_CHANNEL_FD", "3")))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    logs = LogHandler()
    logging.getLogger().addHandler(logs)
    encoder = Encoder()
    kind, body = channel.receive()
    if kind != CLAIM:
        leave(64)
    claim = json.loads(bytes(body))
    try:
        become(claim)
        handler = load(claim["handler"])
    except Exception as error:
        described = describe(error)
        log_error(described)
        channel.send(FAILED, json.dumps(described).encode())
        leave(1)
    channel.send(READY)
    while True:
        kind, body = channel.receive()
        if kind != INVOKE:
            leave(64)
        answer = invoke(handler, body, encoder, logs, channel)
        for stream in (sys.stdout, sys.stderr):
            try:  # noqa: SIM105 - a context manager here would cost every call
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass  # closed by the handler
        channel.send(*answer)


if __name__ == "__main__":
    main()
