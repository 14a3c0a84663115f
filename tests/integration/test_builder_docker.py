"""Images and installs on a real engine. What is installed comes with the packages: no index is asked."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from lambent_platform.builder.dependencies import DependencyBuilder
from lambent_platform.builder.docker_sandbox import DockerInstallSandbox
from lambent_platform.builder.images import ImageBuilder
from lambent_platform.builder.log import BuildLog
from lambent_platform.builder.problems import BuildFailed
from lambent_platform.builder.stores import BlockingStores, open_stores
from lambent_platform.contracts.build import BuildOrder, InstallEnd, InstallOrder
from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.images import ImagePlan, ImagePlans
from lambent_platform.store.objects import ObjectStore
from lambent_workers.images import runtimes_dir

pytestmark = pytest.mark.docker

PLANS = ImagePlans(runtimes_dir())
PYTHON, NODE = RUNTIMES["python3.13"], RUNTIMES["nodejs20.x"]
WALLS = """
import json, os, socket
def can(path):
    try:
        open(path, "w").close()
    except OSError:
        return False
    return True
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "uid": os.getuid(), "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"], "root": can("/etc/x"), "here": can("x"), "cwd": os.getcwd(),
    "home": os.environ["HOME"], "docker": os.path.exists("/var/run/docker.sock"), "seccomp": status["Seccomp"],
}))
"""


@pytest.fixture(scope="module")
def images() -> ImageBuilder:
    """A builder of images, with those that the tests use."""
    builder = ImageBuilder(PLANS.plan)
    for runtime in (PYTHON, NODE):
        builder.ensure(runtime, BuildLog())
    return builder


@pytest.fixture
def sandbox() -> Iterator[DockerInstallSandbox]:
    """A sandbox of a platform of its own, of which nothing must be left."""
    platform_id = f"test-{uuid.uuid4().hex[:12]}"
    yield DockerInstallSandbox(
        platform_id=platform_id, image_tag=lambda runtime: PLANS.plan(runtime).tag, network="none"
    )
    assert containers(platform_id) == []


@pytest.fixture
def stores(redis_url: str, tmp_path: Path) -> Iterator[BlockingStores]:
    """Stores for code that blocks."""
    with open_stores(redis_url, lambda: ObjectStore.local(tmp_path / "objects"), partitions=1) as opened:
        yield opened


def containers(platform_id: str) -> list[str]:
    """The containers of a platform."""
    client = docker.from_env()
    try:
        found = client.api.containers(all=True, filters={"label": f"lambent.platform={platform_id}"})
        return [one["Id"] for one in found]
    finally:
        client.close()


def wheel(name: str, text: str) -> bytes:
    """A wheel with one module."""
    data = io.BytesIO()
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{name}.py", text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return data.getvalue()


def npm_tarball(name: str, text: str) -> bytes:
    """A package as `npm pack` makes it."""
    data = io.BytesIO()
    manifest = json.dumps({"name": name, "version": "1.0.0", "main": "index.js", "bin": {name: "index.js"}})
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for path, content in (("package/package.json", manifest), ("package/index.js", text)):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content.encode()))
    return data.getvalue()


def built(
    sandbox: DockerInstallSandbox, stores: BlockingStores, tmp_path: Path, runtime: str, files: dict[str, str | bytes]
) -> zipfile.ZipFile:
    """Install a package's dependencies as a job does; returns the new package."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    stores.call(stores.objects.put("code/source.zip", data.getvalue()))
    builder = DependencyBuilder(sandbox, work_dir=tmp_path / "work", memory_mb=512, disk_mb=256, timeout_s=60)
    order = BuildOrder(id="dependencies-test", kind="dependencies", runtime=runtime, source_key="code/source.zip")
    log = BuildLog()
    try:
        key = builder.build(order, stores, log)
    finally:
        sys.stderr.write(log.tail())
        assert list((tmp_path / "work").iterdir()) == []
    result = stores.call(stores.objects.get(key))
    assert result is not None
    return zipfile.ZipFile(io.BytesIO(result))


def run(sandbox: DockerInstallSandbox, program: str, **limits: int) -> tuple[InstallEnd, bytes, bytes]:
    """Run a program of the test's own where installs run; returns how it ended and what it wrote."""
    errors = bytearray()
    order = InstallOrder(
        job="job-1",
        runtime=PYTHON,
        command=("python3", "-c", program),
        **{"timeout_s": 30, "memory_mb": 128, "disk_mb": 64, "output_bytes_max": 1_000_000, **limits},
    )
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout:
        stdin.write(b"package")
        stdin.seek(0)
        end = sandbox.install(order, stdin=stdin, stdout=stdout, log=errors.extend)
        stdout.seek(0)
        return end, stdout.read(), bytes(errors)


def test_an_image_is_built_once_and_then_known(images: ImageBuilder, tmp_path: Path) -> None:
    """First use builds, the log says what was done; the second finds it."""
    (tmp_path / "own").mkdir()
    mark = uuid.uuid4().hex
    (tmp_path / "own" / "Dockerfile").write_text(f"FROM debian:bookworm-slim\nARG V\nENV MARK={mark}-$V\n")
    plan = ImagePlan(
        tag=f"lambent/test:{mark}", context_dir=tmp_path, dockerfile="own/Dockerfile", buildargs={"V": "7"}
    )
    builder, log = ImageBuilder(lambda runtime: plan), BuildLog()
    client = docker.from_env()
    try:
        assert builder.ensure(PYTHON, log) == plan.tag
        assert f"MARK={mark}-7" in client.images.get(plan.tag).attrs["Config"]["Env"]
        assert "FROM debian:bookworm-slim" in log.tail()
        again = BuildLog()
        builder.ensure(PYTHON, again)
        assert again.text() == b""
    finally:
        client.images.remove(plan.tag, force=True)
        client.close()


def test_an_image_whose_build_fails_says_so(tmp_path: Path) -> None:
    """A Dockerfile that cannot be built is no passing trouble."""
    (tmp_path / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN echo before && false\n")
    plan = ImagePlan(tag=f"lambent/test:{uuid.uuid4().hex}", context_dir=tmp_path, dockerfile="Dockerfile")
    log = BuildLog()
    with pytest.raises(BuildFailed, match="returned a non-zero code: 1") as failed:
        ImageBuilder(lambda runtime: plan).ensure(PYTHON, log)
    assert failed.value.code == "InvalidImage"
    assert "before" in log.tail()


def test_requirements_are_installed_beside_the_package(
    images: ImageBuilder, sandbox: DockerInstallSandbox, stores: BlockingStores, tmp_path: Path
) -> None:
    """pip runs in the runtime's container; the result imports without writing a byte, compiled already."""
    files: dict[str, str | bytes] = {
        "app.py": "import greet\n",
        "requirements.txt": "--no-index\n-r more.txt\n",
        "more.txt": "./libs/greet-1.0-py3-none-any.whl\n",
        "libs/greet-1.0-py3-none-any.whl": wheel("greet", "WORD = 'hello'\n"),
    }
    with built(sandbox, stores, tmp_path, "python3.13", files) as result:
        names = set(result.namelist())
        assert {"app.py", "greet.py", "greet-1.0.dist-info/METADATA", "__pycache__/greet.cpython-313.pyc"} <= names
        code = result.read("__pycache__/greet.cpython-313.pyc")
    assert int.from_bytes(code[4:8], "little") == 0b01, "checked against its hash: never, since the source is read-only"


def test_node_modules_are_installed_beside_the_package(
    images: ImageBuilder, sandbox: DockerInstallSandbox, stores: BlockingStores, tmp_path: Path
) -> None:
    """npm runs in the runtime's container, without development dependencies; links within are kept."""
    files: dict[str, str | bytes] = {
        "index.js": "require('greet')",
        "package.json": json.dumps(
            {
                "name": "f",
                "version": "1.0.0",
                "dependencies": {"greet": "file:./libs/greet.tgz"},
                "devDependencies": {"absent": "file:./libs/absent.tgz"},
            }
        ),
        "libs/greet.tgz": npm_tarball("greet", "module.exports = 'hello'"),
        "libs/absent.tgz": npm_tarball("absent", "0"),
    }
    with built(sandbox, stores, tmp_path, "nodejs20.x", files) as result:
        assert result.read("node_modules/greet/index.js") == b"module.exports = 'hello'"
        assert result.read("node_modules/.bin/greet") == b"../greet/index.js"
        assert not [name for name in result.namelist() if "absent/" in name]


@pytest.mark.parametrize(
    ("runtime", "files", "reason"),
    [
        (
            "python3.13",
            {"requirements.txt": "--no-index\nnosuchthing==1.0\n"},
            "ERROR: No matching distribution found for nosuchthing==1.0",
        ),
        ("nodejs20.x", {"package.json": '{"dependencies": {"x": "file:./x.tgz"}}'}, "npm error ENOENT"),
    ],
)
def test_a_dependency_that_does_not_exist_fails_in_the_tools_own_words(
    images: ImageBuilder,
    sandbox: DockerInstallSandbox,
    stores: BlockingStores,
    tmp_path: Path,
    runtime: str,
    files: dict[str, str | bytes],
    reason: str,
) -> None:
    """The decisive line is the reason; nothing of the install is left."""
    with pytest.raises(BuildFailed) as failed:
        built(sandbox, stores, tmp_path, runtime, files)
    assert failed.value.reason.startswith(reason)
    assert failed.value.code == "DependencyError"


def test_an_install_is_walled_in_as_a_function_is(images: ImageBuilder, sandbox: DockerInstallSandbox) -> None:
    """Nobody in particular, no capabilities, a read-only root, and one bounded folder to write to."""
    end, output, _ = run(sandbox, WALLS)
    assert end == InstallEnd("exit", 0)
    assert json.loads(output) == {
        "uid": 993,
        "capabilities": 0,
        "no_new_privileges": "1",
        "root": False,
        "here": True,
        "cwd": "/build",
        "home": "/build",
        "docker": False,
        "seccomp": "2",
    }


def test_standard_input_is_whole_and_ends(images: ImageBuilder, sandbox: DockerInstallSandbox) -> None:
    """The package arrives with its end, and the two outputs are kept apart."""
    program = "import sys; d = sys.stdin.buffer.read(); sys.stdout.write(d.decode()); sys.exit(sys.stderr.write('log'))"
    assert run(sandbox, program) == (InstallEnd("exit", 3), b"package", b"log")


def test_time_is_limited(images: ImageBuilder, sandbox: DockerInstallSandbox) -> None:
    """An install that never ends is ended."""
    began = time.monotonic()
    assert run(sandbox, "import time; time.sleep(60)", timeout_s=2)[0].cause == "timeout"
    assert time.monotonic() - began < 15


def test_memory_is_limited(images: ImageBuilder, sandbox: DockerInstallSandbox) -> None:
    """More than the limit ends the install, not the machine."""
    assert run(sandbox, "x = b'x' * (400 << 20)")[0].cause == "memory"


def test_disk_and_output_are_limited(images: ImageBuilder, sandbox: DockerInstallSandbox) -> None:
    """A full folder is an error that the install sees; endless output is cut."""
    end, _, errors = run(sandbox, "open('big', 'wb').write(b'x' * (80 << 20))")
    assert end.exit_code == 1
    assert b"No space left on device" in errors
    assert run(sandbox, "import sys\nwhile True: sys.stdout.write('x' * 65536)")[0].cause == "output"


def test_processes_are_limited(images: ImageBuilder, sandbox: DockerInstallSandbox) -> None:
    """A fork bomb stays in its container."""
    program = (
        "import os, sys, time\ntry:\n  for _ in range(200):\n    if os.fork() == 0: time.sleep(20)\n"
        "except OSError: sys.exit(7)"
    )
    assert run(sandbox, program, processes_max=32)[0] == InstallEnd("exit", 7)


def test_an_image_that_is_away_is_not_the_packages_fault() -> None:
    """The engine without the runtime's image is infrastructure: another try."""
    missing = DockerInstallSandbox(platform_id="none", image_tag=lambda runtime: "lambent/none:none", network="none")
    with pytest.raises(SandboxError):
        run(missing, "pass")


def test_without_the_platforms_network_nothing_is_installed(images: ImageBuilder) -> None:
    """The worker has not made it yet: put off, rather than run in a network that is open; nothing is left."""
    early = DockerInstallSandbox(platform_id="test-early", image_tag=lambda runtime: PLANS.plan(runtime).tag)
    with pytest.raises(SandboxError, match="lambent-test-early"):
        run(early, "pass")
    assert containers("test-early") == []


def test_what_a_killed_builder_left_is_removed_and_what_lives_is_not(
    images: ImageBuilder, sandbox: DockerInstallSandbox, tmp_path: Path
) -> None:
    """kill -9 leaves a container: the next start ends it, unless its job has a living owner."""
    script = (
        "import sys, tempfile\n"
        "from pathlib import Path\n"
        "from lambent_platform.builder.docker_sandbox import DockerInstallSandbox\n"
        "from lambent_platform.contracts.build import InstallOrder\n"
        "from lambent_platform.contracts.runtimes import RUNTIMES\n"
        "s = DockerInstallSandbox(platform_id=sys.argv[1], image_tag=lambda r: sys.argv[2], network='none')\n"
        "o = InstallOrder(job='job-9', runtime=RUNTIMES['python3.13'], output_bytes_max=10,\n"
        "    command=('python3', '-c', 'import sys, time; print(1, file=sys.stderr, flush=True); time.sleep(99)'))\n"
        "f = tempfile.TemporaryFile()\n"
        "s.install(o, stdin=f, stdout=f, log=lambda data: Path(sys.argv[3]).write_bytes(data))\n"
    )
    platform_id, started = sandbox._platform_id, tmp_path / "started"
    process = subprocess.Popen([sys.executable, "-c", script, platform_id, PLANS.plan(PYTHON).tag, str(started)])
    deadline = time.monotonic() + 20
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, 9)
    process.wait(10)
    sandbox.reap(lambda job: job == "job-9")
    assert len(containers(platform_id)) == 1
    sandbox.reap(lambda job: False)
    assert containers(platform_id) == []
