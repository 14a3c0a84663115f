"""Folders under hot reload, on a real file system: what is copied, what stays out, and what is refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lambent_workers import hot_folder
from lambent_workers.hot_folder import FolderRefused, HotFolders

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can read what is not its own")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a file, an executable, a link and a sub-folder."""
    root = tmp_path / "source"
    (root / "d").mkdir(parents=True)
    (root / "a").write_text("1")
    (root / "a").chmod(0o600)
    (root / "d" / "run").write_text("2")
    (root / "d" / "run").chmod(0o700)
    (root / "d" / "link").symlink_to("../a")
    return root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "target"
    path.mkdir()
    return path


def names(folder: Path) -> set[str]:
    """All that lies in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_folder_is_copied(source: Path, target: Path) -> None:
    """Copies are readable to all whatever the original was, programs stay programs, and links stay links."""
    HotFolders().copy(source, target)
    assert names(target) == {"a", "d", "d/run", "d/link"}
    assert (target / "a").read_text() == "1"
    assert not (target / "a").samefile(source / "a")
    assert (target / "a").stat().st_mode & 0o777 == 0o644
    assert (target / "d").stat().st_mode & 0o777 == 0o755
    assert (target / "d" / "run").stat().st_mode & 0o7777 == 0o755
    assert os.readlink(target / "d" / "link") == "../a"


def test_links_out_of_the_folder_are_not_followed(source: Path, target: Path, tmp_path: Path) -> None:
    """A link to a file or folder outside brings nothing of it, only the link itself."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (source / "file").symlink_to(tmp_path / "secret" / "key")
    (source / "folder").symlink_to(tmp_path / "secret")
    (source / "shadow").symlink_to("/etc/shadow")
    HotFolders().copy(source, target)
    assert os.readlink(target / "shadow") == "/etc/shadow"
    assert all((target / name).is_symlink() for name in ("file", "folder"))
    assert not any(
        "secret" in path.read_text() for path in target.rglob("*") if path.is_file() and not path.is_symlink()
    )


def test_only_files_and_folders_are_copied(source: Path, target: Path) -> None:
    """Pipes and sockets stay out, and do not hold the copy up."""
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "sock"))
        HotFolders().copy(source, target)
    assert names(target) == {"a", "d", "d/run", "d/link"}


@AS_ROOT
def test_devices_stay_out(source: Path, target: Path) -> None:
    """A device is neither made again nor read."""
    try:
        os.mknod(source / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    HotFolders().copy(source, target)
    assert "zero" not in names(target)


@pytest.mark.parametrize("way", ["itself", "inside", "around", "linked", "through a link"])
def test_private_folders_are_refused(way: str, tmp_path: Path, target: Path) -> None:
    """The platform's own data cannot be had, however its folder is named."""
    private = tmp_path / "outer" / "data"
    (private / "objects").mkdir(parents=True)
    (private / "objects" / "code.zip").write_text("another's")
    (tmp_path / "link").symlink_to(private)
    asked = {
        "itself": private,
        "inside": private / "objects",
        "around": tmp_path / "outer",
        "linked": tmp_path / "link",
        "through a link": tmp_path / "link" / "objects",
    }[way]
    folders = HotFolders(private=[private])
    with pytest.raises(FolderRefused, match="not for functions"):
        folders.copy(asked, target)
    assert names(target) == set()
    assert folders.fingerprint(asked) == 0


@pytest.mark.parametrize("path", ["/etc", "/proc/self/root/etc", "/proc/self", "/var/run", "/", "/sys/kernel"])
def test_system_folders_are_refused(path: str, tmp_path: Path, target: Path) -> None:
    """Nor can the system's folders, by their own names or through a link to them."""
    (tmp_path / "link").symlink_to(path)
    for asked in (Path(path), tmp_path / "link"):
        with pytest.raises(FolderRefused, match="refused for hot reload"):
            HotFolders().copy(asked, target)
    assert names(target) == set()


def test_roots_count_by_where_a_folder_lies(source: Path, target: Path, tmp_path: Path) -> None:
    """A folder below a root may be used, through a link to the root too; a link below it that leads away may not."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "away").symlink_to(source)
    (tmp_path / "alias").symlink_to(source.parent)
    with pytest.raises(FolderRefused, match="below"):
        HotFolders(roots=[tmp_path / "root"]).copy(tmp_path / "root" / "away", target)
    HotFolders(roots=[tmp_path / "alias"]).copy(source, target)
    assert "a" in names(target)


def test_what_is_no_folder_is_refused(source: Path, target: Path) -> None:
    """A missing folder, a file and a pipe are said to be what they are, at once."""
    os.mkfifo(source / "pipe")
    for name in ("absent", "a", "pipe"):
        with pytest.raises(FolderRefused, match="cannot be copied"):
            HotFolders().copy(source / name, target)
        assert HotFolders().fingerprint(source / name) == 0


def test_the_size_is_bounded(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many bytes, files or folders in folders are refused; a file with holes counts as long as it is."""
    monkeypatch.setattr(hot_folder, "UNZIPPED_BYTES", 1_000_000)
    os.truncate(source / "a", 1_000_001)
    with pytest.raises(FolderRefused, match="more than 1000000 bytes"):
        HotFolders().copy(source, target)
    os.truncate(source / "a", 0)
    monkeypatch.setattr(hot_folder, "ZIP_ENTRIES", 3)
    (target / "a").unlink()
    with pytest.raises(FolderRefused, match="more than 3 files"):
        HotFolders().copy(source, target)
    monkeypatch.undo()
    (source / "/".join(["d"] * (hot_folder.DEPTH_MAX + 1))).mkdir(parents=True)
    (target / "deep").mkdir()
    with pytest.raises(FolderRefused, match="deep"):
        HotFolders().copy(source, target / "deep")


@AS_ROOT
def test_root_copies_nothing_that_the_folders_owner_could_not_read(source: Path, target: Path) -> None:
    """A hard link to another user's secret in a folder of one's own does not make it readable."""
    os.chown(source, 4000, 4000)
    with pytest.raises(FolderRefused, match="not all may read: a"):
        HotFolders().copy(source, target)
    os.chown(source / "a", 4000, 4000)
    (source / "d" / "run").chmod(0o755)
    (target / "second").mkdir()
    HotFolders().copy(source, target / "second")
    assert names(target / "second") == {"a", "d", "d/run", "d/link"}


def test_the_fingerprint_of_a_folder(source: Path) -> None:
    """Any change of a name, a size or a time changes it; looking does not."""
    folders = HotFolders()
    seen = [folders.fingerprint(source)]
    assert folders.fingerprint(source) == seen[0]
    (source / "a").write_text("longer")
    seen.append(folders.fingerprint(source))
    os.utime(source / "a", (1, 1))
    seen.append(folders.fingerprint(source))
    (source / "d" / "run").rename(source / "d" / "walk")
    seen.append(folders.fingerprint(source))
    (source / "d" / "walk").unlink()
    seen.append(folders.fingerprint(source))
    assert len({*seen, 0}) == 6
