"""A developer's folder, as functions under hot reload get it: judged, summed up, copied. Everything here blocks.

Whoever can call the platform names the folder, and the worker may be root: nothing is opened by a name that could
have become a link since it was judged. The folder is opened first and judged by where the open folder really lies;
what is in it is opened relative to it, and no link is ever followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

from lambent_platform.contracts.errors import LambentError
from lambent_platform.contracts.limits import UNZIPPED_BYTES, ZIP_ENTRIES
from lambent_platform.core.hot_reload import refusal

FINGERPRINT_ENTRIES_MAX: Final = 5_000
DEPTH_MAX: Final = 64
_COPY_BYTES: Final = 256 * 1024
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not blocking: what was a file when it was listed may be a pipe when it is opened.
_OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FolderRefused(LambentError):
    """A folder that a function names cannot be used; to be mended in the folder or the function, so its own error."""


class HotFolders:
    """The folders of this machine that functions may run from."""

    def __init__(self, *, roots: Sequence[Path] = (), private: Sequence[Path] = ()) -> None:
        """`roots`: only below these, if any are given; `private`: never these, nor what holds them or lies in them."""
        self._roots = tuple(root.resolve() for root in roots)
        self._private = tuple(folder.resolve() for folder in private)

    def fingerprint(self, path: Path) -> int:
        """Sum up names, sizes and times of a folder's files; of a very large one, of its first files only.

        0 for a folder that cannot be used, which `copy` then says.
        """
        try:
            with self._opened(path) as folder:
                return hash(tuple(_marks(folder)))
        except (FolderRefused, OSError):
            return 0

    def copy(self, path: Path, target: Path) -> None:
        """Fill an empty folder with copies of a folder's files and folders, readable to all, and of its links.

        Links are copied as links: where one leads, it leads inside the sandbox. Sockets, pipes and devices stay out.

        Raises:
            FolderRefused: it cannot be read, or is refused, or holds more than a package may.
            OSError: this machine has no room for the copy.
        """
        try:
            with self._opened(path) as folder:
                _Copy(path, os.fstat(folder).st_uid).fill(folder, target)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            raise FolderRefused(f"the folder {path} cannot be copied: {error}") from error

    @contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        folder = os.open(path, _OPEN_FOLDER)
        try:
            # The kernel's own answer: no link that is put into the path later can change what was judged.
            lies_at = Path(os.readlink(f"/proc/self/fd/{folder}"))
            reason = refusal(lies_at, roots=self._roots, private=self._private)
            if reason is not None:
                raise FolderRefused(f"the folder {path} is refused for hot reload: {reason}")
            yield folder
        finally:
            os.close(folder)


@contextmanager
def _folder_in(parent: int, name: str) -> Iterator[int]:
    folder = os.open(name, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


def _entries(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    """List a folder in order, up to what a package may hold; what is gone before it is looked at is left out."""
    with os.scandir(folder) as listed:
        names = sorted(entry.name for entry in islice(listed, ZIP_ENTRIES + 1))
    for name in names:
        with suppress(FileNotFoundError):
            yield name, os.stat(name, dir_fd=folder, follow_symlinks=False)


def _marks(root: int) -> list[tuple[str, int, int]]:
    marks: list[tuple[str, int, int]] = []

    def walk(folder: int, at: str, depth: int) -> None:
        for name, status in _entries(folder):
            if len(marks) >= FINGERPRINT_ENTRIES_MAX:
                return
            if stat.S_ISDIR(status.st_mode):
                marks.append((f"{at}{name}/", 0, 0))
                if depth < DEPTH_MAX:
                    # One that is gone or cannot be read changes nothing here; `copy` says what is wrong with it.
                    with suppress(OSError), _folder_in(folder, name) as inner:
                        walk(inner, f"{at}{name}/", depth + 1)
            else:
                marks.append((f"{at}{name}", status.st_size, status.st_mtime_ns))

    walk(root, "", 1)
    return marks


class _Copy:
    """One copy and what is left of its bounds, which are those of a package."""

    def __init__(self, source: Path, owner: int) -> None:
        self._source = source
        self._owner = owner
        self._entries_left = ZIP_ENTRIES
        self._bytes_left = UNZIPPED_BYTES

    def fill(self, folder: int, target: Path, depth: int = 1) -> None:
        if depth > DEPTH_MAX:
            raise FolderRefused(f"the folder {self._source} is more than {DEPTH_MAX} folders deep")
        for name, status in _entries(folder):
            self._entries_left -= 1
            if self._entries_left < 0:
                raise FolderRefused(f"the folder {self._source} holds more than {ZIP_ENTRIES} files")
            to = target / name
            if stat.S_ISDIR(status.st_mode):
                to.mkdir()
                with _folder_in(folder, name) as inner:
                    self.fill(inner, to, depth + 1)
                to.chmod(0o755)
            elif stat.S_ISLNK(status.st_mode):
                to.symlink_to(os.readlink(name, dir_fd=folder))
            elif stat.S_ISREG(status.st_mode):
                self._copy_file(folder, name, to)

    def _copy_file(self, folder: int, name: str, to: Path) -> None:
        source = os.open(name, _OPEN_FILE, dir_fd=folder)
        try:
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode):
                return
            # Root could read it, the folder's owner could not: a hard link to another's secret looks like this.
            if status.st_uid != self._owner and not status.st_mode & stat.S_IROTH:
                raise FolderRefused(
                    f"the folder {self._source} holds a file that its owner does not own and not all may read: {name}"
                )
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            with open(os.open(to, _CREATE, mode), "wb") as file:
                self._copy_bytes(source, file.fileno())
                os.fchmod(file.fileno(), mode)
        finally:
            os.close(source)

    def _copy_bytes(self, source: int, target: int) -> None:
        """Copy what is read and not what was announced: the file may grow meanwhile."""
        while chunk := os.read(source, _COPY_BYTES):
            self._bytes_left -= len(chunk)
            if self._bytes_left < 0:
                raise FolderRefused(f"the folder {self._source} holds more than {UNZIPPED_BYTES} bytes")
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
