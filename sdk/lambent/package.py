"""A folder as a deployment package: the same files give the same bytes, whenever and wherever they are packed."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lambent.errors import PackageError
from lambent.ignore import IgnoreRules
from lambent_platform.contracts.limits import UNZIPPED_BYTES, ZIP_BYTES, ZIP_ENTRIES

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip can hold: modification times would make every package a new one."""


@dataclass(frozen=True, slots=True)
class Package:
    """A zip, ready to be uploaded."""

    content: bytes
    files: int
    unzipped_bytes: int

    @property
    def sha256(self) -> str:
        """Base64 of the zip's SHA-256, as Lambda's `CodeSha256` has it."""
        return base64.b64encode(hashlib.sha256(self.content).digest()).decode()


def pack(folder: Path, *, leave_out: Collection[Path] = ()) -> Package:
    """Zip a folder's files, without what its ignore file names and what is never code (`ignore.ALWAYS`).

    `leave_out` are further files, by their resolved paths.

    Links are packed as what they lead to, where that is inside the folder. Only the executable bit of a file's mode is
    kept; everybody may read, since a function does not run as the one who deploys.

    Raises:
        PackageError: no such folder, nothing in it, over Lambda's limits, or a link that leads out of it.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise PackageError(f"{folder} is not a folder")
    found = sorted(_files(root, root, PurePosixPath(), IgnoreRules.of(root), (root,)), key=lambda entry: entry[0])
    found = [entry for entry in found if entry[1] not in leave_out]
    if not found:
        raise PackageError(f"{folder} has no files to deploy")
    if len(found) > ZIP_ENTRIES:
        raise PackageError(f"{folder} has {len(found)} files, over the limit of {ZIP_ENTRIES}")
    total = 0
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, source in found:
            size, mode = _stat(source)
            total += size
            if total > UNZIPPED_BYTES:
                raise PackageError(f"{folder} holds more than {UNZIPPED_BYTES:,} bytes; is something in it not code?")
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            # The bit does not survive every file system, and a bootstrap without it cannot start.
            executable = bool(mode & 0o100) or name == "bootstrap"
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, _read(source))
    content = buffer.getvalue()
    if len(content) > ZIP_BYTES:
        raise PackageError(f"the package of {folder} is {len(content):,} bytes, over the limit of {ZIP_BYTES:,}")
    return Package(content, len(found), total)


def _stat(source: Path) -> tuple[int, int]:
    """Return size and mode."""
    try:
        found = source.stat()
    except OSError as error:
        raise PackageError(f"{source} cannot be read: {error.strerror}") from error
    return found.st_size, found.st_mode


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise PackageError(f"{source} cannot be read: {error.strerror}") from error


def _files(
    root: Path, folder: Path, prefix: PurePosixPath, rules: IgnoreRules, above: tuple[Path, ...]
) -> Iterator[tuple[str, Path]]:
    """Yield (name in the package, file on disk); `above` are the folders that lead here, to find a circle of links."""
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        name = prefix / entry.name
        path = Path(entry.path)
        is_folder = path.is_dir()
        if rules.excludes(name, is_folder=is_folder):
            continue
        real = path.resolve()
        if entry.is_symlink() and not real.is_relative_to(root):
            raise PackageError(f"{name} is a link that leads out of {root}")
        if is_folder:
            if (path / "pyvenv.cfg").is_file():
                continue
            if real in above:
                raise PackageError(f"{name} is a link that leads back to a folder that it is in")
            yield from _files(root, path, name, rules, (*above, real))
        elif real.is_file():
            yield name.as_posix(), real
