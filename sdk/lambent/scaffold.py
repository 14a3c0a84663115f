"""New functions from templates: folders below `templates/`, each with a first line in `lambent.toml` about it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from lambent.errors import SpecError
from lambent.spec import FILE_NAME

_HOME: Final = Path(__file__).parent / "templates"
_NAME: Final = re.compile(r"[a-zA-Z0-9-_]{1,64}")


def templates() -> dict[str, str]:
    """Return the templates: name → what it is."""
    return {
        folder.name: (folder / FILE_NAME).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        for folder in sorted(_HOME.iterdir())
        if (folder / FILE_NAME).is_file()
    }


def create(folder: Path, template: str, *, name: str | None = None, runtime: str | None = None) -> list[Path]:
    """Copy a template into a folder and return the files made. Nothing that is there is overwritten.

    Raises:
        SpecError: the folder has one of the files already, or the name is none that Lambda allows.
    """
    function = name or folder.resolve().name
    if _NAME.fullmatch(function) is None:
        raise SpecError(f"{function!r} is no function name (letters, digits, - and _, at most 64): pass one by --name")
    source = _HOME / template
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts]
    taken = [path for path in files if (folder / path).exists()]
    if taken:
        raise SpecError(f"{folder / taken[0]} exists already")
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, folder / path)
    description = folder / FILE_NAME
    text = description.read_text(encoding="utf-8").replace("NAME", function, 1)
    if runtime is not None:
        text = re.sub(r'^runtime = ".*"$', f'runtime = "{runtime}"', text, flags=re.MULTILINE)
    # Its first line is for `lambent init --list`.
    description.write_text(text.partition("\n")[2], encoding="utf-8")
    return [folder / path for path in files]
