"""Which folders functions may run from under hot reload."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from lambent_platform.core.hot_reload import refusal

DATA = PurePath("/srv/lambent")


@pytest.mark.parametrize(
    "folder",
    [
        "/", "/etc", "/etc/nginx", "/proc/1/root", "/sys", "/dev/shm", "/run/user/1000", "/boot", "/var", "/var/run",
        "/var/lib/docker/volumes", "/var/log/app", "/root", "/home", "/home/ada", "/home/ada/.ssh", "/root/.aws/x",
        "/srv", "/srv/lambent", "/srv/lambent/objects/code", "relative/path",
    ],
)  # fmt: skip
def test_folders_that_are_not_for_functions(folder: str) -> None:
    """What is, holds or lies in a folder of the system or the platform, or is a whole home, is refused."""
    assert refusal(PurePath(folder), private=[DATA])
    assert refusal(PurePath(folder), private=[DATA], roots=[PurePath("/")])


@pytest.mark.parametrize(
    "folder", ["/home/ada/app", "/srv/lambent-app", "/etcetera", "/root/app", "/tmp/x", "/var/www"]
)
def test_folders_of_developers(folder: str) -> None:
    """Other folders may be used, also where their names begin as those of refused ones do."""
    assert refusal(PurePath(folder), private=[DATA]) is None


def test_roots_confine() -> None:
    """With roots only these and what lies below them may be used."""
    roots = [PurePath("/srv/apps"), PurePath("/opt/fn")]
    assert refusal(PurePath("/srv/apps"), roots=roots) is None
    assert refusal(PurePath("/opt/fn/a/b"), roots=roots) is None
    assert "/srv/apps, /opt/fn" in (refusal(PurePath("/srv/apps2"), roots=roots) or "")
    assert refusal(PurePath("/srv"), roots=roots)
