"""Installs a Python package's requirements; runs inside the sandbox, by that runtime's own interpreter.

Reads the package as a tar on standard input, writes what was installed as a tar on standard output. Byte code is
compiled here, since a function's code is read-only and each of its cold starts would do it again; it is marked as
not to be checked against the source, whose times the package does not keep.
"""

import os
import subprocess
import sys
import tarfile

PACKAGE, INSTALLED = "package", "installed"


def run(*argv: str, cwd: str, quiet: bool = False) -> int:
    """Run the interpreter with these arguments and return its exit status."""
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run(  # noqa: S603 - the arguments are this file's own
        [sys.executable, *argv], cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
    ).returncode


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose file it is and when it was made."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def main() -> int:
    """Install, compile, write; the exit status is pip's, or 99 where pip was killed."""
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as package:
        package.extraction_filter = lambda member, path: member  # said outright, newer versions do not warn of it
        package.extractall(PACKAGE)  # noqa: S202 - the builder made this tar
    installed = os.path.abspath(INSTALLED)
    os.mkdir(installed)
    status = run(
        *("-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--no-compile"),
        *("--progress-bar", "off", "--target", installed, "-r", "requirements.txt"),
        cwd=PACKAGE,
    )
    if status != 0:
        return 99 if status == -9 else status
    run(
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
        "-s",
        installed,
        installed,
        cwd=".",
        quiet=True,
    )
    with result, tarfile.open(fileobj=result, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(os.listdir(installed)):
            tar.add(os.path.join(installed, name), arcname=name, filter=plain)
    return 0


if __name__ == "__main__":
    sys.exit(main())
