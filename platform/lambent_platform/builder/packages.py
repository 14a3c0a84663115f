"""Package and installed dependencies, joined into one zip; the dependencies are a stranger's bytes.

What a sandbox wrote is never unpacked: it is read as a stream of bounded entries, judged by the rules that an upload
is judged by, and copied into the new zip. The same input gives the same bytes.
"""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final

from lambent_platform.builder.problems import BuildFailed
from lambent_platform.contracts import limits
from lambent_platform.core.packages import Entry, EntryKind, misplaced, oversized

_BLOCK: Final = 512
_COPY_BYTES: Final = 256 * 1024
_LONG_NAME_BYTES_MAX: Final = 64 * 1024
_EXTENSION_TYPES: Final = b"xgXLK"
"""Tar headers whose data is read into memory before anything can judge it: long names and records of PAX."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_DEFLATE_LEVEL: Final = 1
"""Read once by each worker: time counts for more than size."""
CODE: Final = "InvalidZipFileException"


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the content of an entry of the new package is: a file of the package, or a member of the tar."""

    entry: Entry
    path: Path | None = None
    member: tarfile.TarInfo | None = None
    link_target: str = ""


def write_tar(folder: Path, tar_file: BinaryIO) -> None:
    """Write a package's folder as a tar without a trace of this machine."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(fileobj=tar_file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(os.listdir(folder)):
            tar.add(folder / name, arcname=name, filter=plain)


def join(package: Path, installed: Path, result: Path) -> None:
    """Write the zip of a package's folder and the tar of what was installed for it; the package's own files win.

    Raises:
        BuildFailed: together they are over a limit, or the tar has what a package must not have.
    """
    sources = {source.entry.name: source for source in _files_of(package)}
    with _readable(), tarfile.open(installed, mode="r:") as tar:
        for source in _members_of(tar):
            sources.setdefault(source.entry.name, source)
        _judge(list(sources.values()))
        with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED, compresslevel=_DEFLATE_LEVEL) as archive:
            for name in sorted(sources):
                _copy(sources[name], tar, archive)


def check_tar(path: Path) -> None:
    """Walk through a tar's headers, before a library that trusts them reads it.

    Raises:
        BuildFailed: it has too many entries, or a name or record that would fill memory.
    """
    with path.open("rb") as file:
        for _ in range(2 * limits.ZIP_ENTRIES):
            block = file.read(_BLOCK)
            if len(block) < _BLOCK or not block.strip(b"\0"):
                return
            header = _header(block)
            if header.size < 0 or (header.type in _types(_EXTENSION_TYPES) and header.size > _LONG_NAME_BYTES_MAX):
                raise BuildFailed("The installed dependencies have a file name that is too long.", CODE)
            file.seek(-(-header.size // _BLOCK) * _BLOCK, os.SEEK_CUR)
    raise BuildFailed(f"The installed dependencies have more than {limits.ZIP_ENTRIES} files.", CODE)


def _types(letters: bytes) -> frozenset[bytes]:
    return frozenset(letters[at : at + 1] for at in range(len(letters)))


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise BuildFailed("What the install wrote is not a tar.", CODE) from error


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, UnicodeError) as error:
        raise BuildFailed("What the install wrote is not a tar.", CODE) from error


def _files_of(folder: Path) -> Iterator[_Source]:
    for root, _, files in os.walk(folder):
        for name in files:
            path = Path(root, name)
            status = path.lstat()
            entry = Entry(name=str(path.relative_to(folder)), size_bytes=status.st_size, mode=status.st_mode)
            target = os.readlink(path) if entry.kind is EntryKind.LINK else ""
            yield _Source(entry, path=path, link_target=target)
        # A link to a folder is listed among the folders, and not followed.
        for name in [name for name in os.listdir(root) if Path(root, name).is_symlink() and name not in files]:
            path = Path(root, name)
            entry = Entry(name=str(path.relative_to(folder)), mode=path.lstat().st_mode)
            yield _Source(entry, path=path, link_target=os.readlink(path))


def _members_of(tar: tarfile.TarFile) -> Iterator[_Source]:
    for member in tar:
        if member.isdir():
            continue
        name = member.name.removeprefix("./")
        if member.isreg() and not member.issparse():
            mode = stat.S_IFREG | (member.mode & 0o777)
            yield _Source(Entry(name=name, size_bytes=member.size, mode=mode), member=member)
        elif member.issym():
            yield _Source(Entry(name=name, mode=stat.S_IFLNK | 0o777), link_target=member.linkname)
        else:
            raise BuildFailed(f"The install made something that is neither a file nor a link: {name[:200]!r}", CODE)


def _judge(sources: list[_Source]) -> None:
    entries = [source.entry for source in sources]
    targets = {source.entry.name: source.link_target for source in sources if source.entry.kind is EntryKind.LINK}
    problem = oversized(entries, 0) or misplaced(entries, targets)
    if problem is not None:
        raise BuildFailed(f"The package with its dependencies cannot be used: {problem}", CODE)


def _copy(source: _Source, tar: tarfile.TarFile, archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo(source.entry.name, _EPOCH)
    info.create_system = 3
    info.compress_type = zipfile.ZIP_DEFLATED
    if source.entry.kind is EntryKind.LINK:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, source.link_target)
        return
    info.external_attr = (stat.S_IFREG | source.entry.permissions) << 16
    with _content(source, tar) as content, archive.open(info, "w") as target:
        while data := content.read(_COPY_BYTES):
            target.write(data)


def _content(source: _Source, tar: tarfile.TarFile) -> IO[bytes]:
    if source.path is not None:
        return source.path.open("rb")
    content = tar.extractfile(source.member) if source.member is not None else None
    if content is None:
        raise BuildFailed(f"The install made something that cannot be read: {source.entry.name[:200]!r}", CODE)
    return content
