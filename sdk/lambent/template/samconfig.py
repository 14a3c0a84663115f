"""`samconfig.toml`, as far as it says what to deploy under which name.

Source: AWS SAM Developer Guide, "AWS SAM CLI configuration file".
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lambent.errors import SpecError

FILE_NAME: Final = "samconfig.toml"
DEFAULT_ENVIRONMENT: Final = "default"


@dataclass(frozen=True, slots=True)
class SamConfig:
    """What it says of a deployment; everything else in it is for SAM itself."""

    stack: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


def read_samconfig(folder: Path, environment: str = DEFAULT_ENVIRONMENT) -> SamConfig:
    """Read the file beside a template; empty where there is none.

    Raises:
        SpecError: it is not TOML, or has no such environment and another than `default` was asked for.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        if environment != DEFAULT_ENVIRONMENT:
            raise SpecError(f"there is no {FILE_NAME} in {folder}, and so no environment {environment!r}")
        return SamConfig()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"{file} cannot be read: {error}") from error
    if environment not in content and environment != DEFAULT_ENVIRONMENT:
        raise SpecError(f"{file} has no environment {environment!r}")
    found: dict[str, Any] = {}
    for command in ("global", "deploy"):
        section = content.get(environment, {})
        for key in (command, "parameters"):
            section = section.get(key, {}) if isinstance(section, dict) else {}
        if isinstance(section, dict):
            found |= section
    stack = found.get("stack_name")
    return SamConfig(str(stack) if stack else None, _overrides(found.get("parameter_overrides"), file))


def _overrides(value: Any, file: Path) -> dict[str, str]:
    """Read `parameter_overrides` in each of the forms that SAM takes."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return {str(key): str(each) for key, each in value.items()}
    words = value if isinstance(value, list) else shlex.split(str(value))
    found: dict[str, str] = {}
    key = ""
    for word in words:
        name, equals, text = str(word).partition("=")
        if name == "ParameterKey" or (equals and "," in text and text.rpartition(",")[2].startswith("ParameterValue=")):
            # ParameterKey=A,ParameterValue=b
            key, _, rest = text.partition(",")
            found[key] = rest.removeprefix("ParameterValue=").strip('"')
        elif equals:
            found[name] = text.strip('"')
        else:
            raise SpecError(f"{file}: parameter_overrides has {word!r}, which is not NAME=VALUE")
    return found
