"""What the process driver promises beyond the conformance suite: kinds of walls, strangers on its ports, crashes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import sys
import tarfile
import textwrap
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lambent_platform.contracts.build import InstallEnd, InstallOrder
from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.runtimes import RUNTIMES, Runtime
from lambent_workers.drivers.port import Sandbox, SandboxSpec
from lambent_workers.drivers.process.cgroups import CgroupTree
from lambent_workers.drivers.process.driver import ProcessDriver, ProcessSettings
from lambent_workers.drivers.process.install import ProcessInstallSandbox
from lambent_workers.drivers.process.uids import Uids

OWN = Runtime("own", "python", f"{sys.version_info[0]}.{sys.version_info[1]}")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can build these walls")


class Hello(asyncio.Protocol):
    """A Runtime API that says hello."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


def settings(folder: Path, **more: object) -> ProcessSettings:
    """Settings of a platform of a test's own."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    return ProcessSettings(
        **{"platform_id": name, "endpoint_url": "http://127.0.0.1:1", "state_dir": folder / "state", **more}  # type: ignore[arg-type]
    )


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ProcessDriver]:
    """An open driver, behind the best walls there are."""
    driver = ProcessDriver(settings(tmp_path))
    await driver.open()
    yield driver
    await driver.close()


def spec(folder: Path, *, memory_mb: int = 128) -> SandboxSpec:
    """Describe a sandbox of this test's own interpreter."""
    name = uuid.uuid4().hex
    return SandboxSpec(
        environment_id=name,
        runtime=OWN,
        memory_mb=memory_mb,
        host_dir=folder / "env" / name,
        runtime_api=Hello,
        cpu_boost=True,
    )


async def run(driver: ProcessDriver, folder: Path, program: str) -> Sandbox:
    """Start a sandbox with a program in it."""
    order = spec(folder)
    sandbox = await driver.start(order)
    path = order.host_dir / "task" / "program.py"
    path.write_text(textwrap.dedent(program))
    path.chmod(0o644)
    python = driver.bootstrap_argv(OWN, "")[0]
    env = {"AWS_LAMBDA_RUNTIME_API": sandbox.runtime_api_address}
    await sandbox.spawn([python, "-u", f"{sandbox.task_root}/program.py"], env, cwd=sandbox.task_root)
    return sandbox


async def printed(sandbox: Sandbox, *, until: str = "") -> str:
    """Return the output up to a text, or to its end."""
    data = b""
    async with asyncio.timeout(15):
        while not until or until.encode() not in data:
            with contextlib.suppress(BlockingIOError):
                part = os.read(sandbox.output_fd, 65536)
                if not part:
                    break
                data += part
            await asyncio.sleep(0.005)
    return data.decode()


def is_running(pid: int) -> bool:
    """Whether a process is there and not only waiting to be buried."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def cgroups_of(platform: str) -> list[Path]:
    """The control groups of a platform, in either layout."""
    return list(Path("/sys/fs/cgroup").glob(f"**/lambent-{platform}*"))


@as_root
async def test_each_environment_is_a_user_of_its_own(driver: ProcessDriver, tmp_path: Path) -> None:
    """Two live environments never share a host user, and neither number is anybody else's."""
    program = "import os\nprint(os.getuid(), os.getgroups(), open('/proc/self/uid_map').read().split())\nos.read(3, 1)"
    first, second = [await run(driver, tmp_path, program) for _ in range(2)]
    lines = [await printed(sandbox, until="\n") for sandbox in (first, second)]
    uids = {int(line.split()[0]) for line in lines}
    assert len(uids) == 2
    assert min(uids) > 60_000
    # The map of the machine itself: the number inside is the number outside.
    assert all("[] ['0', '0', '4294967295']" in line for line in lines)


@as_root
async def test_blocks_of_users_are_never_shared() -> None:
    """A second platform on the machine takes other numbers, and gets the first ones once they are free."""
    first, second = Uids.take(), Uids.take()
    numbers = first.lease(), second.lease()
    assert numbers[0] != numbers[1]
    second.close()
    third = Uids.take()
    assert third.lease() == numbers[1]
    first.close()
    third.close()


@as_root
async def test_a_stranger_cannot_use_the_runtime_api(driver: ProcessDriver, tmp_path: Path) -> None:
    """A process of another user, such as another environment, is hung up on; the environment's own is served."""
    connect = (
        "import os, socket, sys\n"
        "host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')\n"
        "print('got', socket.create_connection((host, int(port))).recv(5))\n"
    )
    own = await run(driver, tmp_path, connect + "os.read(3, 1)")
    assert "got b'hello'" in await printed(own, until="\n")
    host, port = own.runtime_api_address.split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.setblocking(False)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(stranger, 5) == b""
    program = connect.replace("os.environ['AWS_LAMBDA_RUNTIME_API']", repr(own.runtime_api_address))
    other = await run(driver, tmp_path, program)
    assert "hello" not in await printed(other)


@as_root
async def test_the_interpreter_may_lie_where_only_root_can_look(driver: ProcessDriver, tmp_path: Path) -> None:
    """The interpreter works as on Lambda, and its folder's neighbours are not there."""
    sandbox = await run(
        driver,
        tmp_path,
        "import json, os, ssl, sqlite3, sys\n"
        "print(sys.version_info[:2], os.path.realpath('/var/lang/bin/python3') == os.path.realpath(sys.executable))\n"
        "print(os.listdir('/home') if os.path.exists('/home') else 'no home', sorted(os.listdir('/')))",
    )
    text = await printed(sandbox)
    assert f"({sys.version_info[0]}, {sys.version_info[1]}) True" in text
    assert "no home" in text
    assert "work" not in text


async def test_a_killed_worker_leaves_nothing(tmp_path: Path) -> None:
    """Killed with -9, with one environment frozen, a worker takes every process, group, mount and folder with it."""
    platform = f"test-{uuid.uuid4().hex[:12]}"
    worker = await asyncio.create_subprocess_exec(
        sys.executable, __file__, platform, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    pids = [int(word) for word in (await worker.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(map(is_running, pids))
    worker.kill()
    await worker.wait()
    deadline = time.monotonic() + 8
    while any(map(is_running, pids)) or list((tmp_path / "env").iterdir()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    again = ProcessDriver(settings(tmp_path, platform_id=platform))
    await again.open()
    assert list((tmp_path / "state" / "environments").iterdir()) == []
    await again.close()
    assert cgroups_of(platform) == []


async def _live_and_wait(platform: str, folder: Path) -> None:
    """Be the worker of the test above."""
    driver = ProcessDriver(settings(folder, platform_id=platform))
    await driver.open()
    sandboxes = [await run(driver, folder, "import time; print('up'); time.sleep(60)") for _ in range(2)]
    for sandbox in sandboxes:
        await printed(sandbox, until="up")
    await sandboxes[1].freeze()
    sys.stdout.write(" ".join(sandbox.label.split()[1] for sandbox in sandboxes) + "\n")
    sys.stdout.flush()
    await asyncio.sleep(60)


@as_root
async def test_what_a_killed_launcher_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    """Where worker and launcher were both killed, reconciliation ends what is left: only this platform's."""
    first = settings(tmp_path)
    crashed = ProcessDriver(first)
    await crashed.open()
    sandbox = await run(crashed, tmp_path, "import time; time.sleep(60)")
    await sandbox.freeze()
    other_settings = settings(tmp_path / "other")
    other = ProcessDriver(other_settings)
    await other.open()
    neighbour = await run(other, tmp_path / "other", "import os\nprint('up')\nos.read(3, 1)\nprint('alive')")
    await printed(neighbour, until="up")
    launcher = int((tmp_path / "state" / "launcher").read_text().split()[0])
    os.kill(launcher, signal.SIGKILL)
    again = ProcessDriver(first)
    await again.open()
    assert list((tmp_path / "env").iterdir()) == []
    tree = CgroupTree.find(first.platform_id)
    assert tree is None or tree.names() == set()
    await asyncio.get_running_loop().sock_sendall(neighbour.channel, b"!")
    assert "alive" in await printed(neighbour)
    await other.close()
    await again.close()
    await crashed.close()


async def test_a_launcher_that_died_is_started_again(driver: ProcessDriver, tmp_path: Path) -> None:
    """The death of the launcher ends its environments, which is told at once, and not the driver."""
    sandbox = await run(driver, tmp_path, "import time; time.sleep(60)")
    os.kill(int((tmp_path / "state" / "launcher").read_text().split()[0]), signal.SIGKILL)
    async with asyncio.timeout(5):
        assert (await sandbox.wait()).code != 0
    assert "again" in await printed(await run(driver, tmp_path, "print('again')"))


async def test_a_runtime_that_is_not_there_says_what_is(driver: ProcessDriver, tmp_path: Path) -> None:
    """A missing interpreter is told with what was found instead; `provided` needs none."""
    info_driver = ProcessDriver(settings(tmp_path / "info"))
    info = await info_driver.open()
    await info_driver.close()
    assert info.runtimes["provided.al2023"] == "ready"
    missing = Runtime("python9.9", "python", "9.9")
    order = SandboxSpec(
        environment_id="0" * 32, runtime=missing, memory_mb=128, host_dir=tmp_path / "x", runtime_api=Hello
    )
    with pytest.raises(SandboxError, match=rf"no Python 9\.9 on this machine \(found: .*{OWN.version}"):
        await driver.start(order)
    assert not (tmp_path / "x").exists()


async def test_a_failed_start_leaves_nothing(driver: ProcessDriver, tmp_path: Path) -> None:
    """A folder that is there already refuses the start; the users, groups and folders taken for it are given back."""
    order = spec(tmp_path)
    order.host_dir.mkdir(parents=True)
    with pytest.raises(SandboxError, match="exists"):
        await driver.start(order)
    assert order.host_dir.is_dir()
    tree = CgroupTree.find(driver._settings.platform_id)
    assert tree is None or tree.names() == set()
    assert list((tmp_path / "state" / "environments").iterdir()) == []


async def test_plain_processes_run_and_end_whole(tmp_path: Path) -> None:
    """Without walls a function runs, says so by a warning, freezes, and ends with all its children."""
    plain = ProcessDriver(settings(tmp_path, walls="plain"))
    info = await plain.open()
    assert not info.isolated
    assert any("can read whatever this user can read" in warning for warning in info.warnings)
    sandbox = await run(
        plain,
        tmp_path,
        """
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        print("child", child.pid, os.environ.get("HOME"), flush=True)
        time.sleep(60)
        """,
    )
    text = await printed(sandbox, until="child")
    child = int(text.split()[1])
    assert text.split()[2] == "None"
    await sandbox.freeze()
    await sandbox.thaw()
    assert is_running(child)
    await sandbox.close()
    deadline = time.monotonic() + 5
    while is_running(child):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert list((tmp_path / "env").iterdir()) == []
    await plain.close()


def package(**files: str) -> io.BytesIO:
    """A package as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    buffer.seek(0)
    return buffer


def install(folder: Path, program: str, **limits: object) -> tuple[InstallEnd, bytes, str]:
    """Run a program as an install; returns its end, standard output and log."""
    runtime = next(r for r in RUNTIMES.values() if r.language == "python" and r.version == OWN.version)
    values = {"timeout_s": 20.0, "output_bytes_max": 1_000_000, **limits}
    order = InstallOrder(
        job="job1",
        runtime=runtime,
        command=("python3", "-c", textwrap.dedent(program)),
        **values,  # type: ignore[arg-type]
    )
    sandbox = ProcessInstallSandbox(platform_id=f"test-{uuid.uuid4().hex[:12]}", state_dir=folder / "builds")
    stdout, log = io.BytesIO(), bytearray()
    end = sandbox.install(order, stdin=package(**{"name.txt": "x" * 300_000}), stdout=stdout, log=log.extend)
    assert list((folder / "builds").iterdir()) == []
    return end, stdout.getvalue(), log.decode()


def test_an_install_reads_and_writes_through_its_streams(tmp_path: Path) -> None:
    """The package goes in, bytes and a log come out, the exit status is told; it builds in a folder of its own."""
    end, out, log = install(
        tmp_path,
        """
        import os, sys, tarfile
        tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall("in")
        print(os.getcwd() == os.environ["HOME"] == os.environ["TMPDIR"], os.listdir("."), os.getuid(), file=sys.stderr)
        sys.stdout.write(open("in/name.txt").read())
        sys.exit(3)
        """,
    )
    assert end == InstallEnd("exit", 3)
    assert out == b"x" * 300_000
    assert log.startswith("True ['in'] ")
    assert not log.strip().endswith(" 0")


@as_root
def test_an_install_sees_nothing_of_the_platform(tmp_path: Path) -> None:
    """An install cannot read the builder's folders or the machine's passwords, nor inherit its variables."""
    (tmp_path / "secret").write_text("hidden")
    (tmp_path / "secret").chmod(0o644)
    os.environ["LAMBENT_TEST_SECRET"] = "for the builder alone"
    end, out, _ = install(
        tmp_path,
        f"""
        import json, os
        def see(path):
            try: return open(path).read(10)
            except OSError: return None
        paths = [{str(tmp_path / "secret")!r}, "/etc/shadow", "/root/.bashrc"]
        print(json.dumps([see(path) for path in paths] + [os.environ.get("LAMBENT_TEST_SECRET")]))
        """,
    )
    del os.environ["LAMBENT_TEST_SECRET"]
    assert end == InstallEnd("exit", 0)
    assert json.loads(out) == [None] * 4


@pytest.mark.parametrize(
    ("program", "limits", "cause"),
    [
        ("import time; time.sleep(60)", {"timeout_s": 1.0}, "timeout"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", {}, "output"),
        ("x = [bytearray(b'x' * 2**20) for _ in range(3000)]", {"memory_mb": 128, "disk_mb": 64}, "memory"),
    ],
)
def test_an_install_is_ended_at_its_limits(tmp_path: Path, program: str, limits: dict[str, object], cause: str) -> None:
    """Time, output and memory each end an install, soon, and the end says which it was."""
    began = time.monotonic()
    end, out, _ = install(tmp_path, program, **limits)
    assert end.cause == cause
    assert len(out) <= 1_000_000
    assert time.monotonic() - began < 15


def test_an_installs_disk_is_bounded(tmp_path: Path) -> None:
    """Writing more than the disk allows is an error inside, like a full disk."""
    end, _, log = install(
        tmp_path,
        """
        import time
        with open("big", "wb") as file:
            for _ in range(200):
                file.write(b"x" * 2**20)
                time.sleep(0.01)
        """,
        disk_mb=64,
    )
    assert (end.cause, end.exit_code) == ("exit", 1)
    assert "No space left" in log


if __name__ == "__main__":
    asyncio.run(_live_and_wait(sys.argv[1], Path(sys.argv[2])))
