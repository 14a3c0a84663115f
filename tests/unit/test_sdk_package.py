"""Packing a folder."""

import base64
import hashlib
import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from lambent.errors import PackageError
from lambent.ignore import IgnoreRules
from lambent.package import pack
from lambent_platform.contracts.limits import UNZIPPED_BYTES


def write(folder: Path, *names: str, text: str = "x") -> None:
    """Make files with some text."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names_in(content: bytes) -> list[str]:
    """List a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.namelist()


def test_same_files_give_same_bytes(tmp_path: Path) -> None:
    """Neither the order of making files nor their times change the package."""
    for folder, names in (("a", ("one.py", "sub/two.py")), ("b", ("sub/two.py", "one.py"))):
        write(tmp_path / folder, *names)
    os.utime(tmp_path / "b" / "one.py", (1, 1))
    first, second = pack(tmp_path / "a"), pack(tmp_path / "b")
    assert first.content == second.content
    assert first.sha256 == base64.b64encode(hashlib.sha256(first.content).digest()).decode()
    assert names_in(first.content) == ["one.py", "sub/two.py"]


def test_leaves_out_what_is_never_code(tmp_path: Path) -> None:
    """Version control, caches, any virtual environment and our own files stay behind."""
    write(
        tmp_path, "handler.py", ".git/config", ".venv/lib/x.py", "sub/__pycache__/a.pyc", "lambent.toml", ".gitignore",
        "my-env/pyvenv.cfg", "my-env/lib/x.py", "sub/lambent.toml",
    )  # fmt: skip
    (tmp_path / ".gitignore").write_text("")
    assert names_in(pack(tmp_path).content) == ["handler.py", "sub/lambent.toml"]


def test_lambentignore_replaces_gitignore(tmp_path: Path) -> None:
    """What Git must not see (a build's output) may be exactly what is to be deployed."""
    write(tmp_path, "dist/index.js", "src/index.ts")
    (tmp_path / ".gitignore").write_text("dist/\n")
    assert names_in(pack(tmp_path).content) == ["src/index.ts"]
    (tmp_path / ".lambentignore").write_text("src/\n")
    assert names_in(pack(tmp_path).content) == ["dist/index.js"]


def test_keeps_only_the_executable_bit(tmp_path: Path) -> None:
    """Modes become 0644 or 0755; `bootstrap` is executable whatever its mode says."""
    write(tmp_path, "secret.py", "tool", "bootstrap")
    (tmp_path / "secret.py").chmod(0o600)
    (tmp_path / "tool").chmod(0o700)
    (tmp_path / "bootstrap").chmod(0o644)
    with zipfile.ZipFile(io.BytesIO(pack(tmp_path).content)) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes == {"bootstrap": 0o100755, "secret.py": 0o100644, "tool": 0o100755}


def test_links_inside_are_packed_as_files(tmp_path: Path) -> None:
    """npm links its commands and workspaces; the platform refuses links."""
    write(tmp_path, "packages/a/index.js")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "a").symlink_to("../packages/a")
    assert names_in(pack(tmp_path).content) == ["node_modules/a/index.js", "packages/a/index.js"]


@pytest.mark.parametrize("target", ["/etc/hosts", "../outside", "."])
def test_refuses_links_out_and_in_circles(tmp_path: Path, target: str) -> None:
    """A link must not bring in what is not the function's, nor itself for ever."""
    write(tmp_path, "outside", "code/handler.py")
    (tmp_path / "code" / "link").symlink_to(target)
    with pytest.raises(PackageError, match="link"):
        pack(tmp_path / "code")


def test_refuses_what_lambda_would_refuse(tmp_path: Path) -> None:
    """Nothing, and more than the limit, are said before anything is uploaded or even read."""
    with pytest.raises(PackageError, match="is not a folder"):
        pack(tmp_path / "absent")
    with pytest.raises(PackageError, match="no files"):
        pack(tmp_path)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(UNZIPPED_BYTES + 1)
    with pytest.raises(PackageError, match="more than 262,144,000 bytes"):
        pack(tmp_path)


PATTERNS = """\
# a comment
*.log
!important.log
/only-at-root
build/
docs/*.txt
**/deep
a/**/z
temp?
[Nn]otes
\\#hash
trailing
"""
PATHS = (
    "x.log", "sub/x.log", "important.log", "sub/important.log", "only-at-root", "sub/only-at-root", "build/out.js",
    "sub/build/out.js", "docs/a.txt", "docs/sub/a.txt", "sub/docs/a.txt", "deep", "q/w/deep", "a/z", "a/b/c/z", "temp1",
    "temp12", "Notes", "notes", "xnotes", "#hash", "trailing", "kept.py", "builder",
)  # fmt: skip


def test_ignores_what_git_ignores(tmp_path: Path) -> None:
    """Git itself is asked about each path."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    for name in PATHS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("")
    (tmp_path / ".gitignore").write_text(PATTERNS)
    subprocess.run([git, "init", "-q", tmp_path], check=True)
    command = [git, "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    expected = sorted(name for name in listed.split("\0") if name and name != ".gitignore")
    assert names_in(pack(tmp_path).content) == expected
    assert 0 < len(expected) < len(PATHS)


def test_a_folder_pattern_does_not_hit_a_file() -> None:
    """`build/` names folders only."""
    rules = IgnoreRules(["build/"])
    assert rules.excludes(PurePosixPath("sub/build"), is_folder=True)
    assert not rules.excludes(PurePosixPath("build"), is_folder=False)
