"""The Node.js bootstrap as a real process: claimed over a socket pair, then called over it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from lambent_platform.contracts.limits import SYNC_PAYLOAD_BYTES
from lambent_workers.frames import FrameType
from lambent_workers.images import runtimes_dir

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
NODE = shutil.which("node")
VERSION = (
    int(subprocess.run([NODE, "-p", "process.versions.node"], capture_output=True, text=True).stdout.split(".")[0])
    if NODE
    else 0
)
pytestmark = pytest.mark.skipif(VERSION < 20, reason="no Node.js 20 or later is installed here")
callbacks = pytest.mark.skipif(VERSION >= 24, reason="Lambda has no callbacks from Node.js 24 on")
Start = Callable[..., Any]


@pytest.fixture
def start(bootstraps: Callable[..., Any]) -> Start:
    """Starts a bootstrap, with `index.js` and further files in its package."""
    assert NODE is not None
    argv = [NODE, str(runtimes_dir() / "nodejs" / "bootstrap.mjs")]
    return lambda source="", named=None: bootstraps(argv, {"index.js": source, **(named or {})})


def test_context_and_surroundings(start: Start) -> None:
    """A handler sees Lambda's context, its own variables only, and its package as working directory."""
    boot = start("""
        exports.handler = async (event, context) => ({
            event, id: context.awsRequestId, arn: context.invokedFunctionArn, name: context.functionName,
            memory: context.memoryLimitInMB, version: context.functionVersion, group: context.logGroupName,
            left: context.getRemainingTimeInMillis(), custom: context.clientContext.custom, cwd: process.cwd(),
            trace: process.env._X_AMZN_TRACE_ID, variables: Object.keys(process.env), mine: process.env.MINE,
            nothing: undefined,
        });
    """)
    assert boot.claim("index.handler", MINE="1") == (FrameType.READY, None)
    seen = boot.call({"k": "ü"}, client_context='{"custom": {"a": 1}}')
    assert (seen["event"], seen["arn"], seen["name"], seen["memory"]) == ({"k": "ü"}, ARN, "f", "128")
    assert (seen["version"], seen["group"], seen["custom"]) == ("$LATEST", "/aws/lambda/f", {"a": 1})
    assert seen["left"] > 10**9
    assert (seen["cwd"], seen["trace"], seen["mine"]) == (str(boot.root), "Root=1", "1")
    assert not [name for name in seen["variables"] if name.startswith("LAMBENT")]
    assert "nothing" not in seen


CJS, ESM = "exports.run = async () => 'cjs'", "export const run = async () => 'esm'"


@pytest.mark.parametrize(
    ("handler", "named", "answer"),
    [
        ("a.run", {"a.js": CJS}, "cjs"),
        ("a.run", {"a.mjs": ESM}, "esm"),
        ("a.run", {"a.cjs": CJS, "package.json": '{"type": "module"}'}, "cjs"),
        ("a.run", {"a.js": ESM, "package.json": '{"type": "module"}'}, "esm"),
        ("deep/er/a.run", {"deep__er__a.js": CJS}, "cjs"),
        ("a.outer.run", {"a.js": "exports.outer = {run: async () => 'nested'}"}, "nested"),
        ("a.run", {"a.mjs": "export default {run: async () => 'default'}"}, "default"),
        ("lib.run", {"node_modules__lib__index.js": CJS}, "cjs"),
        ("a.run", {"a.js": "exports.run = () => require('lib').run()", "node_modules__lib__index.js": CJS}, "cjs"),
        ("a.run", {"a.mjs": "export const run = async () => { await 0; return (await import('./b.mjs')).run(); }",
                   "b.mjs": ESM}, "esm"),
    ],
)  # fmt: skip
def test_handlers_and_modules(start: Start, handler: str, named: dict[str, str], answer: str) -> None:
    """Handlers are found in CommonJS and ES modules, folders, nested objects and installed packages."""
    boot = start(named=named)
    kind, said = boot.claim(handler)
    assert kind == FrameType.READY, said
    assert boot.call() == answer


def test_node_path_is_the_functions_own(start: Start) -> None:
    """NODE_PATH is read anew at the claim, long after the interpreter has started."""
    boot = start("exports.handler = async () => require('shared').run()", {"opt__shared__index.js": CJS})
    assert boot.claim("index.handler", NODE_PATH=str(boot.root / "opt"))[0] == FrameType.READY
    assert boot.call() == "cjs"


@pytest.mark.parametrize(
    ("handler", "source", "error_type", "message"),
    [
        ("nope.handler", "", "Runtime.ImportModuleError", "Error: Cannot find module 'nope'"),
        ("index.nope", "", "Runtime.HandlerNotFound", "index.nope is undefined or not exported"),
        ("index.a", "exports.a = 1", "Runtime.HandlerNotFound", "index.a is not a function"),
        ("index.handler", "const x = ;", "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token"),
        ("index", "", "Runtime.MalformedHandlerName", "Bad handler"),
        ("../index.handler", "", "Runtime.MalformedHandlerName", "'../index.handler' is not a valid handler name."),
        ("index.handler", "require('absent')", "Runtime.ImportModuleError", "Error: Cannot find module 'absent'"),
        ("index.handler", "null.x", "TypeError", "Cannot read properties of null"),
        ("index.handler", "setTimeout(() => { throw new RangeError('late') }); exports.handler = null", "", ""),
    ],
)
def test_init_errors(start: Start, handler: str, source: str, error_type: str, message: str) -> None:
    """What goes wrong at init is told in Lambda's words and ends the process."""
    boot = start(source)
    kind, error = boot.claim(handler)
    assert kind == FrameType.FAILED
    if error_type:
        assert error["errorType"] == error_type
        assert error["errorMessage"].startswith(message)
        assert error["trace"][0].startswith(
            error_type.removeprefix("Runtime.") if "." not in error_type else error_type
        )
    assert boot.process.wait(10) == 129
    assert "\tundefined\tERROR\tUncaught Exception \t{" in boot.end()


def test_errors_of_handlers(start: Start) -> None:
    """Rejections, throws and odd values become Lambda's error objects; the next event runs as if nothing were."""
    boot = start("""
        class Mine extends Error { constructor(m) { super(m); this.name = 'Mine'; this.code = 7; } }
        exports.handler = (event) => {
            if (event === 'reject') return Promise.reject(new Mine('é'));
            if (event === 'throw') throw new TypeError('sync');
            if (event === 'string') return Promise.reject('just text');
            if (event === 'circular') { const a = {}; a.a = a; return Promise.resolve(a); }
            return Promise.resolve(event);
        };
    """)
    boot.claim("index.handler")
    error = boot.fail("reject")
    assert (error["errorType"], error["errorMessage"]) == ("Mine", "é")
    assert error["trace"][0] == "Mine: é"
    assert "index.js:4:" in error["trace"][1]
    assert boot.fail("throw")["errorType"] == "TypeError"
    assert boot.fail("string") == {"errorType": "string", "errorMessage": "just text", "trace": []}
    assert boot.fail("circular")["errorMessage"] == "Unable to stringify response body"
    assert boot.call("fine") == "fine"
    output = boot.end()
    assert re.search(r"Z\t[0-9a-f-]{36}\tERROR\tInvoke Error \t\{\"errorType\":\"Mine\",.*\"code\":7", output)


def test_an_unhandled_rejection_ends_the_process(start: Start) -> None:
    """A rejection that nobody handles is the answer, and the worker is told that the process ends."""
    boot = start("exports.handler = async () => { Promise.reject(new Error('boom')); await new Promise(() => {}); }")
    boot.claim("index.handler")
    kind, body = boot.raw(b"{}")
    error = json.loads(body)
    assert (kind, error["errorType"]) == (FrameType.FATAL, "Runtime.UnhandledPromiseRejection")
    assert error["errorMessage"] == "Error: boom"
    assert boot.process.wait(10) == 128


def test_an_uncaught_exception_ends_the_process(start: Start) -> None:
    """An exception thrown from a timer is the answer, and the worker is told that the process ends."""
    boot = start("exports.handler = () => new Promise(() => setTimeout(() => { throw new Error('late') }, 10))")
    boot.claim("index.handler")
    kind, body = boot.raw(b"{}")
    assert (kind, json.loads(body)["errorMessage"]) == (FrameType.FATAL, "late")
    assert boot.process.wait(10) == 129


@callbacks
def test_callbacks(start: Start) -> None:
    """A callback answers when the event loop is empty, or at once where the handler asks for that."""
    boot = start("""
        let ran = [];
        exports.handler = (event, context, callback) => {
            if (event === 'ran') { const seen = ran; ran = []; return callback(null, seen); }
            if (event === 'error') return callback(new Error('by callback'));
            if (event === 'nothing') return;
            if (event === 'twice') { callback(null, 1); callback(null, 2); return; }
            if (event === 'done') return context.done(null, 'done');
            if (event === 'succeed') return context.succeed('succeed');
            if (event === 'fail') return context.fail(new Error('failed'));
            context.callbackWaitsForEmptyEventLoop = event.wait;
            setTimeout(() => ran.push(event.name), 100);
            callback(null, event.name);
        };
    """)
    boot.claim("index.handler")
    assert boot.call({"wait": True, "name": "waits"}) == "waits"
    assert boot.call("ran") == ["waits"]
    assert boot.call({"wait": False, "name": "leaves"}) == "leaves"
    assert boot.fail("error")["errorMessage"] == "by callback"
    assert boot.call("nothing") is None
    assert boot.call("twice") == 1
    assert [boot.call("done"), boot.call("succeed")] == ["done", "succeed"]
    assert boot.fail("fail")["errorMessage"] == "failed"


def test_a_promise_that_never_settles(start: Start) -> None:
    """With nothing left to wait for, a handler that never answers has answered null, as on Lambda."""
    boot = start("exports.handler = () => new Promise(() => {})")
    boot.claim("index.handler")
    assert boot.call() is None
    assert boot.call() is None


def test_console(start: Start) -> None:
    """Console lines carry time, request and level, one event each; what is written directly comes out as it is."""
    boot = start("""
        exports.handler = async () => {
            console.log('a %d', 1); console.warn('two\\nlines'); console.error({ x: 1 });
            process.stdout.write('raw\\n');
        };
    """)
    boot.claim("index.handler")
    request_id = boot.send(b"{}")
    boot.frame()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    lines = [rf"{time}\t{request_id}\t{rest}" for rest in (r"INFO\ta 1", r"WARN\ttwo\rlines", r"ERROR\t\{ x: 1 \}")]
    assert re.fullmatch("\n".join(lines) + "\nraw\n", boot.end())


def test_large_events_and_responses(start: Start) -> None:
    """A large event arrives whole; of a response over the limit only as much is sent as shows that."""
    boot = start("exports.handler = async (event) => 'x'.repeat(event.n) + (event.pad ?? '').slice(0, 1)")
    boot.claim("index.handler")
    assert boot.call({"n": 1, "pad": "y" * 6_000_000}) == "xy"
    assert len(boot.raw(b'{"n": 20000000}')[1]) == SYNC_PAYLOAD_BYTES + 1


def test_a_handler_that_exits(start: Start) -> None:
    """`process.exit` ends the process with its code and without an answer."""
    boot = start("exports.handler = async (event) => process.exit(event)")
    boot.claim("index.handler")
    boot.send(b"3")
    assert boot.channel.recv(1) == b""
    assert boot.process.wait(10) == 3


def test_a_handler_that_closes_its_output(start: Start) -> None:
    """Closing the standard streams neither ends the environment nor loses an answer."""
    boot = start("""
        exports.handler = async (event) => {
            if (event === 'close') { require('fs').closeSync(1); require('fs').closeSync(2); }
            console.log('into nothing');
            return event;
        };
    """)
    boot.claim("index.handler")
    assert boot.call("close") == "close"
    assert boot.call("again") == "again"


def test_children_do_not_inherit_the_channel(start: Start) -> None:
    """A child process that outlives the call cannot reach the channel."""
    boot = start("""
        const { execFileSync } = require('child_process');
        exports.handler = async () => execFileSync('ls', ['-l', '/proc/self/fd']).toString();
    """)
    boot.claim("index.handler")
    sockets = re.findall(r"(\d+) -> socket:", boot.call())
    assert set(sockets) <= {"0", "1", "2"}  # what Node.js itself made for the child's streams


def test_the_worker_going_away_ends_it(start: Start) -> None:
    """Without its worker a bootstrap ends by itself."""
    boot = start("exports.handler = async () => 1")
    boot.claim("index.handler")
    boot.channel.close()
    assert boot.process.wait(10) == 0
