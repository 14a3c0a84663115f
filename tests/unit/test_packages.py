"""Packages made to break things, and which ones still need their dependencies."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent_platform.contracts import limits
from lambent_platform.contracts.errors import InvalidParameterValue
from lambent_platform.contracts.runtimes import Language
from lambent_platform.core.packages import (
    EMPTY,
    UNREADABLE,
    UNZIPPED_TOO_LARGE,
    Entry,
    link_stays_inside,
    misplaced,
    needs_build,
    oversized,
    parts_of,
)
from lambent_platform.store.packages import accept, extract

LINK = stat.S_IFLNK | 0o777


def entry(name: str, mode: int = 0, content: bytes = b"") -> tuple[zipfile.ZipInfo, bytes]:
    """One entry as a Unix zip has it."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info, content


def zipped(*entries: tuple[zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Make an archive of entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content, method)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b.py", ("a", "b.py")),
        ("./a//b/", ("a", "b")),
        ("a\\..\\b", ("a\\..\\b",)),
        ("/etc/passwd", None),
        ("../a", None),
        ("a/../../b", None),
        ("a/..", None),
        ("", None),
        ("x" * 256, None),
        ("/".join(["ab"] * 700), None),
    ],
)
def test_paths(name: str, parts: tuple[str, ...] | None) -> None:
    """Only relative paths of a sane length that never climb are paths in a package."""
    assert parts_of(name) == parts


@pytest.mark.parametrize(
    ("link", "target", "inside"),
    [
        (("bin", "tool"), "../lib/tool.js", True),
        (("a",), "b", True),
        (("a", "b", "c"), "../../x", True),
        (("a",), ".", True),
        (("a",), "..", False),
        (("a", "b"), "../../x", False),
        (("a", "b"), "x/../../../y", False),
        (("a", "b"), "x/../y", False),
        (("a",), "/etc/shadow", False),
        (("a",), "", False),
        (("a",), "x" * 2000, False),
    ],
)
def test_links(link: tuple[str, ...], target: str, inside: bool) -> None:
    """A link may climb at its beginning, and no higher than the package's root."""
    assert link_stays_inside(link, target) is inside


@pytest.mark.parametrize(
    ("entries", "targets", "text"),
    [
        ([Entry(name="a.py")], {}, None),
        ([Entry(name="d/"), Entry(name="d/a.py"), Entry(name="d/a.py")], {}, None),
        ([Entry(name="l", mode=LINK), Entry(name="d/a")], {"l": "d/a"}, None),
        ([], {}, EMPTY),
        ([Entry(name="d/")], {}, EMPTY),
        ([Entry(name="../a")], {}, "path that leaves it"),
        ([Entry(name="a", encrypted=True)], {}, UNREADABLE),
        ([Entry(name="a", supported=False)], {}, UNREADABLE),
        ([Entry(name=".")], {}, UNREADABLE),
        ([Entry(name="p", mode=stat.S_IFIFO | 0o600)], {}, "neither a file nor a folder"),
        ([Entry(name="b", mode=stat.S_IFBLK | 0o600)], {}, "neither a file nor a folder"),
        ([Entry(name="l", mode=LINK)], {"l": "/etc"}, "symbolic link that leaves it"),
        ([Entry(name="l", mode=LINK)], {}, "symbolic link that leaves it"),
        ([Entry(name="l", mode=LINK), Entry(name="l/a")], {"l": "d"}, "below something that is not a folder"),
        ([Entry(name="l/a"), Entry(name="l", mode=LINK)], {"l": "d"}, "below something that is not a folder"),
        ([Entry(name="a"), Entry(name="a/b/c")], {}, "below something that is not a folder"),
        ([Entry(name="l", mode=LINK), Entry(name="./l", mode=LINK)], {"l": "d", "./l": "d"}, UNREADABLE),
        ([Entry(name="l"), Entry(name="l", mode=LINK)], {"l": "d"}, UNREADABLE),
    ],
)
def test_misplaced(entries: list[Entry], targets: dict[str, str], text: str | None) -> None:
    """What an archive may hold, and where."""
    said = misplaced(entries, targets)
    assert said is None if text is None else said is not None and text in said


def test_oversized() -> None:
    """Zipped, unzipped and the number of entries each have their limit."""
    assert oversized([Entry(name="a", size_bytes=limits.UNZIPPED_BYTES - 1)], limits.ZIP_BYTES) is None
    assert oversized([Entry(name="a", size_bytes=limits.UNZIPPED_BYTES)], 1) == UNZIPPED_TOO_LARGE
    assert oversized([], limits.ZIP_BYTES + 1) == f"Zipped size must be smaller than {limits.ZIP_BYTES} bytes"
    assert oversized([Entry(name="a")] * (limits.ZIP_ENTRIES + 1), 1) is not None


GOOD = zipped(entry("app.py", 0o644, b"x = 1\n" * 100))
_DIRECTORY = GOOD.rfind(b"PK\x01\x02")


def lying(size: int) -> bytes:
    """A zip whose directory declares another size than its entry has."""
    data = bytearray(GOOD)
    struct.pack_into("<L", data, _DIRECTORY + 24, size)
    return bytes(data)


def encrypted() -> bytes:
    """A zip whose entry says that it is encrypted."""
    data = bytearray(GOOD)
    data[6] |= 1
    data[_DIRECTORY + 8] |= 1
    return bytes(data)


def bomb() -> bytes:
    """A small zip of 300 MB of nothing."""
    buffer = io.BytesIO()
    block = bytes(1024 * 1024)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as file:
        for _ in range(300):
            file.write(block)
    return buffer.getvalue()


def crowded() -> bytes:
    """A zip whose directory has more entries than are ever looked at."""
    one = GOOD[_DIRECTORY : GOOD.rfind(b"PK\x05\x06")]
    directory = one * (limits.ZIP_ENTRIES + 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), _DIRECTORY, 0)
    return GOOD[:_DIRECTORY] + directory + end


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", UNREADABLE),
        (b"no zip at all", UNREADABLE),
        (GOOD[: len(GOOD) // 2], UNREADABLE),
        (GOOD[:40] + b"\xff\xff\xff" + GOOD[43:], UNREADABLE),
        (lying(5), UNREADABLE),
        (lying(5000), UNREADABLE),
        (encrypted(), UNREADABLE),
        (crowded(), UNREADABLE),
        (zipped(entry("a", 0o644, b"x" * 100), method=zipfile.ZIP_LZMA), UNREADABLE),
        (bomb(), UNZIPPED_TOO_LARGE),
        (bytes(limits.ZIP_BYTES + 1), "Zipped size must be smaller"),
        (zipped(entry("../../evil", 0o644, b"x")), "path that leaves it"),
        (zipped(entry("/evil", 0o644, b"x")), "path that leaves it"),
        (zipped(entry("shadow", LINK, b"/etc/shadow"), entry("a", 0o644)), "symbolic link that leaves it"),
        (zipped(entry("d", LINK, b"x" * 5000)), "symbolic link that leaves it"),
        (zipped(entry("up", LINK, b"sub/../.."), entry("sub/a", 0o644)), "symbolic link that leaves it"),
        (zipped(entry("d", LINK, b"."), entry("d/a", 0o644, b"x")), "below something that is not a folder"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_packages_are_refused(data: bytes, text: str, tmp_path: Path) -> None:
    """Whatever an archive is made to do, it is refused in words, and unpacking it leaves its folder alone."""
    with pytest.raises(InvalidParameterValue, match=text):
        accept(data, "python")
    if len(data) > limits.ZIP_BYTES:
        return
    with pytest.raises(InvalidParameterValue):
        extract(data, tmp_path / "task")
    assert [path.name for path in tmp_path.iterdir()] == ["task"]


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), at=st.integers(0, len(GOOD) - 1), length=st.integers(0, 60))
def test_no_damage_does_more_than_be_refused(data: bytes, at: int, length: int) -> None:
    """A zip that is damaged anywhere is taken or refused; nothing else ever comes of it."""
    with contextlib.suppress(InvalidParameterValue):
        accept(GOOD[:at] + data + GOOD[at + length :], "python")


_PARTS = st.sampled_from(["a", "b", "..", ".", "", "l"])
_NAMES = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)
_ENTRIES = st.lists(st.tuples(_NAMES, st.sampled_from([0o644, LINK, stat.S_IFDIR | 0o755]), _NAMES), max_size=6)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=300, deadline=None)
@given(described=_ENTRIES)
def test_what_is_unpacked_stays_inside(
    described: list[tuple[str, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of any files, folders and links, either the package is refused or all of it resolves below its folder."""
    folder = tmp_path_factory.mktemp("outer", numbered=True) / "task"
    data = zipped(*(entry(name, mode, target.encode()) for name, mode, target in described))
    with contextlib.suppress(InvalidParameterValue):
        extract(data, folder)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            try:
                resolved = path.resolve(strict=True)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a link to nothing
            except (OSError, RuntimeError):
                continue  # links in a circle
            assert resolved.is_relative_to(folder)
    assert {path.name for path in folder.parent.iterdir()} <= {"task"}


def test_modes_and_links_survive_as_far_as_they_should(tmp_path: Path) -> None:
    """Everything is readable, what was executable still is, and nothing is setuid, whatever the umask is."""
    data = zipped(
        entry("bootstrap", stat.S_IFREG | 0o4750, b"#!/bin/sh\n"),
        entry("lib/secret.txt", stat.S_IFREG | 0o600, b"s"),
        entry("node_modules/.bin/tool", LINK, b"../tool/cli.js"),
        entry("node_modules/tool/cli.js", stat.S_IFREG | 0o644, b"t"),
        entry("empty/", stat.S_IFDIR | 0o700),
    )
    before = os.umask(0o077)
    try:
        archive = tmp_path / "code.zip"
        archive.write_bytes(data)
        folder = tmp_path / "task"
        extract(archive, folder)
    finally:
        os.umask(before)
    modes = {
        str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if not p.is_symlink()
    }
    assert modes == {
        "bootstrap": 0o755, "lib": 0o755, "lib/secret.txt": 0o644, "empty": 0o755, "node_modules": 0o755,
        "node_modules/.bin": 0o755, "node_modules/tool": 0o755, "node_modules/tool/cli.js": 0o644,
    }  # fmt: skip
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert (folder / "node_modules/.bin/tool").read_text() == "t"


def test_many_entries_need_a_64_bit_directory() -> None:
    """An archive with more than 65,535 entries is read by the other form of its directory's end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(66_000):
            archive.writestr(zipfile.ZipInfo(str(number)), b"")
    assert accept(buffer.getvalue(), None).code.size_bytes == len(buffer.getvalue())


DIST = "requests-2.32.0.dist-info/METADATA"


@pytest.mark.parametrize(
    ("language", "names", "manifest", "build"),
    [
        ("python", ["app.py"], "", False),
        ("python", ["app.py"], "requests\n", True),
        ("python", ["app.py"], "# nothing\n\n  \n", False),
        ("python", ["app.py", DIST], "requests==2.32.0\n", False),
        ("python", ["app.py", DIST], "Requests[socks]>=2 ; python_version > '3'  # why\n", False),
        ("python", ["zope.interface-7.0.dist-info/METADATA"], "zope_interface\n", False),
        ("python", ["app.py", DIST], "pillow\n", True),
        ("python", ["vendor/" + DIST], "requests\n", True),
        ("python", [], "pkg @ https://example.com/pkg.zip\n", True),
        ("python", [], "git+https://example.com/r.git\n", True),
        ("python", [DIST], "https://example.com/pkg.zip\n", False),
        ("python", [], "-r other.txt\n", True),
        ("python", [], "--index-url https://example.com/simple\n", False),
        ("nodejs", ["index.js"], "", False),
        ("nodejs", ["index.js"], '{"dependencies": {"left-pad": "1"}}', True),
        ("nodejs", ["index.js"], '{"dependencies": {}}', False),
        ("nodejs", ["index.js"], '{"devDependencies": {"jest": "1"}}', False),
        ("nodejs", ["node_modules/left-pad/index.js"], '{"dependencies": {"left-pad": "1"}}', False),
        ("nodejs", ["index.js"], "{broken", False),
        ("nodejs", ["index.js"], "[1]", False),
        ("provided", ["bootstrap"], "requests", False),
    ],
)
def test_needs_build(language: Language, names: list[str], manifest: str, build: bool) -> None:
    """Dependencies are installed where they are named and none of them is in the package."""
    assert needs_build(language, names, manifest) is build


def test_the_manifest_is_read_from_the_root_only() -> None:
    """A `requirements.txt` in a sub-folder is not the package's own; one with a byte order mark is read."""
    assert not accept(zipped(entry("sub/requirements.txt", 0o644, b"requests")), "python").code.needs_build
    assert accept(zipped(entry("requirements.txt", 0o644, "\ufeffrequests".encode())), "python").code.needs_build
    assert not accept(zipped(entry("requirements.txt", 0o644, b"requests")), None).code.needs_build
