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
    needs_build,
    parts_of,
    problem,
)

_COPY_BYTES: Final = 256 * 1024
_END: Final = b"PK\x05\x06"
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
        _refuse(problem([], len(data), {}))
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
def _readable() -> Iterator[None]:
    try:
        yield
    except _BAD as error:
        raise InvalidParameterValue(UNREADABLE, Type="User") from error


def _inspect(data: bytes, language: Language | None) -> tuple[set[str], str]:
    """Judge an archive and read all of it once; returns the names in it and the text of its manifest."""
    if _declared_entries(data) > limits.ZIP_ENTRIES:
        raise InvalidParameterValue(UNREADABLE, Type="User")
    with _readable(), zipfile.ZipFile(BytesIO(data)) as archive:
        infos = archive.infolist()
        entries = [_entry(info) for info in infos]
        _refuse(problem([e for e in entries if e.kind is not EntryKind.LINK], len(data), {}) if _all_links(entries) else None)
        targets = _link_targets(archive, infos, entries)
        _refuse(problem(entries, len(data), targets))
        wanted = manifest_name(language) if language else ""
        manifest = b""
        for info, entry in zip(infos, entries, strict=True):
            with archive.open(info) as file:
                if wanted and info.filename == wanted and entry.size_bytes <= MANIFEST_BYTES_MAX:
                    manifest = file.read()
                else:
                    while file.read(_COPY_BYTES):
                        pass
    return {info.filename for info in infos}, manifest.decode("utf-8-sig", "replace")
