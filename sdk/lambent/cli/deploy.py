"""`lambent deploy`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import click
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from lambent.cli.options import Variable, endpoint_options
from lambent.cli.output import bytes_text, console, count_text
from lambent.deployment import DEPLOY_TIMEOUT_S
from lambent.deployment import Progress as Step
from lambent.errors import DeployFailed
from lambent.spec import FILE_NAME, FunctionSpec
from lambent.sync import Client
from lambent.template.stack import find_template

_HEARTBEAT_S: Final = 10.0
"""How often a long wait says so where there is no terminal to animate."""
_LOG_LINES_SHOWN: Final = 60


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=".", metavar="[FOLDER|TEMPLATE]")
@click.option("--name", help="The function's name; else lambent.toml's, else the folder's.")
@click.option("--runtime", help="Such as python3.13, nodejs22.x or provided.al2023.")
@click.option("--handler", help="Such as handler.handler: module and function.")
@click.option("--memory", "memory_mb", type=int, metavar="MB", help="Memory, 128 to 10240.")
@click.option("--timeout", "timeout_s", type=int, metavar="SECONDS", help="Longest run of one call, 1 to 900.")
@click.option("--tmp", "ephemeral_mb", type=int, metavar="MB", help="Size of /tmp, 512 to 10240.")
@click.option("--description", help="A line about it.")
@click.option("-e", "--env", type=Variable(), multiple=True, metavar="NAME=VALUE", help="Environment variable; repeat.")
@click.option("--url/--no-url", default=None, help="Give it a function URL, open to all, and print it.")
@click.option("--stack", "stack_name", metavar="NAME", help="The stack's name; else samconfig.toml's, the folder's.")
@click.option(
    "--parameter",
    "-p",
    "parameters",
    type=Variable(),
    multiple=True,
    metavar="NAME=VALUE",
    help="For the template; repeat.",
)
@click.option(
    "--config-env", "sam_environment", default="default", metavar="NAME", help="Which part of samconfig.toml."
)
@click.option("--plan", "only_plan", is_flag=True, help="Show what a template's deployment would do, and stop.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before a template is deployed.")
@click.option("--adopt", is_flag=True, help="Take over what is there already under a template's names.")
@click.option("--json", "as_json", is_flag=True, help="Print a template's outputs as JSON.")
@click.option("--wait", "wait_s", type=float, default=DEPLOY_TIMEOUT_S, show_default=True, help="Seconds to wait.")
@click.option("-v", "--verbose", is_flag=True, help="Print the build log as it grows.")
@endpoint_options
def deploy(
    folder: Path,
    env: tuple[tuple[str, str], ...],
    wait_s: float,
    verbose: bool,
    endpoint: str | None,
    region: str | None,
    stack_name: str | None,
    parameters: tuple[tuple[str, str], ...],
    sam_environment: str,
    only_plan: bool,
    yes: bool,
    adopt: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Create or update the function in FOLDER, or the resources of a SAM TEMPLATE, and wait until all can be used.

    FOLDER holds a lambent.toml, or the options say what would be in it; or it holds a template.yaml. Where it has both,
    lambent.toml counts, and the template is deployed by naming the file.

    Files that a .lambentignore (or .gitignore) names stay behind, and so do .git and virtual environments.
    Dependencies that a requirements.txt or package.json names, and that are not in the folder, are installed by the
    platform.

    A template is deployed after its plan was shown: what is made, changed setting by setting, replaced and removed.
    """
    template = _template(folder, given, env)
    if template is not None:
        from lambent.cli.deploy_template import deploy_template

        with _display(verbose) as display:
            try:
                deploy_template(
                    template,
                    stack_name=stack_name,
                    sam_environment=sam_environment,
                    parameters=dict(parameters),
                    only_plan=only_plan,
                    yes=yes,
                    adopt=adopt,
                    as_json=as_json,
                    wait_s=wait_s,
                    verbose=verbose,
                    endpoint=endpoint,
                    region=region,
                    on_progress=display.show,
                )
            except DeployFailed as error:
                _print_build_log(error, already_shown=verbose)
                raise
        return
    if stack_name or parameters or only_plan or adopt:
        raise click.UsageError(f"--stack, --parameter, --plan and --adopt are for templates, and {folder} has none")
    spec = FunctionSpec.read(folder, {**given, "environment": dict(env)})
    started = time.monotonic()
    with Client(endpoint, region=region) as client:
        try:
            with _display(verbose) as display:
                function = client.deploy(spec, on_progress=display.show, timeout_s=wait_s)
        except DeployFailed as error:
            _print_build_log(error, already_shown=verbose)
            code = f" ({error.code})" if error.code else ""
            raise DeployFailed(f"{spec.name} was not deployed{code}: {error}") from error
        took = time.monotonic() - started
        click.echo(
            f"{function.name} is active after {took:.1f} s: {function.runtime}, {function.memory_mb} MB, "
            f"{function.timeout_s} s",
            err=True,
        )
        if spec.url:
            click.echo(client.url(spec.name))
            click.echo(f"also at {client.path_url(spec.name)}", err=True)


def _template(folder: Path, given: Mapping[str, Any], env: tuple[tuple[str, str], ...]) -> Path | None:
    """Return the template that is to be deployed, None where a function is."""
    template = folder if folder.is_file() else find_template(folder)
    if template is None:
        return None
    if folder.is_dir() and (folder / FILE_NAME).is_file():
        click.echo(f"{folder / FILE_NAME} counts here; `lambent deploy {template}` deploys the template", err=True)
        return None
    options = [name for name, value in given.items() if value is not None]
    if options and folder.is_dir():
        # The options describe a function, as its lambent.toml would.
        raise click.UsageError(
            f"{template} describes what is deployed: --{options[0].partition('_')[0]} is for folders without a template"
        )
    if options or env:
        raise click.UsageError("options that describe a function do not go with a template: use its parameters")
    return template


def _print_build_log(error: DeployFailed, *, already_shown: bool) -> None:
    lines = error.build_log.splitlines()
    if not lines or already_shown:
        return
    whole = len(lines) <= _LOG_LINES_SHOWN
    click.echo("Build log:" if whole else f"End of the build log of {len(lines)} lines:", err=True)
    for line in lines[-_LOG_LINES_SHOWN:]:
        click.echo(f"  {line}", err=True)


def _display(verbose: bool) -> _Bars | _Lines:
    return _Bars(verbose) if sys.stderr.isatty() else _Lines(verbose)


def _phase_text(step: Step) -> str:
    return step.text.rstrip(".") or "preparing"


class _Lines:
    """Progress as plain lines, for files and pipes."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._last = ""
        self._said_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, step: Step) -> None:
        """Print a line where something new is to be said."""
        if step.phase == "packed":
            self._say(f"packed {count_text(step.files, 'file')}, {bytes_text(step.total)}")
        elif step.phase == "uploading" and step.done == step.total:
            self._say(f"uploaded {bytes_text(step.total)}")
        elif step.phase == "preparing":
            text = _phase_text(step)
            if text != self._last or time.monotonic() - self._said_at > _HEARTBEAT_S:
                self._say(text)
        elif step.phase == "log" and self._verbose:
            click.echo(f"  {step.text}", err=True)
        elif step.phase == "unchanged":
            self._say("unchanged")

    def _say(self, text: str) -> None:
        self._last = text
        self._said_at = time.monotonic()
        click.echo(text, err=True)


class _Bars:
    """Progress as a bar and a spinner, for terminals. `show` may be called from another thread."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        out = console(sys.stderr)
        self._upload = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=out, transient=True
        )
        self._wait = Progress(
            SpinnerColumn(spinner_name="line"), TextColumn("{task.description}", markup=False), TimeElapsedColumn(),
            console=out, transient=True,
        )  # fmt: skip
        self._running: Progress | None = None
        self._task = TaskID(0)
        self._log_line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._switch(None)

    def _switch(self, to: Progress | None, text: str = "", total: float | None = None) -> None:
        if self._running is to:
            return
        if self._running is not None:
            self._running.stop()
        self._running = to
        if to is not None:
            self._task = to.add_task(text, total=total)
            to.start()

    def show(self, step: Step) -> None:
        """Move the bar, or say what the platform is at."""
        if step.phase == "packed":
            click.echo(f"packed {count_text(step.files, 'file')}, {bytes_text(step.total)}", err=True)
        elif step.phase == "uploading":
            self._switch(self._upload, "uploading", step.total)
            self._upload.update(self._task, completed=step.done)
        elif step.phase == "preparing":
            self._switch(self._wait, _phase_text(step))
            self._wait.update(self._task, description=f"{_phase_text(step)}{self._log_line}")
        elif step.phase == "log":
            self._log_line = f": {step.text.strip()[:60]}"
            if self._verbose:
                self._wait.console.print(f"  {step.text}")
        elif step.phase == "active":
            self._switch(None)
        elif step.phase == "unchanged":
            self._switch(None)
            click.echo("unchanged", err=True)
