"""The data folder and what lies in it: who owns it, what the platform is called, where sockets go.

<data-dir>/lock          held by the process that owns the folder; its text is that process's id
           platform-id   random, made at the first start: the label on everything that the platform makes
           endpoint      the address of a running `lambent up`
           redis/        the embedded server's append-only file
           objects/      code packages and log chunks, unless `--objects` says otherwise
           workers/N/    one worker's cache and environments, locked by it
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORKERS_MAX: Final = 64
SOCKET_PATH_BYTES_MAX: Final = 100
"""Linux takes 107 bytes of path for a Unix socket, macOS 103."""


class FolderError(RuntimeError):
    """The folder cannot be used; the text is one line for the operator."""


class FolderInUse(FolderError):
    """Another process holds it."""


def make_private(folder: Path) -> None:
    """Make a folder, and those above it, that only this user may enter.

    Raises:
        FolderError: it cannot be made, or is no folder, or cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be made: {os.strerror(error.errno or errno.EIO)}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FolderError(f"{folder} cannot be written by this user")


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is missing. The lock ends with the process, however that ends.

    Raises:
        FolderInUse: another process holds it; the text names its id.
        FolderError: it cannot be made or written.
    """
    make_private(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise FolderInUse(f"{folder} is in use by process {holder}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def platform_id(folder: Path) -> str:
    """The id of the platform whose data folder this is: 12 hex digits, made when it is first asked for."""
    make_private(folder)
    path = folder / "platform-id"
    if path.exists():
        return path.read_text().strip()
    try:
        # Made elsewhere and linked, so that of two roles that start at once both read the same id.
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix="platform-id.") as draft:
            draft.write(secrets.token_hex(6))
            draft.flush()
            os.link(draft.name, path)
    except FileExistsError:
        pass
    return path.read_text().strip()


@dataclass(frozen=True, slots=True)
class WorkerFolder:
    """A worker's own part of a data folder. Workers that share one, as in Compose, each hold another."""

    path: Path
    worker_id: str
    """Beginning of its worker's id: the same after a restart."""
    label: str
    """For all that this worker makes; no other worker ever carries it."""


@contextmanager
def worker_folder(data_dir: Path) -> Iterator[WorkerFolder]:
    """Hold the first part of a data folder that no other worker holds.

    Raises:
        FolderError: there is none, or it cannot be used.
    """
    ident = platform_id(data_dir)
    make_private(data_dir / "workers")
    with ExitStack() as held:
        for number in range(WORKERS_MAX):
            path = data_dir / "workers" / str(number)
            try:
                held.enter_context(owned(path))
            except FolderInUse:
                continue
            suffix = f"-{number}" if number else ""
            yield WorkerFolder(path, f"worker-{ident[:6]}{suffix}", f"{ident}{suffix}")
            return
    raise FolderError(f"{data_dir} is in use by {WORKERS_MAX} workers already")


def write_atomically(path: Path, text: str) -> None:
    """Put a small file in place whole, or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


@contextmanager
def socket_folder(preferred: Path, *, longest_name: int) -> Iterator[Path]:
    """A private folder for Unix sockets, gone with the block.

    `preferred` is taken where a name of `longest_name` bytes below it still fits a socket's address, else a
    fresh folder in the shortest place that belongs to this user.
    """
    if len(os.fsencode(preferred)) + 1 + longest_name <= SOCKET_PATH_BYTES_MAX:
        make_private(preferred)
        folder = preferred
    else:
        runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
        base = runtime_dir if runtime_dir and os.access(runtime_dir, os.W_OK) else None
        folder = Path(tempfile.mkdtemp(prefix="lambent-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
