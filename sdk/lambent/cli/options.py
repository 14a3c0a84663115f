"""Options that many commands share, and the values that they read."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def endpoint_options(command: F) -> F:
    """Add `--endpoint` and `--region`."""
    command = click.option("--region", metavar="NAME", help="Region; else AWS_REGION or AWS_DEFAULT_REGION.")(command)
    return click.option("--endpoint", metavar="URL", help="Where the platform is; else AWS_ENDPOINT_URL.")(command)


class Duration(click.ParamType[float]):
    """A span of time such as `90s`, `10m`, `2h` or `1d`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it; a bare number is seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a time such as 90s, 10m, 2h or 1d", param, ctx)
        return float(match[1]) * _SECONDS[match[2] or "s"]


class Variable(click.ParamType[tuple[str, str]]):
    """An environment variable, `NAME=VALUE`."""

    name = "variable"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split it at the first equals sign."""
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, text


def read_payload(text: str | None) -> bytes:
    """Return a payload given as JSON, as `@file`, or as `-` for standard input.

    Raises:
        click.BadParameter: the file cannot be read.
    """
    if text is None:
        return b""
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise click.BadParameter(f"{text[1:]} cannot be read: {error.strerror}", param_hint="--data") from error
    return text.encode()
