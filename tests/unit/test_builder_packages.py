"""Package and dependencies joined; what an install wrote is not believed."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lambent_platform.builder.packages import check_tar, join
from lambent_platform.builder.problems import BuildFailed
from lambent_platform.contracts import limits

Writer = Callable[[tarfile.TarFile], None]


def member(name: str, data: bytes = b"x", *, mode: int = 0o644) -> Writer:
    """Add a file."""

    def write(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), mode
        tar.addfile(info, io.BytesIO(data))

    return write


def special(name: str, kind: bytes, target: str = "") -> Writer:
    """Add something that is not a file."""

    def write(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)

    return write


def joined(tmp_path: Path, *writers: Writer, package: dict[str, str] | None = None) -> zipfile.ZipFile:
    """Join a package with a tar of these members, as a build does."""
    folder, tar_path, result = tmp_path / "package", tmp_path / "in.tar", tmp_path / "out.zip"
    for name, text in (package or {"app.py": "own"}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with tarfile.open(tar_path, "w") as tar:
        for write in writers:
            write(tar)
    check_tar(tar_path)
    join(folder, tar_path, result)
    return zipfile.ZipFile(result)


def test_both_are_in_it_and_the_packages_own_file_wins(tmp_path: Path) -> None:
    """A dependency cannot replace what its user wrote."""
    with joined(tmp_path, member("app.py", b"theirs"), member("dep/__init__.py", b"dep")) as result:
        assert {name: result.read(name) for name in result.namelist()} == {"app.py": b"own", "dep/__init__.py": b"dep"}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """The package is stored by its hash: times and order must not be in it."""
    for name, order in (("a", (0, 1)), ("b", (1, 0))):
        (tmp_path / name).mkdir()
        writers = [member("x.py", b"1"), member("y.py", b"2")]
        joined(tmp_path / name, *(writers[at] for at in order)).close()
    assert (tmp_path / "a/out.zip").read_bytes() == (tmp_path / "b/out.zip").read_bytes()


def test_programs_stay_executable_and_nothing_else_of_a_mode_survives(tmp_path: Path) -> None:
    """Set-user-id bits of a stranger's install are dropped."""
    with joined(tmp_path, member("bin/tool", mode=0o4755), member("data", mode=0o600)) as result:
        modes = {i.filename: i.external_attr >> 16 for i in result.infolist()}
    assert modes["bin/tool"] == stat.S_IFREG | 0o755
    assert modes["data"] == stat.S_IFREG | 0o644


def test_a_link_within_the_package_is_kept(tmp_path: Path) -> None:
    """npm puts programs into node_modules/.bin as links."""
    tool = member("node_modules/tool/cli.js")
    link = special("node_modules/.bin/tool", tarfile.SYMTYPE, "../tool/cli.js")
    with joined(tmp_path, tool, link) as result:
        info = result.getinfo("node_modules/.bin/tool")
        assert stat.S_ISLNK(info.external_attr >> 16)
        assert result.read(info) == b"../tool/cli.js"


@pytest.mark.parametrize(
    "hostile",
    [
        member("../escape"),
        member("/etc/passwd"),
        member("a/../../escape"),
        special("out", tarfile.SYMTYPE, "/etc/shadow"),
        special("out", tarfile.SYMTYPE, "../../etc/shadow"),
        special("hard", tarfile.LNKTYPE, "/etc/shadow"),
        special("disk", tarfile.BLKTYPE),
        special("tty", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
)
def test_what_a_package_must_not_have_is_refused(tmp_path: Path, hostile: Writer) -> None:
    """Nothing that leads out of the package, no device, no pipe, no hard link."""
    with pytest.raises(BuildFailed):
        joined(tmp_path, member("dep.py"), hostile)


def test_a_file_below_a_link_is_refused(tmp_path: Path) -> None:
    """A link followed by a file through it is the oldest way out."""
    with pytest.raises(BuildFailed):
        joined(tmp_path, special("d", tarfile.SYMTYPE, "e"), member("d/file"), member("e/file"))


def test_more_than_a_package_may_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """The size that a header declares counts, whether or not the bytes are there."""
    header = tarfile.TarInfo("big")
    header.size = limits.UNZIPPED_BYTES
    (tmp_path / "package").mkdir()
    (tmp_path / "in.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(BuildFailed):
        join(tmp_path / "package", tmp_path / "in.tar", tmp_path / "out.zip")


def test_a_record_that_would_fill_memory_is_refused_before_a_library_reads_it(tmp_path: Path) -> None:
    """PAX records are read whole: their size is bounded first."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    path = tmp_path / "in.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(BuildFailed, match="name"):
        check_tar(path)


@pytest.mark.parametrize("garbage", [b"not a tar" * 200, struct.pack("<512B", *[255] * 512) * 3])
def test_bytes_that_are_no_tar_fail_the_build(tmp_path: Path, garbage: bytes) -> None:
    """Whatever the sandbox writes, the builder's answer is a failed build."""
    path = tmp_path / "in.tar"
    path.write_bytes(garbage)
    with pytest.raises(BuildFailed):
        check_tar(path)
