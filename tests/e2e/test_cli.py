"""The `lambent` command as people use it: processes, standard streams and exit statuses, against a running platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def hello(lambent: Any, runtime: str) -> Iterator[str]:
    """Deploy the greeting example and give its name."""
    name = f"hello-{os.urandom(3).hex()}"
    lambent("deploy", str(EXAMPLES / "hello-python"), "--name", name, "--runtime", runtime, "--memory", "256")
    yield name
    lambent("rm", "--force", name)


def test_init_deploy_invoke(lambent: Any, runtime: str, tmp_path: Path) -> None:
    """From nothing to a result in three commands; the result alone is on standard output."""
    folder = tmp_path / f"f-{os.urandom(3).hex()}"
    lambent("init", str(folder), "--template", "python-http", "--runtime", runtime)
    deployed = lambent("deploy", str(folder))
    url = deployed.stdout.decode().strip()
    assert url.startswith("http://")
    assert "packed 1 file," in deployed.stderr.decode()
    assert f"{folder.name} is active after" in deployed.stderr.decode()
    path_url = lambent("url", folder.name, "--path").stdout.decode().strip()
    with urllib.request.urlopen(f"{path_url}a/b?c=d", timeout=30) as answer:
        assert json.load(answer) == {"method": "GET", "path": "/a/b", "query": {"c": "d"}, "body": None}
    assert lambent("url", folder.name).stdout.decode().strip() == url
    lambent("url", folder.name, "--delete")
    assert "ResourceNotFoundException" in lambent("url", folder.name, status=3).stderr.decode()
    lambent("rm", folder.name)


def test_invoke_takes_its_event_from_anywhere(lambent: Any, hello: str, tmp_path: Path) -> None:
    """On the command line, from a file, from standard input; the log goes to standard error."""
    file = tmp_path / "event.json"
    file.write_text('{"name": "File"}')
    done = lambent("invoke", hello, "-d", '{"name": "Ada"}', "--log")
    assert json.loads(done.stdout)["greeting"] == "Hello, Ada!"
    assert "START RequestId: " in done.stderr.decode()
    assert "greeting Ada" in done.stderr.decode()
    assert json.loads(lambent("invoke", hello, "-d", f"@{file}").stdout)["greeting"] == "Hello, File!"
    assert json.loads(lambent("invoke", hello, "-d", "-", stdin=b'{"name": "In"}').stdout)["greeting"] == "Hello, In!"
    quiet = lambent("invoke", hello)
    assert (json.loads(quiet.stdout)["greeting"], quiet.stderr) == ("Hello, world!", b"")


def test_deploying_again_changes_only_what_differs(lambent: Any, hello: str, runtime: str) -> None:
    """The same folder is unchanged; a variable changes the configuration, and the next call sees it."""
    again = ("deploy", str(EXAMPLES / "hello-python"), "--name", hello, "--runtime", runtime, "--memory", "256")
    assert "unchanged" in lambent(*again).stderr.decode()
    changed = lambent(*again, "-e", "GREETING=Good day").stderr.decode()
    assert "unchanged" not in changed
    assert "uploaded" not in changed
    assert json.loads(lambent("invoke", hello).stdout)["greeting"] == "Good day, world!"


def test_a_failing_function_is_status_1(lambent: Any, runtime: str, tmp_path: Path) -> None:
    """Its error object is on standard output, one line about it on standard error."""
    (tmp_path / "h.py").write_text("def handler(event, context):\n    raise KeyError('missing')\n")
    name = f"bad-{os.urandom(3).hex()}"
    lambent("deploy", str(tmp_path), "--name", name, "--runtime", runtime, "--handler", "h.handler")
    done = lambent("invoke", name, status=1)
    assert json.loads(done.stdout)["errorType"] == "KeyError"
    assert done.stderr.decode().startswith(f"lambent: {name} failed: KeyError")
    lambent("rm", name)


def test_an_impossible_dependency_fails_with_its_log(lambent: Any, runtime: str, tmp_path: Path) -> None:
    """The reason is pip's own, and the build log is printed without being asked for."""
    (tmp_path / "h.py").write_text("def handler(event, context):\n    return 1\n")
    (tmp_path / "requirements.txt").write_text("lambent-there-is-no-such-package==9.9.9\n")
    name = f"dep-{os.urandom(3).hex()}"
    begun = time.monotonic()
    done = lambent("deploy", str(tmp_path), "--name", name, "--runtime", runtime, "--handler", "h.handler", status=1)
    said = done.stderr.decode()
    assert time.monotonic() - begun < 45
    assert said.splitlines()[-1].startswith(f"lambent: {name} was not deployed")
    assert "lambent-there-is-no-such-package" in said.splitlines()[-1]
    assert "Build log:" in said
    assert "No matching distribution" in lambent("logs", name, "--build").stdout.decode()
    lambent("rm", name)


def test_logs_and_async(lambent: Any, hello: str) -> None:
    """An asynchronous call prints its request id, and its lines turn up in the log."""
    request = lambent("invoke", hello, "--async", "-d", '{"name": "Later"}').stdout.decode().strip()
    deadline = time.monotonic() + 20
    while f"END RequestId: {request}" not in (log := lambent("logs", hello, "--since", "5m").stdout.decode()):
        assert time.monotonic() < deadline, log
    assert "greeting Later" in log
    stamped = lambent("logs", hello, "--timestamps").stdout.decode().splitlines()
    assert stamped[0].startswith("20")


def test_logs_follow_until_interrupted(environment: dict[str, str], lambent: Any, hello: str) -> None:
    """Lines come while the command runs; Ctrl-C ends it without a complaint."""
    following = subprocess.Popen(
        [sys.executable, "-m", "lambent.cli.main", "logs", hello, "--follow", "--since", "1s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    try:
        lambent("invoke", hello, "-d", '{"name": "Followed"}')
        assert following.stdout is not None
        deadline = time.monotonic() + 20
        while "greeting Followed" not in following.stdout.readline():
            assert time.monotonic() < deadline
        following.send_signal(2)
        _, said = following.communicate(timeout=10)
        assert (following.returncode, said.strip()) == (130, "")
    finally:
        following.kill()
        following.wait()


def test_ls_and_ps(lambent: Any, hello: str) -> None:
    """A function at rest has zero environments, one that was called has one; both tables have a JSON form."""
    assert f"{hello}: 0 environments" in lambent("ps", hello).stdout.decode()
    assert json.loads(lambent("ps", hello, "--json").stdout) == []
    lambent("invoke", hello)
    (row,) = json.loads(lambent("ps", hello, "--json").stdout)
    assert set(row) == {"function", "version", "state", "worker", "age_s", "memory_mb", "container"}
    assert (row["function"], row["version"], row["memory_mb"]) == (hello, "$LATEST", 256)
    table = lambent("ps").stdout.decode()
    assert table.startswith("FUNCTION ")
    assert any(line.startswith(f"{hello} ") for line in table.splitlines())
    assert f"{hello}: 0 environments" not in table
    assert hello in [function["name"] for function in json.loads(lambent("ls", "--json").stdout)]
    (line,) = (line for line in lambent("ls").stdout.decode().splitlines() if line.startswith(f"{hello} "))
    assert "256 MB" in line
    assert "\x1b" not in table + line


def test_what_is_not_there(lambent: Any) -> None:
    """Every command that names a function says AWS's code and message in one line, with status 3."""
    for arguments in (("invoke", "absent"), ("rm", "absent"), ("logs", "absent"), ("url", "absent"), ("ps", "absent")):
        said = lambent(*arguments, status=3).stderr.decode()
        assert said.startswith("lambent: ResourceNotFoundException: ")
        assert said.count("\n") == 1
    lambent("rm", "--force", "absent")
