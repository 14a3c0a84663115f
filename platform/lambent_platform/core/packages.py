"""Whether a zip package is acceptable, and whether its dependencies are still to be installed.

Pure: the store reads the archive, these rules judge what it found. Where Lambda has a text for a refusal it is used
word for word.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from lambent_platform.contracts import limits
from lambent_platform.contracts.runtimes import Language

UNREADABLE: Final = "Could not unzip uploaded file. Please check your file, then try to upload again."
EMPTY: Final = "Uploaded file must be a non-empty zip"
UNZIPPED_TOO_LARGE: Final = f"Unzipped size must be smaller than {limits.UNZIPPED_BYTES} bytes"
ZIPPED_TOO_LARGE: Final = f"Zipped size must be smaller than {limits.ZIP_BYTES} bytes"
PATH_BYTES_MAX: Final = 2048
"""Room below the kernel's 4,096 for the folder that a package is unpacked into."""
PATH_PART_BYTES_MAX: Final = 255
LINK_TARGET_BYTES_MAX: Final = 1024
MANIFEST_BYTES_MAX: Final = 1024 * 1024
"""A `requirements.txt` or `package.json` that is longer is not read, and so not built."""


class EntryKind(Enum):
    """What an entry of an archive becomes."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"
    """A device, a FIFO, a socket: never unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as the archive's directory declares it."""

    name: str
    size_bytes: int = 0
    """Declared; reading an entry never yields more."""
    mode: int = 0
    """Unix mode with its type bits; 0 where the archive was not made on Unix."""
    encrypted: bool = False
    supported: bool = True
    """Whether it is stored or deflated."""

    @property
    def kind(self) -> EntryKind:
        """By its mode; by the slash at its end where it has none."""
        file_type = stat.S_IFMT(self.mode)
        if file_type == stat.S_IFLNK:
            return EntryKind.LINK
        if file_type == stat.S_IFDIR or self.name.endswith("/"):
            return EntryKind.FOLDER
        return EntryKind.FILE if file_type in (0, stat.S_IFREG) else EntryKind.OTHER

    @property
    def permissions(self) -> int:
        """The mode that it is unpacked with: readable to all, the executable bit kept, nothing else."""
        return 0o755 if self.kind is EntryKind.FOLDER or self.mode & 0o111 else 0o644


def parts_of(name: str) -> tuple[str, ...] | None:
    """Cut a name into the parts of a relative path; None where it is not one that stays in the package."""
    if not name or name.startswith("/") or "\0" in name or len(name.encode("utf-8", "replace")) > PATH_BYTES_MAX:
        return None
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    for part in parts:
        if part == ".." or len(part.encode("utf-8", "replace")) > PATH_PART_BYTES_MAX:
            return None
    return parts


def link_stays_inside(link: Sequence[str], target: str) -> bool:
    """Whether a symbolic link at the path `link` leads to somewhere in the package.

    A target may climb only at its beginning, where what it climbs are real folders (`misplaced` refuses entries
    below a link); after that it only descends, and every link it meets there has passed the same rule.
    """
    too_long = len(target.encode("utf-8", "replace")) > LINK_TARGET_BYTES_MAX
    if not target or target.startswith("/") or "\0" in target or too_long:
        return False
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    return climbs < len(link) and ".." not in parts[climbs:]


def oversized(entries: Sequence[Entry], zipped_bytes: int) -> str | None:
    """Say which limit an archive breaks, in the words of the API; None where it breaks none."""
    if zipped_bytes > limits.ZIP_BYTES:
        return ZIPPED_TOO_LARGE
    if len(entries) > limits.ZIP_ENTRIES:
        return f"The package has {len(entries)} files; the limit is {limits.ZIP_ENTRIES}"
    if sum(entry.size_bytes for entry in entries) >= limits.UNZIPPED_BYTES:
        return UNZIPPED_TOO_LARGE
    return None


def misplaced(entries: Sequence[Entry], link_targets: Mapping[str, str]) -> str | None:
    """Say which entry of an archive cannot be unpacked where it says, or at all; None where all can.

    `link_targets` has the target of every entry that is a link, by the entry's name.
    """
    if not any(entry.kind is not EntryKind.FOLDER for entry in entries):
        return EMPTY
    kinds: dict[tuple[str, ...], EntryKind] = {}
    for entry in entries:
        parts, kind, shown = parts_of(entry.name), entry.kind, repr(entry.name[:200])
        if entry.encrypted or not entry.supported:
            return UNREADABLE
        if parts is None:
            return f"The package has a file with a path that leaves it: {shown}"
        if kind is EntryKind.OTHER:
            return f"The package has an entry that is neither a file nor a folder: {shown}"
        if kind is EntryKind.LINK and not link_stays_inside(parts, link_targets.get(entry.name, "")):
            return f"The package has a symbolic link that leaves it: {shown}"
        if (not parts and kind is not EntryKind.FOLDER) or (
            parts in kinds and (kinds[parts] is not kind or kind is EntryKind.LINK)
        ):
            return UNREADABLE
        kinds[parts] = kind
    for parts in kinds:
        if any(kinds.get(parts[:depth], EntryKind.FOLDER) is not EntryKind.FOLDER for depth in range(1, len(parts))):
            return f"The package has a file below something that is not a folder: {'/'.join(parts)[:200]!r}"
    return None


_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_INSTALLED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._]*)-[^/]*\.(?:dist|egg)-info/")


def _canonical(name: str) -> str:
    """Normalise a distribution's name. Source: PyPA, "Names and normalization"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needs_build(language: Language, names: Collection[str], manifest: str) -> bool:
    """Whether the platform installs a package's dependencies before it can run.

    `names` are the archive's entries, `manifest` the text of its `requirements.txt` or `package.json`, "" without one.
    """
    if language == "python":
        return _python_needs_build(names, manifest)
    if language == "nodejs":
        return _node_needs_build(names, manifest)
    return False


def manifest_name(language: Language) -> str:
    """Name the file in a package's root that lists what it depends on; "" where the language has none."""
    return {"python": "requirements.txt", "nodejs": "package.json"}.get(language, "")


def _python_needs_build(names: Collection[str], manifest: str) -> bool:
    wanted: set[str] = set()
    unnamed = False
    for line in manifest.replace("\\\n", " ").splitlines():
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        match = _REQUIREMENT.match(text)
        if match and "://" not in text.split("@")[0]:
            wanted.add(_canonical(match[1]))
        elif not text.startswith(("-i", "--index", "--extra", "--no-", "--find", "--trusted", "--prefer", "--only")):
            unnamed = True
    if not wanted and not unnamed:
        return False
    installed = {_canonical(match[1]) for name in names if (match := _INSTALLED.match(name))}
    return not (wanted & installed) and not (unnamed and installed)


def _node_needs_build(names: Collection[str], manifest: str) -> bool:
    if not manifest or any(name.startswith("node_modules/") for name in names):
        return False
    try:
        described = json.loads(manifest)
    except ValueError:
        return False
    dependencies = described.get("dependencies") if isinstance(described, dict) else None
    return isinstance(dependencies, dict) and bool(dependencies)
