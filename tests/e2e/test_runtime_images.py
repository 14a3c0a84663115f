"""A runtime in an image of AWS's make, by `--runtime-images`.

The image is a stand-in with the shape of `public.ecr.aws/lambda/python:3.13`: an entry script that takes the handler
as its argument and runs `/var/runtime/bootstrap`, and AWS's own runtime client, `awslambdaric`, behind it. It is made
here from Docker's official Python image, so that the tests need nothing from AWS's registry.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import BuildError, ImageNotFound

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

RUNTIME = "python3.13"
FILES = {
    "Dockerfile": """\
FROM python:3.13-slim
RUN pip install --quiet --no-cache-dir --target /var/runtime awslambdaric
ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime
COPY lambda-entrypoint.sh /lambda-entrypoint.sh
COPY bootstrap /var/runtime/bootstrap
WORKDIR /var/task
ENTRYPOINT ["/lambda-entrypoint.sh"]
""",
    "lambda-entrypoint.sh": """\
#!/bin/sh
[ $# -eq 1 ] || { echo "give the handler as the only argument" >&2; exit 142; }
[ -n "$AWS_LAMBDA_RUNTIME_API" ] || { echo "there is no Runtime API" >&2; exit 143; }
export _HANDLER="$1"
exec /var/runtime/bootstrap
""",
    "bootstrap": """\
#!/bin/sh
export PYTHONPATH="$LAMBDA_RUNTIME_DIR${PYTHONPATH:+:$PYTHONPATH}"
exec /usr/local/bin/python3 -m awslambdaric "$_HANDLER"
""",
}
HANDLER = """
import os, sys, time

def about(event, context):
    print("seen", event)
    return {
        "event": event, "id": context.aws_request_id, "arn": context.invoked_function_arn,
        "left_ms": context.get_remaining_time_in_millis(), "memory": context.memory_limit_in_mb,
        "client": sys.modules["awslambdaric"].__file__, "main": sys.argv[0], "cwd": os.getcwd(), "uid": os.getuid(),
        "pid": os.getpid(),
    }

def fail(event, context):
    raise ValueError("no good")

def sleep(event, context):
    time.sleep(event)
    return "slept"
"""


def context_archive() -> bytes:
    """The build context as a tar archive, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def image() -> str:
    """The stand-in's name. It stays with the engine, like the platform's own images, under a hash of its making."""
    archive = context_archive()
    name = f"lambent-test/lambda-python:{hashlib.sha256(archive).hexdigest()[:12]}"
    client = docker.from_env(timeout=240)
    try:
        try:
            client.images.get(name)
        except ImageNotFound:
            client.images.build(fileobj=io.BytesIO(archive), custom_context=True, tag=name, rm=True, forcerm=True)
    except BuildError as error:
        if os.environ.get("LAMBENT_TEST_REQUIRE_DOCKER"):
            raise
        pytest.skip(f"awslambdaric cannot be installed in an image: {error}")
    finally:
        client.close()
    return name


@pytest.fixture(scope="module")
def mapped(running: Any, image: str) -> Iterator[Any]:
    """A platform that runs Python 3.13 in that image."""
    with running("docker", runtime_images=f"{RUNTIME}={image}") as platform:
        yield platform


@pytest.fixture(scope="module")
def call(mapped: Any) -> Any:
    """Deploy a handler once and call it; returns its answer with the payload read and the log decoded."""
    made: dict[Any, str] = {}

    def call(handler: str, event: Any = None, source: str = HANDLER, **config: Any) -> dict[str, Any]:
        key = (handler, source, tuple(config.items()))
        if key not in made:
            made[key] = mapped.deploy(source, handler=handler, Runtime=RUNTIME, **config)
        answer = mapped.client("lambda").invoke(FunctionName=made[key], LogType="Tail", Payload=json.dumps(event))
        return {
            **answer,
            "Payload": json.loads(answer["Payload"].read()),
            "Log": base64.b64decode(answer["LogResult"]).decode(),
            "Id": answer["ResponseMetadata"]["RequestId"],
            "Name": made[key],
        }

    return call


def test_the_images_own_client_runs_the_handler(call: Any) -> None:
    """AWS's client, started by the image's entry script, has the event, the context and the folder; and again, warm."""
    pids = set()
    for number in (1, 2):
        answer = call("app.about", {"n": number}, MemorySize=256, Timeout=20)
        seen = answer["Payload"]
        assert (seen["event"], seen["id"]) == ({"n": number}, answer["Id"])
        assert seen["client"] == "/var/runtime/awslambdaric/__init__.py"
        assert seen["main"] == "/var/runtime/awslambdaric/__main__.py"
        assert seen["arn"].endswith(f":function:{answer['Name']}")
        assert (int(seen["memory"]), seen["cwd"]) == (256, "/var/task")
        assert 15_000 < seen["left_ms"] <= 20_000
        assert seen["uid"] != 0
        pids.add(seen["pid"])
    assert len(pids) == 1


def test_its_log(call: Any, mapped: Any) -> None:
    """What the handler prints is between the lines of its request, in the tail and in the log group."""
    answer = call("app.about", "for the log", MemorySize=256, Timeout=20)
    lines = [line for line in answer["Log"].splitlines() if line]
    began = lines.index(f"START RequestId: {answer['Id']} Version: $LATEST")
    assert lines[began + 1 : began + 3] == ["seen for the log", f"END RequestId: {answer['Id']}"]
    logs, deadline = mapped.client("logs"), time.monotonic() + 10
    messages: list[str] = []
    while "seen for the log" not in messages:
        assert time.monotonic() < deadline, messages
        time.sleep(0.1)
        with contextlib.suppress(logs.exceptions.ResourceNotFoundException):  # until the first lines are kept
            found = logs.filter_log_events(logGroupName=f"/aws/lambda/{answer['Name']}")["events"]
            messages = [event["message"].strip() for event in found]


def test_its_errors(call: Any) -> None:
    """An exception is reported as the client words it: type, message, the handler's frame, and a trace in the log."""
    answer = call("app.fail")
    payload = answer["Payload"]
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (payload["errorType"], payload["errorMessage"]) == ("ValueError", "no good")
    assert payload["requestId"] == answer["Id"]
    [frame] = payload["stackTrace"]
    assert 'File "/var/task/app.py", line ' in frame
    assert "in fail" in frame
    assert "[ERROR] ValueError: no good" in answer["Log"]


def test_its_init_error(call: Any) -> None:
    """A module that is not there is the client's init error, and the call's answer."""
    answer = call("gone.handler")
    assert (answer["FunctionError"], answer["Payload"]["errorType"]) == ("Unhandled", "Runtime.ImportModuleError")
    assert "No module named 'gone'" in answer["Payload"]["errorMessage"]


def test_its_timeout(call: Any) -> None:
    """A call over its time is killed from outside, and the next has a new environment."""
    assert call("app.sleep", 0, Timeout=2)["Payload"] == "slept"
    began = time.monotonic()
    answer = call("app.sleep", 60, Timeout=2)
    assert time.monotonic() - began < 6
    assert answer["Payload"] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {answer['Id']} Error: Task timed out after 2.00 seconds",
    }
    assert call("app.sleep", 0, Timeout=2)["Payload"] == "slept"
