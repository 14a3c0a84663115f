"""New functions from templates: folders below `templates/`.

Each describes itself by `lambent.toml` (one function) or by `template.yaml` (a function with what calls it), whose
first line says what it is.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from lambent.errors import SpecError
from lambent.spec import FILE_NAME

_HOME: Final = Path(__file__).parent / "templates"
_NAME: Final = re.compile(r"[a-zA-Z0-9-_]{1,64}")
_SAM_FILE: Final = "template.yaml"
_STACK_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,127}")


def templates() -> dict[str, str]:
    """Return the templates: name → what it is."""
    found = {folder.name: _description(folder) for folder in sorted(_HOME.iterdir()) if folder.is_dir()}
    return {
        name: file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        for name, file in found.items()
        if file.is_file()
    }


def create(folder: Path, template: str, *, name: str | None = None, runtime: str | None = None) -> list[Path]:
    """Copy a template into a folder and return the files made. Nothing that is there is overwritten.

    Raises:
        SpecError: the folder has one of the files already, or the name is none that Lambda allows.
    """
    source = _HOME / template
    file = _description(source)
    stack = file.name == _SAM_FILE
    _check_name(folder, name, stack=stack)
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts]
    samconfig = Path("samconfig.toml")
    made = [*files, samconfig] if stack and name is not None else files
    taken = [path for path in made if (folder / path).exists()]
    if taken:
        raise SpecError(f"{folder / taken[0]} exists already")
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, folder / path)
    if samconfig in made:
        (folder / samconfig).write_text(f'[default.deploy.parameters]\nstack_name = "{name}"\n', encoding="utf-8")
    description = folder / file.name
    # Its first line is for `lambent init --list`.
    text = description.read_text(encoding="utf-8").partition("\n")[2]
    if not stack:
        text = text.replace("NAME", name or folder.resolve().name, 1)
    if runtime is not None:
        text = re.sub(r'^runtime = ".*"$', f'runtime = "{runtime}"', text, flags=re.MULTILINE)
        text = re.sub(r"^( +)Runtime: .*$", rf"\g<1>Runtime: {runtime}", text, flags=re.MULTILINE)
    description.write_text(text, encoding="utf-8")
    return [folder / path for path in made]


def _description(folder: Path) -> Path:
    """Return the file that says what a template deploys."""
    return folder / (_SAM_FILE if (folder / _SAM_FILE).is_file() else FILE_NAME)


def _check_name(folder: Path, name: str | None, *, stack: bool) -> None:
    if stack:
        if name is not None and _STACK_NAME.fullmatch(name) is None:
            raise SpecError(f"{name!r} is no name of a stack (a letter, then letters, digits and -, at most 128)")
        return
    function = name or folder.resolve().name
    if _NAME.fullmatch(function) is None:
        raise SpecError(f"{function!r} is no function name (letters, digits, - and _, at most 64): pass one by --name")
