"""The pure parts of the Docker driver: sizes, rules, frames, paths, image names."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.contracts.errors import SandboxError
from lambent_platform.contracts.runtimes import RUNTIMES
from lambent_platform.core.images import ImagePlans
from lambent_workers.drivers.cgroup_files import CPU_PERIOD_US, cpu_quota_us, groups, hierarchies
from lambent_workers.drivers.docker import DockerDriver, DockerSettings
from lambent_workers.drivers.docker.container import limits
from lambent_workers.drivers.docker.control import Control, ControlType, encode_spawn
from lambent_workers.drivers.docker.network import REFUSED_RANGES, rules
from lambent_workers.drivers.docker.paths import EnginePaths, own_container_id
from lambent_workers.drivers.docker.sockets import OncePath, listen
from lambent_workers.drivers.port import Exit
from lambent_workers.frames import encode
from lambent_workers.images import runtimes_dir

CONTAINER = "ab" * 32


@given(st.integers(128, 10240), st.integers(128, 10240))
def test_processor_time_follows_memory(one: int, other: int) -> None:
    """More memory never gives less time, a vCPU's memory gives a vCPU, and a boost gives that at least."""
    assert (one <= other) == (cpu_quota_us(one) <= cpu_quota_us(other)) or cpu_quota_us(one) == cpu_quota_us(other)
    assert cpu_quota_us(1769) == CPU_PERIOD_US
    assert cpu_quota_us(one, boosted=True) == max(CPU_PERIOD_US, cpu_quota_us(one))


def test_limits_leave_room_for_tmp_and_none_for_swap() -> None:
    """The container's limit is memory, /tmp and the fixed share; swap adds nothing to it."""
    sizes = limits(128, 512, 64)
    assert sizes["Memory"] == sizes["MemorySwap"] == 704 * 2**20


def test_an_image_is_named_by_what_it_is_made_of(tmp_path: Path) -> None:
    """A changed bootstrap or init gives its runtimes another tag, and leaves the others' as they are."""
    copy = tmp_path / "runtimes"
    shutil.copytree(runtimes_dir(), copy)
    python, node = RUNTIMES["python3.13"], RUNTIMES["nodejs20.x"]
    before = ImagePlans(copy)
    tags = before.plan(python).tag, before.plan(node).tag, before.tools().tag
    assert tags[0] == ImagePlans(runtimes_dir()).plan(python).tag
    assert before.plan(python).tag != before.plan(RUNTIMES["python3.11"]).tag
    (copy / "python" / "bootstrap.py").write_text("changed")
    changed = ImagePlans(copy)
    assert changed.plan(python).tag != tags[0]
    assert (changed.plan(node).tag, changed.tools().tag) == tags[1:]
    (copy / "init" / "init.c").write_text("changed")
    assert ImagePlans(copy).plan(node).tag != tags[1]


def test_a_mapped_runtime_is_built_on_its_image() -> None:
    """The map's image is the base, and the tag tells two of them apart."""
    python = RUNTIMES["python3.13"]
    plans = ImagePlans(runtimes_dir(), {"python3.13": "public.ecr.aws/lambda/python:3.13"})
    plan = plans.plan(python)
    assert (plan.dockerfile, plan.buildargs) == ("mapped/Dockerfile", {"BASE": "public.ecr.aws/lambda/python:3.13"})
    assert plan.tag != ImagePlans(runtimes_dir(), {"python3.13": "other"}).plan(python).tag
    assert plans.is_mapped(python)
    assert not plans.is_mapped(RUNTIMES["python3.11"])


def test_dockerfiles_build_with_the_classic_builder() -> None:
    """Every Dockerfile is there and uses nothing that needs BuildKit, and official images alone."""
    for folder in ("python", "nodejs", "provided", "mapped", "tools"):
        text = (runtimes_dir() / folder / "Dockerfile").read_text()
        assert not any(word in text for word in ("# syntax", "--mount", "<<", "--chmod", "--link"))
        bases = {line.split()[1].split(":")[0] for line in text.splitlines() if line.startswith("FROM ")}
        assert bases <= {"debian", "python", "node", "${BASE}"}


def test_the_filter_names_its_bridge_and_all_ranges() -> None:
    """The rules speak of one bridge, refuse every range, and put what is allowed before what is refused."""
    text = rules("lam0", "lambent_0", ("10.1.0.0/16",))
    assert text.count('iifname != "lam0" accept') == 2
    assert all(cidr in text for cidr in REFUSED_RANGES)
    forward = text[text.index("chain forward") : text.index("chain input")]
    assert forward.index("10.1.0.0/16") < forward.index("10.0.0.0/8")


@pytest.mark.parametrize(
    "settings", [{"allowed_cidrs": ("10.0.0.0/8 } accept; #",)}, {"platform_id": "a b"}, {"platform_id": ""}]
)
def test_settings_refuse_what_could_break_the_filter(settings: dict[str, object]) -> None:
    """Ranges and ids that are none are refused before anything is made of them."""
    whole: dict[str, object] = {"platform_id": "x", "gateway_address": ("h", 1), **settings}
    with pytest.raises(ValueError, match=r"platform id|Only decimal|allowed|Expected|netmask"):
        DockerSettings(**whole)  # type: ignore[arg-type]


async def test_no_engine_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine that does not answer is reported as a sandbox error."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    driver = DockerDriver(DockerSettings(platform_id="x", gateway_address=("h", 1)), ImagePlans(runtimes_dir()))
    with pytest.raises(SandboxError, match="Docker Engine"):
        await driver.open()


def test_paths_are_translated_by_the_longest_mount() -> None:
    """A path below two mounts is the deeper one's; one below none is refused; outside a container all are the same."""
    paths = EnginePaths([(Path("/data"), Path("/srv/a")), (Path("/data/env"), Path("/srv/b"))])
    assert paths.of(Path("/data/env/x")) == Path("/srv/b/x")
    assert paths.of(Path("/data/y")) == Path("/srv/a/y")
    with pytest.raises(SandboxError, match="volume"):
        paths.of(Path("/database"))
    assert EnginePaths(None).of(Path("/any")) == Path("/any")


def test_the_own_container_is_found_by_its_files() -> None:
    """The files that Docker mounts into a container name it; the same words elsewhere do not."""
    source = f"/var/lib/docker/containers/{CONTAINER}/hostname"
    assert own_container_id(f"1 2 8:1 {source} /etc/hostname rw - ext4 /dev/vda rw") == CONTAINER
    assert own_container_id(f"1 2 8:1 {source} /mnt/hostname rw - ext4 /dev/vda rw") is None
    assert own_container_id("") is None


def test_both_cgroup_layouts_are_read() -> None:
    """Version 1's hierarchies and version 2's single one are found; one that is not mounted whole is not used."""
    hybrid = (
        "33 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "34 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "35 32 0:31 /docker/x /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
        "36 32 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    found = hierarchies(hybrid, whole=True)
    assert found["cpu"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found[""] == Path("/sys/fs/cgroup/unified")
    assert "freezer" not in found
    assert hierarchies(hybrid)["freezer"] == Path("/sys/fs/cgroup/freezer")
    assert groups("4:cpu,cpuacct:/docker/x\n0::/init.scope\n") == {
        "cpu": "/docker/x",
        "cpuacct": "/docker/x",
        "": "/init.scope",
    }


def test_spawn_refuses_what_cannot_be_passed() -> None:
    """A zero byte, an empty command and megabytes of environment are refused before init sees them."""
    assert encode_spawn(["a", "b"], {"C": "ü"}, "/").endswith(b"\0\0\0\x02/\0a\0b\0C=\xc3\xbc\0")
    for argv, env in ((["a\0b"], {}), ([], {}), (["a"], {"B": "x" * 300_000})):
        with pytest.raises(SandboxError):
            encode_spawn(argv, env, "/")


async def test_control_reads_words_and_descriptors() -> None:
    """A greeting brings the output's pipe, samples keep their peak, and the first end counts."""
    ours, theirs = socket.socketpair()
    control = Control(ours)
    reader, writer = os.pipe()
    socket.send_fds(theirs, [encode(ControlType.HELLO, b"\1")], [reader])  # type: ignore[arg-type]
    passed = await asyncio.wait_for(control.hello, 1)
    assert passed is not None
    os.write(writer, b"x")
    assert os.read(passed, 1) == b"x"
    for used in (5, 9, 7):
        theirs.send(encode(ControlType.MEMORY, struct.pack(">Q", used)))  # type: ignore[arg-type]
    theirs.send(encode(ControlType.EXITED, b"\1\x09\1"))  # type: ignore[arg-type]
    assert await asyncio.wait_for(control.exit, 1) == Exit(None, 9, out_of_memory=True)
    assert control.take_peak_bytes() == 9
    assert control.take_peak_bytes() == 7
    control.close()
    for descriptor in (passed, reader, writer):
        os.close(descriptor)
    theirs.close()


@pytest.mark.parametrize("word", [b"", b"\xff\xff\xff\xff\x10", encode(ControlType.MEMORY, b"123")])  # type: ignore[arg-type]
async def test_control_ends_with_its_peer_or_at_nonsense(word: bytes) -> None:
    """A peer that goes away, or says what cannot be, is the end of the sandbox, told to everyone who waits."""
    ours, theirs = socket.socketpair()
    control = Control(ours, lambda: True)
    theirs.send(word) if word else theirs.close()
    end = await asyncio.wait_for(control.exit, 1)
    assert end.out_of_memory == (not word)
    with pytest.raises(SandboxError):
        await control.hello
    with pytest.raises(SandboxError):
        control.send(b"x")
    theirs.close()


async def test_a_socket_accepts_once_however_long_its_path(tmp_path: Path) -> None:
    """A folder with a longer name than a socket may have is no obstacle, and one peer is all that comes in."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with OncePath(folder, "init.sock") as once:
        waiting = asyncio.create_task(once.accept(1))
        link = tmp_path / "l"
        link.symlink_to(folder)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(link / "init.sock"))
            (await waiting).close()
        assert os.listdir(folder) == []
    with OncePath(folder, "init.sock") as once, pytest.raises(SandboxError, match="did not connect"):
        await once.accept(0.05)
    with pytest.raises(OSError, match="No such file"):
        listen(tmp_path / "missing", "x")
