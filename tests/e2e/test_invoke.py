"""Invoke as its users call it: boto3 and raw HTTP against a running platform, real handlers in real sandboxes."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

HANDLER = """
import json, os, sys, time

def echo(event, context):
    print("seen", json.dumps(event))
    return event

def about(event, context):
    return {
        "id": context.aws_request_id, "arn": context.invoked_function_arn, "name": context.function_name,
        "version": context.function_version, "memory": context.memory_limit_in_mb,
        "left_ms": context.get_remaining_time_in_millis(), "group": context.log_group_name,
        "client": context.client_context.custom if context.client_context else None,
        "cwd": os.getcwd(), "uid": os.getuid(), "env": dict(os.environ), "file": __file__,
    }

def fail(event, context):
    raise ValueError("no good")

def leave(event, context):
    os._exit(3)

def sleep(event, context):
    time.sleep(event["s"])
    return os.getpid()

def unserialisable(event, context):
    return {1, 2}

def eat(event, context):
    block = bytearray(event["mb"] << 20)
    for at in range(0, len(block), 4096):
        block[at] = 1
    return len(block)

def print_much(event, context):
    line = "x" * 1023 + "\\n"
    for _ in range(event["mb"] * 1024):
        sys.stdout.write(line)
    return "printed"

def fork(event, context):
    if os.fork() == 0:
        time.sleep(600)
    return "parent"

def close(event, context):
    for descriptor in event["fds"]:
        try:
            os.close(descriptor)
        except OSError:
            pass
    return "closed"

def answer_itself(event, context):
    import urllib.error, urllib.request
    url = "http://%s/2018-06-01/runtime/invocation/%s/response" % (
        os.environ["AWS_LAMBDA_RUNTIME_API"], context.aws_request_id)
    said = []
    for word in (b'"one"', b'"two"'):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=word, method="POST"), timeout=5) as answer:
                said.append(answer.status)
        except urllib.error.HTTPError as error:
            said.append(error.code)
    return said

def big(event, context):
    return "x" * event["bytes"]

def exit(event, context):
    sys.exit(event.get("code", 0))
"""


@pytest.fixture(scope="module")
def function(platform: Any) -> Any:
    """Deploy a function once for each of the handlers above; returns what calls them."""
    made: dict[str, str] = {}

    def call(handler: str, event: Any = None, **options: Any) -> dict[str, Any]:
        settings = {key: options.pop(key) for key in ("Timeout", "MemorySize") if key in options}
        key = f"{handler}-{sorted(settings.items())}"
        if key not in made:
            made[key] = platform.deploy(HANDLER, handler=f"app.{handler}", **settings)
        answer = platform.client("lambda").invoke(
            FunctionName=made[key], Payload=json.dumps(event if event is not None else {}), **options
        )
        payload = answer["Payload"].read()
        return {**answer, "Payload": json.loads(payload) if payload else None}

    return call


def test_echo_with_its_log(function: Any) -> None:
    """The result comes back as it was sent, with the version and the last of the log."""
    answer = function("echo", {"a": [1, "ü", None]}, LogType="Tail")
    assert answer["Payload"] == {"a": [1, "ü", None]}
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    log = base64.b64decode(answer["LogResult"]).decode()
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = [line for line in log.splitlines() if line]
    assert f"START RequestId: {request_id} Version: $LATEST" in lines
    assert any(line.startswith("seen ") for line in lines)
    assert f"END RequestId: {request_id}" in lines
    assert lines[-1].startswith(f"REPORT RequestId: {request_id}\tDuration: ")


def test_context_and_environment(function: Any) -> None:
    """The handler sees what it would see on Lambda, and nothing of the platform."""
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    seen = function("about", MemorySize=256, Timeout=20, ClientContext=context)["Payload"]
    assert seen["arn"].endswith(f":function:{seen['name']}")
    assert (seen["version"], int(seen["memory"]), seen["client"]) == ("$LATEST", 256, {"k": "v"})
    assert 15_000 < seen["left_ms"] <= 20_000
    assert seen["group"] == f"/aws/lambda/{seen['name']}"
    assert seen["uid"] != 0
    environment = seen["env"]
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == seen["name"]
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["_HANDLER"] == "app.about"
    assert environment["LAMBDA_TASK_ROOT"] == seen["cwd"]
    assert environment["AWS_ENDPOINT_URL"].startswith("http://")
    assert environment["AWS_ACCESS_KEY_ID"]
    assert not [name for name in environment if name.startswith("LAMBENT_") and name != "LAMBENT_CHANNEL_FD"]


def test_a_handlers_error(function: Any) -> None:
    """An exception is Unhandled, with its type, message and the handler's own frames."""
    answer = function("fail")
    assert answer["FunctionError"] == "Unhandled"
    assert answer["StatusCode"] == 200
    assert answer["Payload"]["errorType"] == "ValueError"
    assert answer["Payload"]["errorMessage"] == "no good"
    assert answer["Payload"]["requestId"] == answer["ResponseMetadata"]["RequestId"]
    [frame] = answer["Payload"]["stackTrace"]
    assert "in fail" in frame
    assert "bootstrap" not in frame


def test_a_timeout_kills_that_one(function: Any) -> None:
    """A call that does not end is killed at its deadline, and its environment is never used again."""
    first = function("sleep", {"s": 0}, Timeout=1)["Payload"]
    began = time.monotonic()
    answer = function("sleep", {"s": 60}, Timeout=1)
    assert time.monotonic() - began < 5
    assert answer["FunctionError"] == "Unhandled"
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["Payload"]["errorType"] == "Sandbox.Timedout"
    assert answer["Payload"]["errorMessage"] == f"RequestId: {request_id} Error: Task timed out after 1.00 seconds"
    assert isinstance(first, int)
    assert "FunctionError" not in function("sleep", {"s": 0}, Timeout=1)


@pytest.mark.parametrize("handler", ["leave", "exit"])
def test_a_process_that_ends_in_mid_call(function: Any, handler: str) -> None:
    """The death of the process is reported at once, and the next call finds a new one."""
    for _ in range(2):
        began = time.monotonic()
        answer = function(handler, {"code": 3}, Timeout=30)
        assert time.monotonic() - began < 5
        assert answer["FunctionError"] == "Unhandled"
        assert answer["Payload"]["errorType"] == "Runtime.ExitError"


def test_out_of_memory_is_not_a_hang(function: Any) -> None:
    """A handler over its memory is killed; within it, it runs."""
    assert function("eat", {"mb": 20}, Timeout=60)["Payload"] == 20 << 20
    answer = function("eat", {"mb": 1500}, Timeout=60)
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "Runtime.ExitError"
    assert function("eat", {"mb": 1}, Timeout=60)["Payload"] == 1 << 20


def test_a_result_that_is_no_json(function: Any) -> None:
    """What cannot be serialised is the function's error."""
    answer = function("unserialisable")
    assert answer["Payload"]["errorType"] == "Runtime.MarshalError"
    assert answer["Payload"]["errorMessage"].startswith("Unable to marshal response")


def test_a_result_over_the_limit(function: Any) -> None:
    """A reply of 6 MB passes; a larger one is Function.ResponseSizeTooLarge."""
    assert len(function("big", {"bytes": 6_000_000})["Payload"]) == 6_000_000
    answer = function("big", {"bytes": 7_000_000})
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "Function.ResponseSizeTooLarge"
    assert function("big", {"bytes": 1})["Payload"] == "x"


def test_a_handler_that_prints_a_flood(function: Any, platform: Any) -> None:
    """100 MB of output cost neither the call nor the platform; what was dropped is said."""
    assert function("print_much", {"mb": 100}, Timeout=60)["Payload"] == "printed"
    assert function("print_much", {"mb": 0}, Timeout=60)["Payload"] == "printed"
    assert platform.running()


def test_a_handler_that_forks(function: Any) -> None:
    """A child left behind does not hold up its environment's next call."""
    assert function("fork")["Payload"] == "parent"
    assert function("fork")["Payload"] == "parent"


@pytest.mark.parametrize("descriptors", [[1, 2], [3], [0, 1, 2, 3]])
def test_a_handler_that_closes_its_streams(function: Any, descriptors: list[int]) -> None:
    """Whatever a handler closes, its call is answered, and so is the next."""
    answer = function("close", {"fds": descriptors}, Timeout=10)
    assert answer["Payload"] == "closed" or answer["Payload"]["errorType"].startswith(("Runtime.", "Sandbox."))
    assert function("close", {"fds": []}, Timeout=10)["Payload"] == "closed"


def test_a_handler_that_answers_itself_twice(function: Any) -> None:
    """Where our own bootstrap runs the handler, the Runtime API takes no answer from anybody; the call is its own."""
    for _ in range(2):
        assert function("answer_itself")["Payload"] == [403, 403]


@pytest.mark.parametrize(
    ("source", "handler", "error"),
    [
        ("import nothing_like_this", "app.handler", "Runtime.ImportModuleError"),
        ("x = 1", "app.handler", "Runtime.HandlerNotFound"),
        ("x = 1", "gone.handler", "Runtime.ImportModuleError"),
        ("def handler(:", "app.handler", "Runtime.UserCodeSyntaxError"),
        ("raise RuntimeError('at import')", "app.handler", "RuntimeError"),
        ("import os; os._exit(9)", "app.handler", "Runtime.ExitError"),
    ],
)
def test_init_errors(platform: Any, source: str, handler: str, error: str) -> None:
    """What fails while the handler is loaded is the answer of the call, with an empty request id in it."""
    name = platform.deploy(source, handler=handler)
    answer = platform.client("lambda").invoke(FunctionName=name, Payload=b"{}")
    payload = json.loads(answer["Payload"].read())
    assert answer["FunctionError"] == "Unhandled"
    assert payload["errorType"] == error


def post(platform: Any, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    """Send one raw request; returns status, headers and parsed body."""
    request = urllib.request.Request(f"{platform.endpoint}{path}", data=body, method="POST", headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read() or b"null")


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("NAME", b"{not json", 400, "InvalidRequestContentException"),
        ("NAME", b'"' + b"x" * 6_291_560 + b'"', 413, "RequestTooLargeException"),
        ("nobody", b"{}", 404, "ResourceNotFoundException"),
        ("NAME:77", b"{}", 404, "ResourceNotFoundException"),
        ("no%20name", b"{}", 400, "ValidationException"),
    ],
)
def test_refused_requests(platform: Any, name: str, body: bytes, status: int, code: str) -> None:
    """A bad request is refused in Lambda's own shape, and the next one is served."""
    deployed = platform.deploy(HANDLER, handler="app.echo", name="refusals")
    path = f"/2015-03-31/functions/{name.replace('NAME', deployed)}/invocations"
    found, headers, answer = post(platform, path, body)
    assert found == status
    assert headers["x-amzn-ErrorType"] == code
    assert answer.get("Type") == ("User" if code != "ValidationException" else None)
    assert post(platform, f"/2015-03-31/functions/{deployed}/invocations", b'{"ok":1}')[2] == {"ok": 1}


def test_dry_run_and_event_statuses(platform: Any) -> None:
    """DryRun is 204 and runs nothing; Event is 202; an event over 1 MB is refused."""
    name = platform.deploy(HANDLER, handler="app.echo", name="refusals")
    client = platform.client("lambda")
    assert client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
    assert client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps("x" * 1_100_000))
    assert caught.value.response["Error"]["Code"] == "RequestTooLargeException"


def test_concurrency_and_throttles(platform: Any) -> None:
    """Calls run side by side up to the reserved concurrency; the next is 429 with its reason."""
    name = platform.deploy(HANDLER, handler="app.sleep", Timeout=30)
    client = platform.client("lambda")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=3)

    def call(seconds: float) -> Any:
        answer = platform.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"s": seconds}))
        return json.loads(answer["Payload"].read())

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(call, 3.0) for _ in range(3)]
        time.sleep(1.0)
        with pytest.raises(ClientError) as caught:
            call(0)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert caught.value.response["Error"]["Code"] == "TooManyRequestsException"
        assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert len({future.result(timeout=30) for future in running}) >= 1
    assert isinstance(call(0), int)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError, match="Rate Exceeded"):
        call(0)


def test_updates_are_seen_by_the_next_call(platform: Any) -> None:
    """After an update no call runs what was deployed before; a published version stays as it was."""
    client = platform.client("lambda")
    name = platform.deploy("def handler(event, context): return 'one'", handler="app.handler")

    def says(qualifier: str) -> Any:
        return json.loads(client.invoke(FunctionName=name, Qualifier=qualifier)["Payload"].read())

    assert says("$LATEST") == "one"
    assert client.publish_version(FunctionName=name)["Version"] == "1"
    platform.update(name, "def handler(event, context): return 'two'")
    assert says("$LATEST") == "two"
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert (says("1"), says("2"), says("live")) == ("one", "two", "one")
    client.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
    assert {says("live") for _ in range(40)} == {"one", "two"}
    client.delete_function(FunctionName=name)
    with pytest.raises(ClientError, match="Function not found"):
        says("$LATEST")
