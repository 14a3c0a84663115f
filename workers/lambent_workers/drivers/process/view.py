"""What an environment sees of the machine, as steps for `walls.py` and as arguments for bubblewrap.

Everything that is not named here is not there: no home folder, no data folder, no socket, nobody else's code.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lambent_platform.contracts.limits import MIB
from lambent_workers.drivers.process.interpreters import Interpreter

TASK_ROOT: Final = "/var/task"
BOOTSTRAP_ROOT: Final = "/lambent"
LANGUAGE_ROOT: Final = Path("/var/lang")
DEFAULT_ENVIRONMENT: Final = {"PATH": f"{LANGUAGE_ROOT}/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin"}
"""Below what `spawn` is given."""
Steps = list[list[object]]

_SHM_MB: Final = 64
_TMP_INODES_PER_MB: Final = 128
_PROGRAMS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_ETC: Final = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "fonts", "gai.conf", "host.conf",
    "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types", "nsswitch.conf",
    "os-release", "pki", "protocols", "resolv.conf", "services", "ssl", "timezone",
)  # fmt: skip
"""What programs look up; the rest of /etc, passwords and keys among it, is left out."""


def steps(
    *,
    host_dir: Path,
    ephemeral_mb: int,
    bootstraps: Path | None,
    interpreter: Interpreter | None,
    uid: int,
) -> Steps:
    """Return the steps that make one environment's root; `host_dir` has the folders `task` and `opt`."""
    tmp = f"size={ephemeral_mb}m,nr_inodes={ephemeral_mb * _TMP_INODES_PER_MB},mode=1777"
    found: Steps = [
        *base_steps(interpreter),
        ["file", "/etc/passwd", passwd(uid)],
        ["file", "/etc/group", f"root:x:0:\nsandbox:x:{uid}:\n"],
        ["bind", str(host_dir / "task"), TASK_ROOT],
        ["bind", str(host_dir / "opt"), "/opt"],
        ["tmpfs", "/tmp", tmp, True],  # noqa: S108 - the environment's own
        ["tmpfs", "/dev/shm", f"size={_SHM_MB}m,mode=1777", False],  # noqa: S108
        ["proc", "/proc"],
    ]
    if bootstraps is not None:
        found.append(["bind", str(bootstraps), BOOTSTRAP_ROOT])
    return found


def passwd(uid: int) -> str:
    """Return a user table that knows root and this environment."""
    return f"root:x:0:0:root:/:/usr/sbin/nologin\nsandbox:x:{uid}:{uid}::/tmp:/usr/sbin/nologin\n"


def base_steps(interpreter: Interpreter | None) -> Steps:
    """Return what every sandbox sees: programs, a few files of /etc, an interpreter where it always is, devices."""
    found: Steps = [["bind", "/usr", "/usr"]]
    for path in _PROGRAMS:
        if os.path.islink(path):
            found.append(["link", os.readlink(path), path])
        elif os.path.isdir(path):
            found.append(["bind", path, path])
    for name in _ETC:
        real = os.path.realpath(f"/etc/{name}")
        if os.path.exists(real):
            found.append(["bind", real, f"/etc/{name}"])
    if interpreter is not None:
        found += _language_steps(interpreter)
    for name in _DEVICES:
        found.append(["device", f"/dev/{name}", f"/dev/{name}"])
    found += [["link", f"/proc/self/fd{end}", f"/dev/{name}"] for name, end in _STREAMS]
    return found


def executable_inside(interpreter: Interpreter) -> str:
    """Return where a sandbox finds an interpreter."""
    if _is_hidden(interpreter.prefix):
        return str(LANGUAGE_ROOT / interpreter.executable.relative_to(interpreter.prefix))
    return str(interpreter.executable)


def _language_steps(interpreter: Interpreter) -> Steps:
    """Show an interpreter where it was installed, which is where it looks for itself, and as `LANGUAGE_ROOT`."""
    prefix = interpreter.prefix
    if prefix.is_relative_to("/usr"):
        return [["link", str(prefix), str(LANGUAGE_ROOT)]]
    if _is_hidden(prefix):
        return [["bind", str(prefix), str(LANGUAGE_ROOT)]]
    # The folders above it hold nothing else here; a home folder's name is nobody's business either.
    above = [["dir", str(folder), 0o711] for folder in reversed(prefix.parents) if str(folder) != "/"]
    return [*above, ["bind", str(prefix), str(prefix)], ["link", str(prefix), str(LANGUAGE_ROOT)]]


def _is_hidden(prefix: Path) -> bool:
    """Whether the environment's own folders lie over an interpreter's place."""
    return any(prefix.is_relative_to(own) for own in ("/opt", "/tmp", "/var", "/proc", "/dev"))  # noqa: S108


_STREAMS: Final = (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2"))


def bubblewrap_argv(bubblewrap: str, view: Steps, folder: Path) -> list[str]:
    """Return bubblewrap's arguments for the same view, without a command; `folder` is for the files it must read.

    The kernel gives it a user namespace of its own: inside, the user keeps his number and has no rights.
    """
    argv = [bubblewrap, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--die-with-parent", "--as-pid-1", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"]
    argv += ["--uid", str(os.getuid()), "--gid", str(os.getgid()), "--clearenv"]
    for step in view:
        argv += _bubblewrap_step(step, folder)
    return [*argv, "--remount-ro", "/", "--chdir", "/"]


def _bubblewrap_step(step: Sequence[object], folder: Path) -> list[str]:
    kind, *args = map(str, step)
    if kind == "bind":
        return ["--ro-bind", *args]
    if kind == "link":
        return ["--symlink", *args]
    if kind == "device":
        return ["--dev-bind", *args]
    if kind == "dir":
        return ["--perms", f"{int(args[1]):04o}", "--dir", args[0]]
    if kind == "proc":
        return ["--proc", *args]
    if kind == "file":
        path, text = args
        source = folder / path.strip("/").replace("/", "-")
        source.write_text(text)
        return ["--ro-bind", str(source), path]
    path, values = args[0], dict(option.split("=") for option in args[1].split(","))
    size_bytes = int(values["size"].removesuffix("m")) * MIB
    return ["--perms", f"{int(values['mode'], 8):04o}", "--size", str(size_bytes), "--tmpfs", path]
