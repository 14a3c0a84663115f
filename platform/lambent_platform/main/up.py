"""`lambent up`: every role on one machine, under one supervisor.

this process        the data folder's lock, the listening socket, the supervisor, the scheduler
  ├─ valkey-server  unless --redis names another
  ├─ gateway        accepts on the supervisor's socket, so that a restart refuses nobody
  ├─ worker
  └─ builder        only while a job waits
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from typing import Final

import click

from lambent_platform.main.children import adopt_orphans, end_descendants
from lambent_platform.main.engine import chosen_sandbox
from lambent_platform.main.folders import FolderError, make_private, owned, platform_id, socket_folder
from lambent_platform.main.options import every_setting, with_settings
from lambent_platform.main.role import EXIT_SETTINGS, CannotStart, run_role
from lambent_platform.main.settings import Settings
from lambent_platform.main.supervisor import END_S, Supervisor
from lambent_platform.main.valkey import EmbeddedValkey, ValkeyMissing

LISTEN_BACKLOG: Final = 1024
VALKEY_SOCKET: Final = "valkey.sock"


@click.command()
@with_settings(*every_setting())
def up(settings: Settings) -> None:
    """Run the whole platform on this machine, until Ctrl-C."""
    started = time.monotonic()
    adopt_orphans()
    try:
        with contextlib.ExitStack() as held:
            held.enter_context(owned(settings.data_dir))
            platform_id(settings.data_dir)
            listener = held.enter_context(listen(settings.host, settings.port))
            chosen = settings.model_copy(
                update={"port": listener.getsockname()[1], "sandbox": chosen_sandbox(settings)}
            )
            valkey: EmbeddedValkey | None = None
            if not settings.redis:
                make_private(settings.data_dir / "redis")
                folder = held.enter_context(
                    socket_folder(settings.data_dir / "redis" / "run", longest_name=len(VALKEY_SOCKET))
                )
                valkey = EmbeddedValkey(settings.data_dir / "redis", folder / VALKEY_SOCKET, settings.durability)
                chosen = chosen.model_copy(update={"redis": valkey.url})

            async def supervise(settings: Settings, stop: asyncio.Event) -> None:
                await Supervisor(settings, listen_fd=listener.fileno(), valkey=valkey, started=started).run(stop)

            status = run_role("up", chosen, supervise, close_s=END_S)
            end_descendants()
    except (FolderError, CannotStart, ValkeyMissing) as error:
        sys.stderr.write(f"lambent up: {error}\n")
        sys.exit(EXIT_SETTINGS)
    sys.exit(status)


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 takes a free one.

    Raises:
        CannotStart: the address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        with contextlib.ExitStack() as on_error:
            listener = on_error.enter_context(socket.socket(family, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(LISTEN_BACKLOG)
            on_error.pop_all()
            return listener
    except OSError as error:
        raise CannotStart(f"cannot listen on {host}:{port}: {error.strerror}; --port takes another") from error
