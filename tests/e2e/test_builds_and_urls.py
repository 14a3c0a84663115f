"""Dependencies built by the platform, and functions on the web, on a whole running platform."""

from __future__ import annotations

import http.client
import io
import json
import urllib.request
import uuid
import zipfile
from typing import Any
from urllib.parse import urlsplit

import pytest

from waiting import until

HANDLER = """
import base64, json
from greet import WORD

def handler(event, context):
    return {"word": WORD, "arn": context.invoked_function_arn}

def web(event, context):
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event.get("body", "").encode()
    return {
        "statusCode": 201,
        "headers": {"Content-Type": "application/octet-stream", "X-Path": event["rawPath"]},
        "cookies": ["a=1"],
        "body": base64.b64encode(body[::-1]).decode(),
        "isBase64Encoded": True,
    }

def fail(event, context):
    raise ValueError("secret")
"""


def wheel() -> bytes:
    """A wheel with one module, so that no index is asked."""
    data, info = io.BytesIO(), "greet-1.0.dist-info"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("greet.py", "WORD = 'hello'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"greet.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return data.getvalue()


def deployed(platform: Any, requirements: str, *, handler: str = "app.handler") -> str:
    """Create a function whose dependencies are not in its package; returns its name at once."""
    data, name = io.BytesIO(), f"b-{uuid.uuid4().hex[:10]}"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("app.py", HANDLER)
        archive.writestr("requirements.txt", requirements)
        archive.writestr("libs/greet-1.0-py3-none-any.whl", wheel())
        archive.writestr("unique", name)
    made = platform.client("lambda").create_function(
        FunctionName=name,
        Runtime=platform.python(),
        Role="arn:aws:iam::000000000000:role/any",
        Handler=handler,
        Timeout=20,
        Code={"ZipFile": data.getvalue()},
    )
    assert made["State"] == "Pending"
    return name


def settled(platform: Any, name: str, within_s: float) -> dict[str, Any]:
    """Wait until a function is not Pending; returns its configuration."""
    found: dict[str, Any] = {}

    def look() -> bool:
        found.update(platform.client("lambda").get_function_configuration(FunctionName=name))
        return found["State"] != "Pending"

    until(look, within_s=within_s, what=f"{name} is prepared")
    return found


def read(url: str) -> str:
    """Read one of the gateway's own pages."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def web(platform: Any, path: str, *, host: str = "", body: bytes | None = None) -> http.client.HTTPResponse:
    """Make one request to the gateway; the response is read already."""
    parts = urlsplit(platform.endpoint)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("POST" if body is not None else "GET", path, body, {"Host": host or parts.netloc})
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]
        return response
    finally:
        connection.close()


def test_requirements_are_installed_before_the_function_is_active(platform: Any) -> None:
    """Pending while pip runs in the sandbox; then it imports what was installed, and the log can be read."""
    name = deployed(platform, "--no-index\n./libs/greet-1.0-py3-none-any.whl\n")
    found = settled(platform, name, 120)
    assert found["State"] == "Active", found.get("StateReason")
    assert platform.call(name)["word"] == "hello"
    assert "Successfully installed greet-1.0" in read(f"{platform.endpoint}/_lambent/functions/{name}/build-log")


def test_a_version_that_does_not_exist_fails_in_pips_own_words(platform: Any) -> None:
    """Within 30 s, and without another try."""
    platform.deploy("def handler(event, context): return 1")
    name = deployed(platform, "--no-index\nnosuchthing==1.0\n")
    found = settled(platform, name, 30)
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "DependencyError")
    assert found["StateReason"] == "ERROR: No matching distribution found for nosuchthing==1.0"
    with pytest.raises(platform.client("lambda").exceptions.ResourceConflictException):
        platform.client("lambda").invoke(FunctionName=name)


def test_an_update_that_cannot_be_built_leaves_the_old_code_running(platform: Any) -> None:
    """LastUpdateStatus says what happened; calls go on."""
    client = platform.client("lambda")
    name = platform.deploy("def handler(event, context): return 'old'")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("app.py", "def handler(event, context): return 'new'")
        archive.writestr("requirements.txt", f"--no-index\nnosuchthing=={uuid.uuid4().int % 10**6}\n")
    client.update_function_code(FunctionName=name, ZipFile=data.getvalue())
    assert platform.call(name) == "old"

    def status() -> str:
        found: str = client.get_function_configuration(FunctionName=name)["LastUpdateStatus"]
        return found

    until(lambda: status() == "Failed", within_s=30, what="the update fails")
    assert platform.call(name) == "old"


def test_a_function_on_the_web(platform: Any) -> None:
    """By its own host and by its path; bytes in and out; errors tell nothing."""
    client = platform.client("lambda")
    name = platform.deploy(HANDLER.replace("from greet import WORD", "WORD = ''"), handler="app.web")
    assert web(platform, f"/fn/{name}").status == 404
    url = client.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    data = bytes(range(256))
    for path, host in ((f"/fn/{name}/a%20b", ""), ("/a%20b", urlsplit(url).netloc)):
        response = web(platform, path, host=host, body=data)
        assert response.status == 201
        assert response.body == data[::-1]  # type: ignore[attr-defined]
        assert (response.headers["X-Path"], response.headers["Set-Cookie"]) == ("/a%20b", "a=1")
    client.update_function_configuration(FunctionName=name, Handler="app.fail")
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    response = web(platform, f"/fn/{name}")
    assert response.status == 502
    assert json.loads(response.body) == {"Message": "Internal Server Error"}  # type: ignore[attr-defined]
