"""Dependency installs: a package goes into a sandbox, what was installed comes out, both become one package."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Final

from lambent_platform.builder.log import BuildLog
from lambent_platform.builder.packages import check_tar, join, write_tar
from lambent_platform.builder.problems import BuildFailed, InfrastructureFailed
from lambent_platform.builder.stores import BlockingStores
from lambent_platform.contracts import limits
from lambent_platform.contracts.build import BuildOrder, InstallEnd, InstallOrder, InstallSandbox
from lambent_platform.contracts.errors import InvalidParameterValue
from lambent_platform.contracts.runtimes import RUNTIMES, Language, Runtime
from lambent_platform.core.install_failures import of_install
from lambent_platform.store.packages import code_key, extract

TAR_OVERHEAD: Final = 1.25
"""Headers and padding: half a block and a header for each of many small files."""
FAILED_CODE: Final = "DependencyError"
INSTALLER_KILLED_STATUS: Final = 99
"""What the programs end with where pip or npm was killed, which is what a lack of memory does."""

Ensure = Callable[[Runtime, BuildLog], object]


class DependencyBuilder:
    """Does dependency jobs in a sandbox.

    `ensure` makes sure that the sandbox has what the runtime needs (its image); `work_dir` is for files of the
    build, a few hundred MB at most, gone with it.
    """

    def __init__(
        self,
        sandbox: InstallSandbox,
        *,
        work_dir: Path,
        ensure: Ensure = lambda runtime, log: None,
        memory_mb: int,
        disk_mb: int,
        timeout_s: float,
    ) -> None:
        self._sandbox = sandbox
        self._work_dir = work_dir
        self._ensure = ensure
        self._memory_mb = memory_mb
        self._disk_mb = disk_mb
        self._timeout_s = timeout_s

    def build(self, order: BuildOrder, stores: BlockingStores, log: BuildLog) -> str:
        """Do a dependency job; see `jobs.Work`."""
        runtime = RUNTIMES[order.runtime]
        self._ensure(runtime, log)
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._work_dir, prefix=f"{order.id[:40]}-") as made:
            folder = Path(made)
            package, installed, result = folder / "package", folder / "installed.tar", folder / "result.zip"
            _fetch(order, stores, folder / "source.zip", package)
            log.line(f"Installing the dependencies of a {runtime.name} function")
            self._install(order, runtime, package, installed, log)
            check_tar(installed)
            join(package, installed, result)
            key = code_key(_sha256(result))
            stores.call(stores.objects.put(key, result))
            log.line(f"Installed; the package with its dependencies is {result.stat().st_size} bytes.")
        return key

    def _install(self, order: BuildOrder, runtime: Runtime, package: Path, installed: Path, log: BuildLog) -> None:
        with tempfile.TemporaryFile(dir=package.parent) as stdin, installed.open("wb") as stdout:
            write_tar(package, stdin)
            stdin.seek(0)
            end = self._sandbox.install(
                InstallOrder(
                    job=order.id,
                    runtime=runtime,
                    command=command(runtime.language),
                    timeout_s=self._timeout_s,
                    memory_mb=self._memory_mb,
                    disk_mb=self._disk_mb,
                    output_bytes_max=int(limits.UNZIPPED_BYTES * TAR_OVERHEAD),
                ),
                stdin=stdin,
                stdout=stdout,
                log=log.write,
            )
        self._judge(end, runtime, log)

    def _judge(self, end: InstallEnd, runtime: Runtime, log: BuildLog) -> None:
        """Raise what an install's end means, unless it is well."""
        if end.cause == "timeout":
            raise BuildFailed(f"The install took longer than {self._timeout_s:g} seconds.", FAILED_CODE)
        if end.cause == "output":
            raise BuildFailed(
                f"The installed dependencies are larger than {limits.UNZIPPED_BYTES} bytes.", "InvalidZipFileException"
            )
        if end.cause == "memory" or end.exit_code == INSTALLER_KILLED_STATUS:
            raise BuildFailed(f"The install needed more than {self._memory_mb} MB of memory.", FAILED_CODE)
        if end.exit_code != 0:
            found = of_install(runtime.language, log.tail())
            if found.permanent:
                raise BuildFailed(found.reason, FAILED_CODE)
            raise InfrastructureFailed(found.reason)


def command(language: Language) -> tuple[str, ...]:
    """Return the command that installs a package's dependencies inside a sandbox."""
    programs = resources.files("lambent_platform.builder") / "programs"
    if language == "nodejs":
        return ("sh", "-c", (programs / "install_nodejs.sh").read_text())
    return ("python3", "-c", (programs / "install_python.py").read_text())


def _fetch(order: BuildOrder, stores: BlockingStores, archive: Path, folder: Path) -> None:
    if not stores.call(stores.objects.download(order.source_key, archive)):
        raise BuildFailed("The uploaded package is not in the object store any more.", "InternalError")
    try:
        extract(archive, folder)
    except InvalidParameterValue as error:
        raise BuildFailed(error.message, "InvalidZipFileException") from error
    archive.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
