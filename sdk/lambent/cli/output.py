"""What the commands print: tables for people, plain text where the output goes elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNBOUNDED_COLUMNS = 1000
"""Width of a table that no terminal shows: nothing is cut off or wrapped there."""


def console(stream: TextIO | None = None) -> Console:
    """Return a console on a stream (default: standard output) that writes plain, unwrapped text off a terminal."""
    out = stream or sys.stdout
    width = None if out.isatty() else _UNBOUNDED_COLUMNS
    return Console(file=out, width=width, highlight=False, markup=False, emoji=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows below their headings; columns named in `right` are aligned there."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.upper(), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = console()
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())


def log_text(message: str) -> str:
    """Return a log message with its lines on lines of their own.

    Lambda's runtimes join the lines of a trace by carriage returns, to keep them in one event; on a terminal they would
    be written over each other.
    """
    return message.replace("\r\n", "\n").replace("\r", "\n").replace("\N{NO-BREAK SPACE}", " ")


def bytes_text(count: int) -> str:
    """Return a size as a person would say it."""
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1024 or unit == "MB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def count_text(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def age_text(seconds: float) -> str:
    """Return an age in its two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"
