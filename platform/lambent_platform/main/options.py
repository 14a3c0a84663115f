"""Settings as flags of a command: every field of `Settings` becomes one, named and described as it is there."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Collection
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lambent_platform.main.role import EXIT_SETTINGS
from lambent_platform.main.settings import PREFIX, Settings, SettingsError, flag, load

_F = TypeVar("_F", bound=Callable[..., Any])
STORES: Final = ("redis", "jobs_redis", "partitions", "objects", "data_dir", "clock")
"""Settings of every role: where its state is, and what time it goes by."""
LOGGING: Final = ("log_level", "log_format")
_NUMBERS: Final = {int: "INTEGER", float: "NUMBER", bool: "BOOLEAN"}


def with_settings(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the flags of these settings, and call it with the `Settings` they make as its first argument.

    Settings that have no flag here are still read from their variables. What is not acceptable is said in one line,
    and the process exits with status 2.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**given: Any) -> Any:
            values = {name: given.pop(name) for name in names}
            try:
                settings = load({name: value for name, value in values.items() if value is not None})
            except SettingsError as error:
                sys.stderr.write(f"lambent: {error}\n")
                sys.exit(EXIT_SETTINGS)
            return command(settings, **given)

        for name in reversed(names):
            run = _option(name, Settings.model_fields[name])(run)
        return run

    return decorate


def every_setting(*, without: Collection[str] = ()) -> tuple[str, ...]:
    """Names of all settings but these."""
    return tuple(name for name in Settings.model_fields if name not in without)


def _option(name: str, field: FieldInfo) -> Callable[[_F], _F]:
    # The value stays text until `Settings` reads it, so that a flag and its variable are validated alike.
    shown = "" if field.default is PydanticUndefined else _default(field.default)
    text = f"{field.description}  [{PREFIX}{name.upper()}{shown}]"
    if field.annotation is bool:
        return click.option(flag(name), name, is_flag=True, flag_value=True, default=None, help=text)
    metavar = _NUMBERS.get(field.annotation) if isinstance(field.annotation, type) else None
    if get_origin(field.annotation) is Literal:
        metavar = "|".join(get_args(field.annotation))
    elif get_origin(field.annotation) in (dict, tuple) or isinstance(field.annotation, types.GenericAlias):
        metavar = "LIST"
    return click.option(flag(name), name, metavar=metavar or "TEXT", default=None, help=text)


def _default(value: object) -> str:
    if isinstance(value, tuple):
        value = ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return f"; {value:g}" if isinstance(value, float) else f"; {value}" if value not in ("", None) else ""
