"""The Python bootstrap as a real process: claimed over a socket pair, then called over it."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_workers.frames import FrameType
from lambent_workers.images import runtimes_dir

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


def interpreters() -> list[str]:
    """The Pythons of this machine that the bootstrap is made for; the one that runs the tests at least."""
    found = {sys.executable: True}
    for minor in ("3.12", "3.13", "3.14"):
        installed = sorted(Path.home().glob(f".pyenv/versions/{minor}*/bin/python{minor}"))
        path = str(installed[0]) if installed else shutil.which(f"python{minor}")
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            found[path] = True
    return list(found)


Start = Callable[..., Any]


@pytest.fixture(params=interpreters(), ids=lambda path: Path(path).resolve().name)
def start(request: pytest.FixtureRequest, bootstraps: Callable[..., Any]) -> Start:
    """Starts bootstraps on each interpreter, with `app.py` and further files in their package."""
    argv = [request.param, str(runtimes_dir() / "python" / "bootstrap.py")]
    return lambda source="", **named: bootstraps(argv, {"app.py": source, **named})


def test_context_and_surroundings(start: Start) -> None:
    """A handler sees Lambda's context, its own variables only, and its package as working directory and module path."""
    boot = start("""
        import os, sys
        def handler(event, context):
            return {
                "event": event, "id": context.aws_request_id, "arn": context.invoked_function_arn,
                "name": context.function_name, "memory": context.memory_limit_in_mb,
                "version": context.function_version, "group": context.log_group_name,
                "left": context.get_remaining_time_in_millis(),
                "custom": context.client_context.custom, "title": context.client_context.client.app_title,
                "identity": context.identity.cognito_identity_id, "cwd": os.getcwd(), "path": sys.path[0],
                "trace": os.environ["_X_AMZN_TRACE_ID"], "variables": sorted(os.environ), "mine": os.environ["MINE"],
            }
    """)
    assert boot.claim("app.handler", MINE="1", TZ=":UTC") == (FrameType.READY, None)
    client_context = json.dumps({"custom": {"a": 1}, "client": {"app_title": "t"}})
    seen = boot.call({"k": "ü"}, client_context=client_context)
    assert seen["event"] == {"k": "ü"}
    assert (seen["arn"], seen["name"], seen["memory"], seen["version"]) == (ARN, "f", "128", "$LATEST")
    assert (seen["group"], seen["custom"], seen["title"]) == ("/aws/lambda/f", {"a": 1}, "t")
    assert seen["left"] > 10**9
    assert seen["identity"] is None
    assert seen["cwd"] == seen["path"] == str(boot.root)
    assert (seen["trace"], seen["mine"]) == ("Root=1", "1")
    assert not [name for name in seen["variables"] if name.startswith("LAMBENT")]


@pytest.mark.parametrize(
    ("handler", "file"),
    [("pkg.sub.mod.run", "pkg__sub__mod.py"), ("folder/mod.run", "folder__mod.py"), ("mod.run", "mod.py"),
     ("bootstrap.run", "bootstrap.py")],
)  # fmt: skip
def test_handler_names(start: Start, handler: str, file: str) -> None:
    """Handlers are found in modules, packages and folders, also under the name of our own file."""
    boot = start(**{file: "def run(event, context): return __name__"})
    assert boot.claim(handler)[0] == FrameType.READY
    assert boot.call() == handler.rpartition(".")[0].replace("/", ".")


@pytest.mark.parametrize(
    ("handler", "source", "error_type", "message"),
    [
        ("nope.handler", "", "Runtime.ImportModuleError", "Unable to import module 'nope': No module named 'nope'"),
        ("app.nope", "", "Runtime.HandlerNotFound", "Handler 'nope' missing on module 'app'"),
        ("app.handler", "def handler(:", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app': "),
        ("handler", "", "Runtime.MalformedHandlerName", "Bad handler 'handler': not enough values to unpack"),
        ("sys.exit", "", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
        ("app.handler", "import absent", "Runtime.ImportModuleError", "Unable to import module 'app': No module named"),
        ("app.handler", "1 / 0", "ZeroDivisionError", "division by zero"),
    ],
)
def test_init_errors(start: Start, handler: str, source: str, error_type: str, message: str) -> None:
    """What goes wrong at init is told in Lambda's words, without a request id, and ends the process."""
    boot = start(source)
    kind, error = boot.claim(handler)
    assert kind == FrameType.FAILED
    assert (error["errorType"], error["requestId"]) == (error_type, "")
    assert error["errorMessage"].startswith(message)
    assert boot.process.wait(10) == 1
    assert f"[ERROR] {error_type}: {message}" in boot.end()


def test_errors_of_handlers(start: Start) -> None:
    """An exception becomes Lambda's error object without our own frames; the next event runs as if nothing were."""
    boot = start("""
        def inner(event):
            raise ValueError("bad " + event)
        def handler(event, context):
            return inner(event) if event else "fine"
    """)
    boot.claim("app.handler")
    error = boot.fail("é")
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "bad é")
    assert re.fullmatch(r"[0-9a-f-]{36}", error["requestId"])
    assert error["stackTrace"] == [
        f'  File "{boot.root}/app.py", line 5, in handler\n    return inner(event) if event else "fine"\n',
        f'  File "{boot.root}/app.py", line 3, in inner\n    raise ValueError("bad " + event)\n',
    ]
    assert boot.call("") == "fine"
    assert "[ERROR] ValueError: bad é\rTraceback (most recent call last):\r" in boot.end()


def test_responses_are_encoded_as_aws_does(start: Start) -> None:
    """Decimals are numbers, bytes go as they are, not-a-number is NaN, and what cannot be encoded is a MarshalError."""
    boot = start("""
        import decimal
        def handler(event, context):
            return eval(event)
    """)
    boot.claim("app.handler")

    def result(expression: str) -> tuple[int, bytes]:
        return boot.raw(json.dumps(expression).encode())

    assert result("{'a': decimal.Decimal('1.10'), 'b': [decimal.Decimal('7')]}")[1] == b'{"a": 1.10, "b": [7]}'
    assert result("{'a': '1.10', 'n': decimal.Decimal('NaN')}")[1] == b'{"a": "1.10", "n": NaN}'
    assert result("b'\\xff\\x00'")[1] == b"\xff\x00"
    assert result("[float('nan'), float('inf'), b'x', (1, 2), None]")[1] == b'[NaN, Infinity, "x", [1, 2], null]'
    kind, body = result("{1, 2}")
    error = json.loads(body)
    assert (kind, error["errorType"], error["stackTrace"]) == (FrameType.ERROR, "Runtime.MarshalError", [])
    assert error["errorMessage"] == "Unable to marshal response: Object of type set is not JSON serializable"
    # From 3.12 on AWS writes characters instead of escapes, and half a surrogate pair is none.
    kind, body = result("'\\ud800'")
    assert json.loads(body) == "\ud800" if kind == FrameType.RESULT else b"Runtime.MarshalError" in body
    assert json.loads(boot.raw(b"{not json")[1])["errorType"] == "Runtime.UnmarshalError"
    assert json.loads(boot.raw(b"1", client_context="{")[1])["errorType"] == "Runtime.LambdaContextUnmarshalError"


def test_a_response_over_the_limit_is_cut(start: Start) -> None:
    """Of a huge response only as much is sent as shows that it is over the limit; a large event arrives whole."""
    boot = start("def handler(event, context): return 'x' * event['n'] + event.get('pad', '')[:1]")
    boot.claim("app.handler")
    assert len(boot.raw(b'{"n": 30000000}')[1]) == SYNC_PAYLOAD_BYTES + 1
    assert boot.call({"n": 1, "pad": "y" * 6_000_000}) == "xy"


def test_logging(start: Start) -> None:
    """Records of `logging` carry level, time and the request they belong to; prints come out as they are."""
    boot = start("""
        import logging
        def handler(event, context):
            print("printed")
            logging.warning("careful %s", event)
            logging.getLogger("x").error("bad")
            print("no newline", end="")
    """)
    boot.claim("app.handler")
    request_id = boot.send(b'"now"')
    boot.frame()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    expected = (
        rf"printed\n\[WARNING\]\t{time}\t{request_id}\tcareful now\n\[ERROR\]\t{time}\t{request_id}\tbad\nno newline"
    )
    assert re.fullmatch(expected, boot.end())


def test_a_handler_that_exits(start: Start) -> None:
    """`sys.exit` ends the process with its code and without an answer: the worker says what that means."""
    boot = start("""
        import sys
        def handler(event, context):
            sys.exit(event)
    """)
    boot.claim("app.handler")
    boot.send(b"3")
    assert boot.channel.recv(1) == b""
    assert boot.process.wait(10) == 3


def test_a_handler_that_closes_its_descriptors(start: Start) -> None:
    """Closing the first descriptors, or the streams, neither ends the environment nor loses an answer."""
    boot = start("""
        import os, sys
        def handler(event, context):
            if event == "fds":
                os.closerange(0, 64)
            elif event == "streams":
                sys.stdout.close(); sys.stderr.close()
            elif event == "fail":
                raise ValueError("after")
            return event
    """)
    boot.claim("app.handler")
    assert boot.call("streams") == "streams"
    assert boot.fail("fail")["errorMessage"] == "after"
    assert boot.call("fds") == "fds"
    assert boot.call("more") == "more"


def test_a_handler_that_forks(start: Start) -> None:
    """A fork that comes back out of the handler does not answer, and does not take the next event."""
    boot = start("""
        import os
        def handler(event, context):
            return "child" if event == "fork" and os.fork() == 0 else os.getpid()
    """)
    boot.claim("app.handler")
    first = boot.call("fork")
    assert [boot.call("fork") for _ in range(5)] == [first] * 5 == [boot.process.pid] * 5
    assert not boot.received


def test_the_worker_going_away_ends_it(start: Start) -> None:
    """Without its worker a bootstrap ends by itself, before and after it was claimed."""
    waiting, claimed = start("def handler(e, c): pass"), start("def handler(e, c): pass")
    claimed.claim("app.handler")
    for boot in (waiting, claimed):
        boot.channel.close()
        assert boot.process.wait(10) == 0


def test_garbage_ends_it(start: Start) -> None:
    """An event before the claim is not run."""
    boot = start("def handler(e, c): pass")
    boot.channel.sendall(struct.pack(">IB", 1, FrameType.INVOKE))
    assert boot.process.wait(10) == 64
