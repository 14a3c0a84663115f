"""The `lambent` command: imports only the subcommand that was asked for, and shows errors as one line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.metadata import version as distribution_version
from typing import Final

import click

from lambent_platform.contracts.errors import ApiError, LambentError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNREACHABLE: Final = 4

GROUP: Final = "lambent.commands"
"""Entry points of this group name a mapping: command → (import string of a click command, its line of help)."""

_OWN: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("lambent.cli.init:init", "Make a folder with a function from a template."),
    "deploy": ("lambent.cli.deploy:deploy", "Create or update a function, or all of a SAM template, from a folder."),
    "stacks": ("lambent.cli.stacks:stacks", "List what was deployed from templates."),
    "destroy": ("lambent.cli.stacks:destroy", "Remove all that was deployed from a template."),
    "invoke": ("lambent.cli.invoke:invoke", "Call a function and print what it returns."),
    "logs": ("lambent.cli.logs:logs", "Print a function's log."),
    "ls": ("lambent.cli.functions:ls", "List the functions."),
    "rm": ("lambent.cli.functions:rm", "Delete functions."),
    "url": ("lambent.cli.functions:url", "Print, create or delete a function's URL."),
    "dead": ("lambent.cli.dead:dead", "Show, send again or remove dead events and dead letters."),
    "clock": ("lambent.cli.clock:clock", "Show event time, or move it ahead."),
    "queues": ("lambent.cli.queues:queues", "Make queues, send to them, look into them."),
    "triggers": ("lambent.cli.triggers:triggers", "Let queues and streams call functions."),
    "schedules": ("lambent.cli.schedules:schedules", "Let the clock call functions."),
    "keepalive": ("lambent.cli.keepalive:keepalive", "Show how long a function is kept while it is idle, and why."),
    "ps": ("lambent.cli.ps:ps", "Show what is running: execution environments and stems."),
}

_EPILOG: Final = (
    "The endpoint is --endpoint, else AWS_ENDPOINT_URL_LAMBDA, else AWS_ENDPOINT_URL, else http://127.0.0.1:4566; "
    "region and credentials come from AWS's variables too. "
    f"Exit status: {EXIT_FAILED} the function or its deployment failed, {EXIT_USAGE} wrong usage, "
    f"{EXIT_REFUSED} the platform refused, {EXIT_UNREACHABLE} nothing answers at the endpoint."
)


class LazyGroup(click.Group):
    """Knows its commands by name and help, and imports one when it is called."""

    def _found(self) -> dict[str, tuple[str, str]]:
        """Return the commands that other installed packages bring."""
        commands: dict[str, tuple[str, str]] = {}
        for point in entry_points(group=GROUP):
            try:
                commands.update(point.load())
            except ImportError as error:
                click.echo(f"lambent: the commands of {point.value} cannot be loaded: {error}", err=True)
        return commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every name: the platform's, then those for people."""
        return [*self._found(), *_OWN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name."""
        entry = _OWN.get(cmd_name) or self._found().get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry[0]} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from their lines of help, without importing any."""
        for title, commands in (("Platform", self._found()), ("Functions", _OWN)):
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


@click.group(cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(distribution_version("lambent"), "-V", "--version", prog_name="lambent")
def cli() -> None:
    """Lambent: functions as a service, on your own machines, through AWS Lambda's API."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its status."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status; whatever goes wrong is one line on standard error."""
    try:
        result = cli.main(args=arguments, prog_name="lambent", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return 130
    except BrokenPipeError:
        # The reader (`head`, `less`) has seen enough; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ApiError as error:
        text = error.message or f"status {error.status}"
        click.echo(f"lambent: {error.code}: {text}", err=True)
        return EXIT_REFUSED
    except LambentError as error:
        from lambent.errors import EndpointUnreachable, PackageError, SpecError

        click.echo(f"lambent: {error}", err=True)
        if isinstance(error, EndpointUnreachable):
            return EXIT_UNREACHABLE
        return EXIT_USAGE if isinstance(error, SpecError | PackageError) else EXIT_FAILED


if __name__ == "__main__":
    main()
