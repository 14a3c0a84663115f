"""What is to be deployed: a folder and its `lambent.toml`.

name = "resize-image"            # default: the folder's name
runtime = "python3.13"
handler = "handler.handler"      # default for provided.*: bootstrap
description = "..."
memory_mb = 512                  # default 128
timeout_s = 30                   # default 3
ephemeral_mb = 512               # size of /tmp
url = true                       # give it a function URL
stream = true                    # which passes on what the function streams

[environment]
LEVEL = "info"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from lambent.errors import SpecError
from lambent_platform.contracts.limits import EPHEMERAL_MB_MIN, MEMORY_MB_DEFAULT, TIMEOUT_S_DEFAULT

FILE_NAME: Final = "lambent.toml"

_KINDS: Final[Mapping[str, type]] = {
    "name": str,
    "runtime": str,
    "handler": str,
    "description": str,
    "memory_mb": int,
    "timeout_s": int,
    "ephemeral_mb": int,
    "url": bool,
    "stream": bool,
    "environment": dict,
}
_TOML_NAMES: Final = {str: "text", int: "a whole number", bool: "true or false", dict: "a table"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """A function as its owner describes it."""

    folder: Path
    name: str
    runtime: str
    handler: str
    description: str = ""
    memory_mb: int = MEMORY_MB_DEFAULT
    timeout_s: int = TIMEOUT_S_DEFAULT
    ephemeral_mb: int = EPHEMERAL_MB_MIN
    url: bool = False
    stream: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a folder's `lambent.toml`; what `overrides` holds counts more, and `environment` is merged.

        `overrides` has the file's own keys; None means "not given".

        Raises:
            SpecError: no such folder, not TOML, an unknown key, a value of the wrong type, no runtime or handler.
        """
        if not folder.is_dir():
            raise SpecError(f"{folder} is not a folder")
        file = folder / FILE_NAME
        values = _load(file) if file.is_file() else {}
        given = {key: value for key, value in (overrides or {}).items() if value is not None}
        _check(given, "the function's description")
        environment = {**values.get("environment", {}), **given.get("environment", {})}
        merged = {"name": folder.resolve().name, **values, **given, "environment": environment}
        if "runtime" not in merged:
            where = f"{file} does not name a runtime" if values else f"there is no {FILE_NAME} in {folder}"
            raise SpecError(f"{where}: add `runtime = ...` to it, or pass --runtime")
        if "handler" not in merged:
            if not merged["runtime"].startswith("provided"):
                raise SpecError(f"{merged['name']} has no handler: add `handler = ...` to {file}, or pass --handler")
            merged["handler"] = "bootstrap"
        return cls(folder=folder, **merged)

    def configuration(self) -> dict[str, Any]:
        """Return it as the parameters of `UpdateFunctionConfiguration`."""
        return {
            "Runtime": self.runtime,
            "Handler": self.handler,
            "Description": self.description,
            "MemorySize": self.memory_mb,
            "Timeout": self.timeout_s,
            "EphemeralStorage": {"Size": self.ephemeral_mb},
            "Environment": {"Variables": dict(self.environment)},
        }


def _load(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"{file} cannot be read: {error}") from error
    _check(values, str(file))
    return values


def _check(values: Mapping[str, Any], where: str) -> None:
    for key, value in values.items():
        kind = _KINDS.get(key)
        if kind is None:
            raise SpecError(f"{where}: unknown key `{key}` (known: {', '.join(_KINDS)})")
        if type(value) is not kind:
            raise SpecError(f"{where}: `{key}` must be {_TOML_NAMES[kind]}, not {value!r}")
    for key, value in values.get("environment", {}).items():
        if not isinstance(value, str):
            raise SpecError(f"{where}: `environment.{key}` must be text, not {value!r}")
