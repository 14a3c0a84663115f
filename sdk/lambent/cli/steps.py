"""How plans and their steps look, for `lambent deploy` and `lambent destroy`."""

from __future__ import annotations

import itertools
import sys
import time
from typing import Final, Literal

import click
from rich.text import Text

from lambent.cli.output import console
from lambent.template.plan import Plan, Step, details, shown_change

_SIGNS: Final = {"create": "+", "update": "~", "replace": "-/+", "delete": "-", "leave": "!", "none": "="}
_COLOURS: Final = {"create": "green", "update": "yellow", "replace": "magenta", "delete": "red", "leave": "cyan"}
_PAST: Final = {
    "create": "created", "update": "changed", "replace": "replaced", "delete": "deleted", "leave": "left where it is",
}  # fmt: skip


def print_plan(plan: Plan, title: str, secrets: frozenset[str], *, verbose: bool = False, quiet: bool = False) -> None:
    """Print a plan: what becomes of each resource, setting by setting. `quiet` leaves standard output to others."""
    out = console(sys.stderr if quiet else None)
    out.print(Text(title))
    if plan.resumes:
        out.print(Text("The last deployment of this stack did not come to its end; this one goes on from there."))
    width = max((len(step.logical_id) for step in plan.steps), default=0)
    kinds = max((len(step.type) for step in plan.steps), default=0)
    for step in plan.steps:
        if step.action == "none" and not verbose:
            continue
        line = f"{_SIGNS[step.action]:>4} {step.logical_id:{width}}  {step.type:{kinds}}  {step.name}"
        reason = f"  ({step.reason})" if step.reason else ""
        out.print(Text(line.rstrip() + reason, style=_COLOURS.get(step.action, "")))
        if step.action in ("update", "replace"):
            for change in itertools.chain.from_iterable(map(details, step.changes)):
                before, after = shown_change(change, secrets)
                out.print(Text(f"         {change.setting}: {before} → {after}"))
    for note in plan.notes:
        out.print(Text(f"note: {note}"))
    out.print(Text(summary(plan)))


def summary(plan: Plan) -> str:
    """Return how much a plan does, in one line."""
    if not plan.changes_anything:
        return f"No changes: {plan.count('none')} as they should be."
    parts = [
        f"{plan.count('create')} to create", f"{plan.count('update')} to change",
        f"{plan.count('replace')} to replace", f"{plan.count('delete')} to delete",
    ]  # fmt: skip
    if plan.count("leave"):
        parts.append(f"{plan.count('leave')} to leave where they are")
    return f"Plan: {', '.join(parts)}, {plan.count('none')} unchanged."


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; `--yes` answers beforehand.

    Raises:
        click.UsageError: there is nobody to ask.
    """
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("there is no terminal to ask on: pass --yes to go on, or --plan to only look")
    return click.confirm(question, default=False)


class StepLines:
    """Says on standard error how every step went. `show` may be called from another thread."""

    def __init__(self) -> None:
        self._begun = 0.0

    def show(self, step: Step, at: Literal["begun", "done"]) -> None:
        """Print a line when a step is done."""
        if at == "begun":
            self._begun = time.monotonic()
            return
        took = time.monotonic() - self._begun
        click.echo(f"{step.logical_id} {_PAST[step.action]} ({took:.1f} s)", err=True)
