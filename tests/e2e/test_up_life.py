"""`lambent up` from its start to its end: ready soon, gone without a trace, the same again afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ECHO = "def handler(event, context):\n    return event\n"
SLEEP = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'slept'\n"
SANDBOXES = [pytest.param("process"), pytest.param("docker", marks=pytest.mark.docker)]
END_S = 10.0


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder, with a path of a length that no socket's address has room for."""
    return tmp_path / ("a-long-name-" * 8)


def containers(platform_id: str) -> list[str]:
    """Containers of one platform; none where there is no engine."""
    done = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=lambent.platform={platform_id}"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return done.stdout.split()


def networks(platform_id: str) -> list[str]:
    """Networks of one platform."""
    done = subprocess.run(
        ["docker", "network", "ls", "-q", "--filter", f"label=lambent.platform={platform_id}"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return done.stdout.split()


def processes_of(data_dir: Path) -> dict[int, str]:
    """Processes of this machine that know the data folder: by an argument, a variable or their working folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            seen = [(entry / name).read_bytes() for name in ("cmdline", "environ")]
            seen.append(os.fsencode((entry / "cwd").readlink()))
            if any(os.fsencode(data_dir) in text for text in seen):
                found[int(entry.name)] = seen[0].replace(b"\0", b" ").decode(errors="replace")
    return found


def sockets_below(data_dir: Path) -> list[Path]:
    """Unix sockets in the data folder."""
    return [path for path in data_dir.rglob("*") if path.is_socket()]


def mounts_of(data_dir: Path) -> list[str]:
    """Mounts of this machine at or from the data folder."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(data_dir) in line]


def assert_nothing_left(platform: Any) -> None:
    """No process, container, network, mount, socket or announced endpoint of a platform that has ended."""
    ident = (platform.data_dir / "platform-id").read_text()
    deadline = time.monotonic() + 2
    while processes_of(platform.data_dir) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(platform.data_dir) == {}
    assert containers(ident) == []
    assert networks(ident) == []
    assert mounts_of(platform.data_dir) == []
    assert sockets_below(platform.data_dir) == []
    assert not (platform.data_dir / "endpoint").exists()
    with socket.socket() as probe:
        port = int(platform.endpoint.rpartition(":")[2])
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_start_call_end_and_again(running: Any, data_dir: Path, sandbox: str) -> None:
    """It prints what to paste, ends by Ctrl-C without a trace, and knows its functions when it is started again."""
    with running(sandbox, data_dir=data_dir) as platform:
        assert f"export AWS_ENDPOINT_URL={platform.endpoint}" in platform.output()
        name = platform.deploy(ECHO)
        assert platform.call(name, {"n": 1}) == {"n": 1}
        began = time.monotonic()
        assert platform.stop() == 0
        assert time.monotonic() - began < END_S
        assert_nothing_left(platform)
    with running(sandbox, data_dir=data_dir) as again:
        assert again.call(name, {"n": 2}) == {"n": 2}
        assert again.stop(number=signal.SIGTERM) == 0
        assert_nothing_left(again)


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_ctrl_c_to_the_group_lets_a_call_end(running: Any, data_dir: Path, sandbox: str) -> None:
    """The terminal's Ctrl-C reaches the whole group: a call that runs is answered, and then all is gone."""
    with running(sandbox, data_dir=data_dir) as platform:
        name = platform.deploy(SLEEP)
        platform.call(name, 0)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(platform.call, name, 1.5)
            time.sleep(0.5)
            began = time.monotonic()
            os.killpg(platform.process.pid, signal.SIGINT)
            assert call.result() == "slept"
        assert platform.process.wait(END_S) == 0
        assert time.monotonic() - began < END_S
        assert_nothing_left(platform)


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_call_that_outlasts_the_drain(running: Any, data_dir: Path, sandbox: str) -> None:
    """A call that will not end in time does not hold up the end, and its sandbox goes too."""
    with running(sandbox, data_dir=data_dir, drain_s="1") as platform:
        name = platform.deploy(SLEEP, Timeout=60)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(platform.call, name, 50)
            time.sleep(1.5)
            began = time.monotonic()
            assert platform.stop() == 0
            assert time.monotonic() - began < END_S
            assert call.exception(5) is not None
        assert_nothing_left(platform)


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_killed_and_started_again(running: Any, data_dir: Path, sandbox: str) -> None:
    """A supervisor killed with -9 takes its children along, and the next one clears away what was left."""
    with running(sandbox, data_dir=data_dir) as platform:
        name = platform.deploy(ECHO)
        platform.call(name, 1)
        os.kill(platform.process.pid, signal.SIGKILL)
        platform.process.wait(5)
        deadline = time.monotonic() + END_S
        while left := processes_of(data_dir):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
    with running(sandbox, data_dir=data_dir) as again:
        assert again.call(name, 2) == 2
        again.stop()
        assert_nothing_left(again)


@pytest.mark.parametrize("role", ["valkey", "gateway", "worker"])
def test_a_killed_child_is_started_again(running: Any, data_dir: Path, role: str) -> None:
    """Each child is replaced, and functions can be called soon after; what Valkey had written it has again."""
    with running("process", data_dir=data_dir) as platform:
        name = platform.deploy(ECHO)
        assert platform.call(name, 1) == 1
        if role == "valkey":
            time.sleep(1.1)  # its file is written out each second
        before = platform.children()[role]
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(Exception):
                if platform.children().get(role, before) != before and platform.call(name, 2) == 2:
                    break
            assert time.monotonic() < deadline, platform.output()[-3_000:]
            time.sleep(0.2)
        assert platform.stop() == 0
        assert_nothing_left(platform)


def test_the_gateways_restart_refuses_no_connection(running: Any, data_dir: Path) -> None:
    """The supervisor holds the listening socket: who connects while the gateway restarts waits, and is served."""
    with running("process", data_dir=data_dir) as platform:
        os.kill(platform.children()["gateway"], signal.SIGKILL)
        time.sleep(0.05)
        with urllib.request.urlopen(f"{platform.endpoint}/healthz", timeout=10) as answer:
            assert json.loads(answer.read()) == {"status": "ok"}


@pytest.mark.docker
def test_two_platforms_on_one_engine(running: Any, tmp_path: Path) -> None:
    """Neither starting nor ending one touches the containers of another."""
    with running("docker", data_dir=tmp_path / "one", idle_timeout_s="300", stem_idle_timeout_s="300") as one:
        name = one.deploy(ECHO)
        one.call(name, 1)
        mine = containers((one.data_dir / "platform-id").read_text())
        assert mine
        with running("docker", data_dir=tmp_path / "two") as two:
            other = two.deploy(ECHO)
            assert two.call(other, 2) == 2
            assert one.call(name, 3) == 3
            two.stop()
            assert_nothing_left(two)
        assert set(mine) <= set(containers((one.data_dir / "platform-id").read_text()))
        assert one.call(name, 4) == 4


def test_a_data_folder_has_one_owner(running: Any, data_dir: Path) -> None:
    """A second platform on the same folder is refused in one line that names the first's process."""
    with running("process", data_dir=data_dir) as platform:
        done = up("--data-dir", str(data_dir), "--port", "0")
        assert done.returncode == 2
        assert done.stderr.strip().splitlines()[-1] == (
            f"lambent up: {data_dir} is in use by process {platform.process.pid}"
        )
        assert platform.running()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """It says which address it could not have, and how to take another."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = up("--data-dir", str(tmp_path), "--port", str(port))
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


@pytest.mark.parametrize("flags", [("--stems", "-1"), ("--host", "0.0.0.0"), ("--sandbox", "jail"), ("--redis", "x")])
def test_what_is_not_acceptable_ends_it_at_once(tmp_path: Path, flags: tuple[str, str]) -> None:
    """One line, status 2, and no data folder was made."""
    done = up("--data-dir", str(tmp_path / "data"), "--port", "0", *flags)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert not (tmp_path / "data").exists()


def test_docker_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for containers where no engine answers, it ends and says so, instead of trying for ever."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    done = up("--data-dir", str(tmp_path / "data"), "--port", "0", "--sandbox", "docker")
    assert done.returncode == 2
    assert "no functions can run under --sandbox docker" in done.stderr
    assert processes_of(tmp_path / "data") == {}


def up(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run `lambent up` that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "lambent.cli.main", "up", *flags],
        capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL,
    )  # fmt: skip
