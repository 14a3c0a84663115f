"""The commands that run the platform, by name, for the `lambent` command line.

An entry names a click command as `module:attribute` and carries its line of help, so that listing the commands, or
running one that only talks to a platform, imports none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class CommandEntry(NamedTuple):
    """Where a click command is, and what it does in one line."""

    target: str
    help: str


COMMANDS: Final[Mapping[str, CommandEntry]] = {
    "up": CommandEntry("lambent_platform.main.up:up", "Run the whole platform on this machine."),
    "gateway": CommandEntry("lambent_platform.main.gateway:gateway", "Run a gateway alone: all HTTP."),
    "scheduler": CommandEntry("lambent_platform.main.scheduler:scheduler", "Run a scheduler alone."),
    "worker": CommandEntry("lambent_platform.main.worker:worker", "Run this machine's worker alone."),
    "builder": CommandEntry("lambent_platform.main.builder:builder", "Run a builder alone: images, dependencies."),
    "operations": CommandEntry("lambent_platform.main.operations:operations", "List which AWS operations are served."),
    "runtimes": CommandEntry("lambent_platform.main.runtimes:runtimes", "List what functions can be written in here."),
}
