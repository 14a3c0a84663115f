"""What /proc tells of processes and connections, for machines where no control group can be had."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return all processes below one, and itself, parents first."""
    found = [pid]
    for known in found:
        try:
            tasks = os.listdir(f"/proc/{known}/task")
            for task in tasks:
                found += map(int, Path(f"/proc/{known}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the memory that belongs to processes alone, without files; processes that are gone count nothing."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return total * 1024


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes, of which some may be gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def started_at(pid: int) -> str:
    """Return when a process started, in a form only good for comparing; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def peer_uid(peer: tuple[str, int], own: tuple[str, int]) -> int | None:
    """Return which user's process is at the other end of a TCP connection over this machine's loopback.

    Both addresses are IPv4, as the sockets give them. None: no such connection (any more).
    """
    wanted = (_kernel_form(peer), _kernel_form(own))
    with open("/proc/net/tcp") as file:
        next(file)
        for line in file:
            _, local, remote, _, _, _, _, uid, *_ = line.split()
            if (local, remote) == wanted:
                return int(uid)
    return None


def _kernel_form(address: tuple[str, int]) -> str:
    host = "".join(f"{int(part):02X}" for part in reversed(address[0].split(".")))
    return f"{host}:{address[1]:04X}"
