"""Which files of a folder are not code: the patterns of an ignore file, as Git reads them.

Source of the rules: gitignore(5), "PATTERN FORMAT". Only the file at the folder's root is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

ALWAYS: Final = (
    ".git/", ".hg/", ".svn/", ".venv/", "venv/", "__pycache__/", "*.pyc", ".mypy_cache/", ".pytest_cache/",
    ".ruff_cache/", ".DS_Store", "/lambent.toml", "/.lambentignore", "/.gitignore",
)  # fmt: skip
"""Never part of a package, whatever an ignore file says."""


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    negated: bool
    folders_only: bool


class IgnoreRules:
    """Answers whether a path is left out."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._always = [rule for line in ALWAYS if (rule := _parse(line))]
        self._rules = [rule for line in lines if (rule := _parse(line))]

    @classmethod
    def of(cls, folder: Path) -> IgnoreRules:
        """Read `.lambentignore`, or `.gitignore` where there is none."""
        for name in (".lambentignore", ".gitignore"):
            file = folder / name
            if file.is_file():
                return cls(file.read_text(encoding="utf-8", errors="replace").splitlines())
        return cls(())

    def excludes(self, path: PurePosixPath, *, is_folder: bool) -> bool:
        """Whether this path, relative to the folder, is left out; of several rules the last one counts.

        An excluded folder's content is not looked at, so nothing in it can be taken back in.
        """
        text = path.as_posix()
        if any(_applies(rule, text, is_folder) for rule in self._always):
            return True
        excluded = False
        for rule in self._rules:
            if _applies(rule, text, is_folder):
                excluded = not rule.negated
        return excluded


def _applies(rule: _Rule, text: str, is_folder: bool) -> bool:
    return (is_folder or not rule.folders_only) and rule.pattern.fullmatch(text) is not None


def _parse(line: str) -> _Rule | None:
    line = line.rstrip("\r\n")
    if not line.endswith("\\ "):
        line = line.rstrip(" ")
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    if negated:
        line = line[1:]
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    if not line:
        return None
    # A slash at the start or in the middle ties the pattern to the root; otherwise it holds at any depth.
    anchored = "/" in line
    expression = _translate(line.lstrip("/"))
    return _Rule(re.compile(expression if anchored else f"(?:.*/)?{expression}"), negated, folders_only)


def _translate(glob: str) -> str:
    """Turn a pattern into a regular expression."""
    out: list[str] = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            out.append(".*")
            at += 2
        elif glob[at] == "*":
            out.append("[^/]*")
            at += 1
        elif glob[at] == "?":
            out.append("[^/]")
            at += 1
        elif glob[at] == "[" and (end := glob.find("]", at + 2)) > 0:
            inner = glob[at + 1 : end].replace("\\", "\\\\")
            out.append(f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]")
            at = end + 1
        elif glob[at] == "\\" and at + 1 < len(glob):
            out.append(re.escape(glob[at + 1]))
            at += 2
        else:
            out.append(re.escape(glob[at]))
            at += 1
    return "".join(out)
