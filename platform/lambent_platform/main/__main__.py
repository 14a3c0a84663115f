"""`python -m lambent_platform.main ROLE …`: the platform's own commands, without the command line of the sdk.

`lambent up` starts its roles this way, so that they load nothing that they do not need.
"""

from __future__ import annotations

import importlib
import sys

import click

from lambent_platform.main.commands import COMMANDS


def main() -> None:
    """Run the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        sys.stderr.write(f"usage: python -m lambent_platform.main {'|'.join(COMMANDS)} [OPTION]…\n")
        sys.exit(2)
    module, _, attribute = COMMANDS[name].target.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    command.main(args=sys.argv[2:], prog_name=f"lambent {name}")


if __name__ == "__main__":
    main()
