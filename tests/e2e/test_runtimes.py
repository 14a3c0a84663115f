"""Runtimes other than Python, in both sandboxes: Node.js under our bootstrap, and packages with a `bootstrap`."""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import pytest

COMMON_JS = """
const { setTimeout: sleep } = require('node:timers/promises');
const { word } = require('./lib/word');

exports.echo = async (event, context) => {
  console.log('seen', JSON.stringify(event));
  await sleep(10);
  return { event, word, id: context.awsRequestId, left: context.getRemainingTimeInMillis(), cwd: process.cwd(),
    arn: context.invokedFunctionArn, memory: context.memoryLimitInMB, uid: process.getuid(), node: process.version };
};

exports.callback = (event, context, callback) => {
  if (event.fail) callback(new RangeError('told to fail'));
  else setTimeout(() => callback(null, { twice: event.n * 2 }), 10);
};

function inner() {
  throw new TypeError('no good');
}
exports.fail = async () => inner();

exports.leave = async () => process.exit(3);
exports.sleep = () => new Promise((done) => setTimeout(done, 60_000));
"""
MODULE = """
import { basename } from 'node:path';
const started = await Promise.resolve('at the top');
export const handler = async (event) => ({ event, started, file: basename(import.meta.url) });
"""
BOOTSTRAP = """#!/bin/bash
set -euo pipefail
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
headers=/tmp/headers
calls=0
header() { grep -i "^$1:" "$headers" | cut -d' ' -f2- | tr -d '\\r\\n'; }
while true; do
  event=$(curl -sS -D "$headers" "$api/next")
  id=$(header Lambda-Runtime-Aws-Request-Id)
  calls=$((calls + 1))
  echo "seen $event"
  case "$event" in
    *fail*) curl -sS -o /dev/null -d '{"errorMessage": "told to fail", "errorType": "Shell.Failed"}' \\
      -H 'Lambda-Runtime-Function-Error-Type: Shell.Failed' "$api/$id/error" ;;
    *leave*) exit 7 ;;
    *) curl -sS -o /dev/null -d @- "$api/$id/response" <<END
{"event": $event, "id": "$id", "calls": $calls, "handler": "$_HANDLER", "cwd": "$PWD", "uid": $(id -u),
 "arn": "$(header Lambda-Runtime-Invoked-Function-Arn)", "deadline": $(header Lambda-Runtime-Deadline-Ms)}
END
  esac
done
"""
REPORTS_INIT_ERROR = """#!/bin/sh
curl -sS -o /dev/null -d '{"errorMessage": "no database", "errorType": "Shell.Config"}' \\
  -H 'Lambda-Runtime-Function-Error-Type: Shell.Config' \\
  "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/init/error"
exit 1
"""
NODE, PROVIDED = "nodejs20.x", "provided.al2023"


@pytest.fixture(scope="module")
def call(platform: Any) -> Any:
    """Deploy what is not deployed yet, call it, and return its answer with the payload read and the log decoded."""
    made: dict[Any, str] = {}
    states = platform.get("/_lambent/runtimes")

    def call(runtime: str, files: Mapping[str, str], handler: str, event: Any = None, **config: Any) -> dict[str, Any]:
        if states[runtime] not in ("ready", "buildable"):
            if platform.sandbox == "docker" and os.environ.get("LAMBENT_TEST_REQUIRE_DOCKER"):
                pytest.fail(f"{runtime}: {states[runtime]}", pytrace=False)
            pytest.skip(f"{runtime}: {states[runtime]}")
        key = (runtime, tuple(files.items()), handler, tuple(config.items()))
        if key not in made:
            made[key] = platform.deploy(files, handler=handler, Runtime=runtime, **config)
        answer = platform.client("lambda").invoke(FunctionName=made[key], LogType="Tail", Payload=json.dumps(event))
        log = base64.b64decode(answer["LogResult"]).decode()
        return {
            **answer,
            "Payload": json.loads(answer["Payload"].read()),
            "Log": log,
            "Id": answer["ResponseMetadata"]["RequestId"],
            "Name": made[key],
        }

    return call


def node(call: Any, handler: str, event: Any = None, **config: Any) -> Any:
    """Call an export of the CommonJS package."""
    files = {"index.js": COMMON_JS, "lib/word.js": "exports.word = 'from lib';\n"}
    return call(NODE, files, f"index.{handler}", event, **config)


def shell(call: Any, event: Any, **config: Any) -> Any:
    """Call the package that is a shell script."""
    return call(PROVIDED, {"bootstrap": BOOTSTRAP}, "anything.at-all", event, **config)


def test_node_async_handler(call: Any) -> None:
    """An async handler of a CommonJS package: result, context, its own modules, and its log with time and request."""
    answer = node(call, "echo", {"a": ["ü", None]}, MemorySize=256, Timeout=20)
    seen = answer["Payload"]
    assert (seen["event"], seen["word"], seen["id"]) == ({"a": ["ü", None]}, "from lib", answer["Id"])
    assert (int(seen["memory"]), seen["cwd"]) == (256, "/var/task")
    assert 15_000 < seen["left"] <= 20_000
    assert seen["arn"].endswith(f":function:{answer['Name']}")
    assert seen["uid"] != 0
    assert seen["node"].startswith("v20.")
    assert f'\t{answer["Id"]}\tINFO\tseen {{"a":["ü",null]}}\n' in answer["Log"]


def test_node_module(call: Any) -> None:
    """`index.mjs` is an ES module, with a top-level await."""
    payload = call(NODE, {"index.mjs": MODULE}, "index.handler", [1])["Payload"]
    assert payload == {"event": [1], "started": "at the top", "file": "index.mjs"}


def test_node_callback(call: Any) -> None:
    """A handler with a callback answers by it, with a result or with an error; the next call is served."""
    for number in (2, 3):
        assert node(call, "callback", {"n": number})["Payload"] == {"twice": number * 2}
        failed = node(call, "callback", {"fail": True})
        assert failed["FunctionError"] == "Unhandled"
        assert (failed["Payload"]["errorType"], failed["Payload"]["errorMessage"]) == ("RangeError", "told to fail")


def test_node_error(call: Any) -> None:
    """An exception has its type, message and trace, the thrower's frame first, and is in the log."""
    answer = node(call, "fail")
    payload = answer["Payload"]
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (payload["errorType"], payload["errorMessage"]) == ("TypeError", "no good")
    assert payload["trace"][0] == "TypeError: no good"
    assert "at inner (/var/task/index.js:" in payload["trace"][1]
    assert f"\t{answer['Id']}\tERROR\tInvoke Error" in answer["Log"]


def test_node_ends_and_timeouts(call: Any) -> None:
    """A process that leaves is reported with its status, one that does not answer is killed in time."""
    left = node(call, "leave")["Payload"]
    assert left["errorType"] == "Runtime.ExitError"
    assert left["errorMessage"].endswith("Runtime exited with error: exit status 3")
    assert node(call, "sleep", Timeout=1)["Payload"]["errorType"] == "Sandbox.Timedout"


@pytest.mark.parametrize(
    ("files", "handler", "error"),
    [
        ({"index.js": "require('./gone');"}, "index.handler", "Runtime.ImportModuleError"),
        ({"index.js": "exports.other = 1;"}, "index.handler", "Runtime.HandlerNotFound"),
        ({"index.mjs": "export const handler = ;"}, "index.handler", "Runtime.UserCodeSyntaxError"),
    ],
)
def test_node_init_errors(call: Any, files: dict[str, str], handler: str, error: str) -> None:
    """What fails while the module is loaded is the call's answer."""
    answer = call(NODE, files, handler)
    assert (answer["FunctionError"], answer["Payload"]["errorType"]) == ("Unhandled", error)


def test_a_shell_script_on_the_runtime_api(call: Any) -> None:
    """A `bootstrap` takes its events from the Runtime API with curl, one after the other, in one environment."""
    for number in (1, 2):
        answer = shell(call, {"n": number}, Timeout=20)
        seen = answer["Payload"]
        assert (seen["event"], seen["id"], seen["calls"]) == ({"n": number}, answer["Id"], number)
        assert (seen["handler"], seen["cwd"]) == ("anything.at-all", "/var/task")
        assert seen["arn"].endswith(f":function:{answer['Name']}")
        assert seen["uid"] != 0
        assert seen["deadline"] > 1_700_000_000_000
        assert f'seen {{"n": {number}}}\n' in answer["Log"]


def test_a_shell_scripts_errors(call: Any) -> None:
    """An error that it posts is the call's; when it leaves in mid-call, that is reported; then a new one serves."""
    assert shell(call, "x", MemorySize=256)["Payload"]["calls"] == 1
    failed = shell(call, "fail", MemorySize=256)
    assert failed["FunctionError"] == "Unhandled"
    assert failed["Payload"] == {"errorMessage": "told to fail", "errorType": "Shell.Failed"}
    left = shell(call, "leave", MemorySize=256)
    assert left["Payload"] == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {left['Id']} Error: Runtime exited with error: exit status 7",
    }
    assert shell(call, "x", MemorySize=256)["Payload"]["calls"] == 1


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"bootstrap": "#!/bin/sh\nexit 1\n"}, "Runtime.ExitError", "Error: Runtime exited with error: exit status 1"),
        ({"bootstrap": "#!/bin/sh\nexit 0\n"}, "Runtime.ExitError", "Error: Runtime exited without providing a reason"),
        ({"bootstrap": REPORTS_INIT_ERROR}, "Shell.Config", "no database"),
        (
            {"other": "x"},
            "Runtime.InvalidEntrypoint",
            "Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]",
        ),
    ],
)
def test_a_bootstrap_that_fails_to_begin(call: Any, files: dict[str, str], error: str, message: str) -> None:
    """It ends before its first event, says why it cannot begin, or is not there: the call's answer says which."""
    answer = call(PROVIDED, files, "x")
    assert (answer["FunctionError"], answer["Payload"]["errorType"]) == ("Unhandled", error)
    prefix = f"RequestId: {answer['Id']} " if error.startswith("Runtime.") else ""
    assert answer["Payload"]["errorMessage"] == f"{prefix}{message}"


def test_a_bootstrap_that_is_not_executable(call: Any, platform: Any) -> None:
    """The package's own modes count, as on Lambda, and the answer says what is wrong."""
    name = shell(call, "x")["Name"]
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, BOOTSTRAP)
    platform.client("lambda").update_function_code(FunctionName=name, ZipFile=data.getvalue())
    platform.client("lambda").get_waiter("function_updated_v2").wait(FunctionName=name)
    answer = platform.client("lambda").invoke(FunctionName=name)
    assert json.loads(answer["Payload"].read()) == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": f"RequestId: {answer['ResponseMetadata']['RequestId']} "
        "Error: fork/exec /var/task/bootstrap: permission denied",
    }
