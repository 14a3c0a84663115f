"""A function calls another by the AWS SDK that it brings, and is told nothing of the platform."""

from __future__ import annotations

import os
import urllib.request
from typing import Any

import pytest

CALLER = """
import json
import boto3

client = boto3.client("lambda")

def handler(event, context):
    answer = client.invoke(FunctionName=event["callee"], Payload=json.dumps(event["event"]))
    return {
        "result": json.loads(answer["Payload"].read()),
        "error": answer.get("FunctionError"),
        "boto3": boto3.__file__,
        "identity": boto3.client("sts").get_caller_identity()["Account"],
        "region": client.meta.region_name,
    }
"""
CALLEE = """
def handler(event, context):
    if event is None:
        raise LookupError("no event")
    return {"sum": sum(event), "name": context.function_name}
"""
INDEX = "https://pypi.org/simple/boto3/"


@pytest.fixture(scope="module")
def index() -> None:
    """Skip where packages cannot be had, but not where everything is required."""
    try:
        urllib.request.urlopen(urllib.request.Request(INDEX, method="HEAD"), timeout=10).close()
    except OSError as error:
        if os.environ.get("LAMBENT_TEST_REQUIRE_DOCKER"):
            pytest.fail(f"{INDEX}: {error}", pytrace=False)
        pytest.skip(f"{INDEX}: {error}")


@pytest.mark.usefixtures("index")
def test_a_function_invokes_another(platform: Any) -> None:
    """boto3 from `requirements.txt` finds endpoint, region and credentials by itself; results and errors come back."""
    callee = platform.deploy(CALLEE)
    caller = platform.deploy(
        {"app.py": CALLER, "requirements.txt": "boto3\n", "unique": callee}, MemorySize=512, Timeout=30
    )
    seen = platform.call(caller, {"callee": callee, "event": [1, 2, 3]})
    assert seen["result"] == {"sum": 6, "name": callee}
    assert seen["error"] is None
    assert seen["boto3"] == "/var/task/boto3/__init__.py"
    assert (seen["identity"], seen["region"]) == ("000000000000", "us-east-1")
    failed = platform.call(caller, {"callee": callee, "event": None})
    assert failed["error"] == "Unhandled"
    assert failed["result"]["errorType"] == "LookupError"
