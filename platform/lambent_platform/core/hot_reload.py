"""Which folders of a machine a function may run from under hot reload.

A worker that runs as root can read everything, and what it copies into a function is the function's to read. So a
folder is judged by where it really lies, links resolved, and never by the name that a caller gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

SYSTEM_FOLDERS: Final = tuple(
    map(
        PurePath,
        (
            "/boot", "/dev", "/etc", "/proc", "/run", "/sys",
            "/var/backups", "/var/cache", "/var/lib", "/var/lock", "/var/log", "/var/mail", "/var/run", "/var/spool",
        ),
    )
)  # fmt: skip
"""Where machines keep their secrets, their devices and the state of their services (`/var/lib/docker`)."""
SECRET_NAMES: Final = frozenset({".aws", ".docker", ".gnupg", ".kube", ".ssh"})
"""Folders in which people keep keys, wherever these lie."""
_HOMES: Final = (PurePath("/root"), PurePath("/home"))


def refusal(folder: PurePath, *, roots: Sequence[PurePath] = (), private: Sequence[PurePath] = ()) -> str | None:
    """Say why a folder, an absolute path without links, cannot be used; None where it can.

    With `roots` it must be one of them or lie below one. Whatever `roots` say, it may neither be nor hold nor lie in
    a folder of `private` or of the system, nor be a whole home.
    """
    if not folder.is_absolute():
        return "it cannot be said where it lies"
    if folder in _HOMES or folder.parent == _HOMES[-1]:
        return "it is a whole home"
    secret = next((name for name in folder.parts if name in SECRET_NAMES), None)
    if secret is not None:
        return f"what lies in {secret} is not for functions"
    for refused in (*private, *SYSTEM_FOLDERS):
        if folder.is_relative_to(refused):
            return f"what lies in {refused} is not for functions"
        if refused.is_relative_to(folder):
            return f"it holds {refused}, which is not for functions"
    if roots and not any(folder.is_relative_to(root) for root in roots):
        return f"hot reload is allowed below {', '.join(map(str, roots))} only"
    return None
