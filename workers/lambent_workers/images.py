"""Where the folders are that runtime images are built from."""

from __future__ import annotations

from pathlib import Path


def runtimes_dir() -> Path:
    """Return the folder with one sub-folder a language: inside the installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "runtimes", here.parent / "runtimes"):
        if (folder / "init").is_dir():
            return folder
    raise FileNotFoundError(f"no runtimes folder beside {here}")
