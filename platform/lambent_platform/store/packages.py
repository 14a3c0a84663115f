"""Zip packages: read, judged by `core.packages`, and unpacked. Everything here blocks: call it in a thread.

An archive is a stranger's: nothing of it is believed. Reading an entry never yields more than its directory declares
(a zip that lies fails its checksum), what it declares is bounded before anything is read, and every entry is read
once before a package is accepted.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from lambent_platform.contracts import limits
from lambent_platform.contracts.errors import InvalidParameterValue
from lambent_platform.contracts.function import CodePackage
from lambent_platform.contracts.runtimes import Language
from lambent_platform.core.packages import (
    LINK_TARGET_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    UNREADABLE,
    Entry,
    EntryKind,
    manifest_name,
    misplaced,
    needs_build,
    oversized,
    parts_of,
)

_COPY_BYTES: Final = 256 * 1024
_END: Final = b"PK\x05\x06"
_END_64: Final = b"PK\x06\x06"
_LOCATOR_64: Final = b"PK\x06\x07"
_END_BYTES_MAX: Final = 22 + 0xFFFF + 20 + 56
"""Where the end of the directory is looked for: its record, the longest comment, and the 64-bit records."""
_DIRECTORY_BYTES_MAX: Final = 64 * 1024 * 1024
_ENTRY: Final = b"PK\x01\x02"
_SUPPORTED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED_FLAG: Final = 0x1
_UNIX: Final = 3
_BAD: Final = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, struct.error)
"""What the standard library raises over archives that are broken or made to break it."""


@dataclass(frozen=True, slots=True)
class Package:
    """An acceptable package: where it is stored, and the bytes."""

    code: CodePackage
    data: bytes


def code_key(digest_hex: str) -> str:
    """Name the object that holds a package, by the SHA-256 of its zip."""
    return f"code/{digest_hex}.zip"


def accept(data: bytes, language: Language | None) -> Package:
    """Judge an uploaded zip for a runtime's language (None: no dependencies are looked for).

    Raises:
        InvalidParameterValue: it is not a zip, or breaks a limit or a rule, in Lambda's own words.
    """
    if len(data) > limits.ZIP_BYTES:
        _refuse(oversized([], len(data)))
    names, manifest = _inspect(data, language)
    digest = sha256(data)
    code = CodePackage(
        sha256=b64encode(digest.digest()).decode(),
        size_bytes=len(data),
        source_key=code_key(digest.hexdigest()),
        needs_build=language is not None and needs_build(language, names, manifest),
    )
    return Package(code, data)


def _refuse(text: str | None) -> None:
    if text is not None:
        raise InvalidParameterValue(text, Type="User")


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    try:
        _refuse(UNREADABLE if _directory_entries(file) > limits.ZIP_ENTRIES else None)
        with zipfile.ZipFile(file) as archive:
            yield archive
    except _BAD as error:
        raise InvalidParameterValue(UNREADABLE, Type="User") from error


def _inspect(data: bytes, language: Language | None) -> tuple[set[str], str]:
    """Judge an archive and read all of it once; returns the names in it and the text of its manifest."""
    with _opened(BytesIO(data)) as archive:
        judged = _judge(archive, len(data))
        wanted = manifest_name(language) if language else ""
        manifest = b""
        for info, entry in judged:
            kept = bool(wanted) and entry.name == wanted and entry.size_bytes <= MANIFEST_BYTES_MAX
            for chunk in _content(archive, info):
                if kept:
                    manifest += chunk
    return {entry.name for _, entry in judged}, manifest.decode("utf-8-sig", "replace")


def _directory_entries(file: IO[bytes]) -> int:
    """Count the entries that an archive's directory could hold, before anything makes an object of each.

    0 where no directory is found: what reads the archive next says so itself.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _END_BYTES_MAX))
    tail = file.read(_END_BYTES_MAX)
    end = tail.rfind(_END)
    if end < 0 or end + 22 > len(tail):
        return 0
    size: int = struct.unpack_from("<L", tail, end + 12)[0]
    end64 = tail.rfind(_END_64, 0, end)
    if size == 0xFFFFFFFF or (end64 >= 0 and tail.rfind(_LOCATOR_64, 0, end) == end - 20):
        if end64 < 0 or end64 + 48 > len(tail):
            return 0
        size, end = struct.unpack_from("<Q", tail, end64 + 40)[0], end64
    if size > _DIRECTORY_BYTES_MAX:
        return limits.ZIP_ENTRIES + 1
    start = length - len(tail) + end - size
    file.seek(max(0, start))
    return file.read(size).count(_ENTRY)


def _judge(archive: zipfile.ZipFile, zipped_bytes: int) -> list[tuple[zipfile.ZipInfo, Entry]]:
    infos = archive.infolist()
    entries = [_entry(info) for info in infos]
    _refuse(oversized(entries, zipped_bytes))
    targets = {
        entry.name: _link_target(archive, info, entry)
        for info, entry in zip(infos, entries, strict=True)
        if entry.kind is EntryKind.LINK
    }
    _refuse(misplaced(entries, targets))
    return list(zip(infos, entries, strict=True))


def _entry(info: zipfile.ZipInfo) -> Entry:
    return Entry(
        name=info.filename,
        size_bytes=info.file_size,
        mode=info.external_attr >> 16 if info.create_system == _UNIX else 0,
        encrypted=bool(info.flag_bits & _ENCRYPTED_FLAG),
        supported=info.compress_type in _SUPPORTED,
    )


def _link_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo, entry: Entry) -> str:
    """Read where a link leads; "" (which is refused) where that cannot be said."""
    if entry.encrypted or not entry.supported or entry.size_bytes > LINK_TARGET_BYTES_MAX:
        return ""
    return archive.read(info).decode("utf-8", "replace")


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Read an entry, which must be as long as its directory says and have its checksum."""
    left = info.file_size
    with archive.open(info) as file:
        while chunk := file.read(_COPY_BYTES):
            left -= len(chunk)
            yield chunk
    if left:
        raise zipfile.BadZipFile(f"{info.filename!r} is shorter than it says")


def extract(source: bytes | Path, folder: Path) -> None:
    """Unpack a package into a folder, which is made if it is missing and must be empty.

    Files are readable to all, keep their executable bit, and belong to whoever calls; no other mode bit survives.

    Raises:
        InvalidParameterValue: the archive breaks a rule or is broken; the folder may then be half full.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file, _opened(file) as archive:
        judged = _judge(archive, zipped_bytes=0)
        for info, entry in judged:
            path = folder.joinpath(*(parts_of(entry.name) or ()))
            if entry.kind is EntryKind.FOLDER:
                _make_folder(path, folder)
            elif entry.kind is EntryKind.FILE:
                _make_folder(path.parent, folder)
                _write_file(path, _content(archive, info), entry.permissions)
        for info, entry in judged:
            if entry.kind is EntryKind.LINK:
                path = folder.joinpath(*(parts_of(entry.name) or ()))
                _make_folder(path.parent, folder)
                path.symlink_to(_link_target(archive, info, entry))
    folder.chmod(0o755)


def _make_folder(path: Path, root: Path) -> None:
    """Make a folder and those above it up to `root`, all open to readers whatever the umask is."""
    if path == root or path.is_dir():
        return
    _make_folder(path.parent, root)
    path.mkdir()
    path.chmod(0o755)


def _write_file(path: Path, content: Iterator[bytes], mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        for chunk in content:
            file.write(chunk)
        os.fchmod(file.fileno(), mode)
