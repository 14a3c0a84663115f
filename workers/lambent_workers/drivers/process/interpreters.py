"""Finds the interpreters of this machine that a runtime can run on, by exact version."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lambent_platform.contracts.runtimes import RUNTIMES, Runtime

_PROBE_S = 5.0
_PROBES_AT_ONCE = 4
_PYTHON_PROBE = "import sys; print(sys.base_prefix, sys._base_executable, *sys.version_info[:3], sep='\\n')"
_NODE_PROBE = "console.log(process.execPath + '\\n' + process.versions.node.split('.').join('\\n'))"
_TOO_WIDE = frozenset({"/", "/home", "/root", "/opt", "/var", "/tmp"})  # noqa: S108 - compared, never written


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One interpreter. What it needs lies below `prefix`."""

    executable: Path
    prefix: Path
    version: tuple[int, int, int]

    @property
    def text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


class Interpreters:
    """The interpreters of this machine."""

    def __init__(self, found: Mapping[str, list[Interpreter]]) -> None:
        self._found = found

    @classmethod
    async def find(cls) -> Interpreters:
        """Look in the usual places, and ask each candidate what it is."""
        gate = asyncio.Semaphore(_PROBES_AT_ONCE)
        languages = {"python": list(_python_candidates()), "nodejs": list(_node_candidates())}
        probes = [(language, path) for language, paths in languages.items() for path in dict.fromkeys(paths)]
        results = await asyncio.gather(*(_probe(language, path, gate) for language, path in probes))
        found: dict[str, list[Interpreter]] = {"python": [], "nodejs": []}
        for (language, _), interpreter in zip(probes, results, strict=True):
            if interpreter is not None and interpreter not in found[language]:
                found[language].append(interpreter)
        return cls(found)

    def of(self, runtime: Runtime) -> Interpreter | None:
        """Return the newest interpreter of a runtime's version."""
        wanted = tuple(map(int, runtime.version.split("."))) if runtime.native else ()
        matching = [one for one in self._found.get(runtime.language, ()) if one.version[: len(wanted)] == wanted]
        return max(matching, key=lambda one: one.version, default=None)

    def describe(self, runtime: Runtime) -> str:
        """Return "ready", or what is missing and what was found instead."""
        if not runtime.native or self.of(runtime) is not None:
            return "ready"
        name = {"python": "Python", "nodejs": "Node.js"}[runtime.language]
        others = ", ".join(sorted({one.text for one in self._found[runtime.language]}, key=_version_key))
        return f"no {name} {runtime.version} on this machine (found: {others or 'none'})"


async def _probe(language: str, path: Path, gate: asyncio.Semaphore) -> Interpreter | None:
    """Run a candidate to learn what it is; None where it is no interpreter that can be used."""
    options = ["-I", "-S", "-E", "-c", _PYTHON_PROBE] if language == "python" else ["-e", _NODE_PROBE]
    async with gate:
        try:
            process = await asyncio.create_subprocess_exec(
                path,
                *options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PATH": os.defpath},
            )
        except OSError:
            return None
        try:
            async with asyncio.timeout(_PROBE_S):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return None
    try:
        *names, major, minor, patch = output.decode().split()
        executable = Path(names[-1])
        prefix = Path(names[0]) if language == "python" else executable.parent.parent
        version = (int(major), int(minor), int(patch))
    except (ValueError, IndexError):
        return None
    if str(prefix) in _TOO_WIDE or prefix == Path.home():
        return None
    return Interpreter(executable, prefix, version)


def _python_candidates() -> Iterator[Path]:
    """Candidates for the versions that runtimes ask for, the newest patch of each first."""
    versions = [runtime.version for runtime in RUNTIMES.values() if runtime.language == "python"]
    yield Path(sys.executable)
    for version in versions:
        name = f"python{version}"
        yield from _in_folders([*_path_folders(), Path("/usr/bin"), Path("/usr/local/bin")], name)
        pattern = rf"(cpython-)?{re.escape(version)}(\.\d+)?(-.*)?"
        homes = (Path(os.environ.get("PYENV_ROOT", "/nonexistent")), Path.home() / ".pyenv", Path("/root/.pyenv"))
        parents = [home / "versions" for home in dict.fromkeys(homes)]
        parents += [Path.home() / ".local/share/uv/python", Path("/opt/python"), Path("/opt")]
        for parent in parents:
            yield from _in_folders([folder / "bin" for folder in _newest_first(parent, pattern)[:1]], name)


def _node_candidates() -> Iterator[Path]:
    yield from _in_folders([*_path_folders(), Path("/usr/bin"), Path("/usr/local/bin")], "node")
    for version in (runtime.version for runtime in RUNTIMES.values() if runtime.language == "nodejs"):
        pattern = rf"(node-)?v?{version}(\..*)?"
        for parent in (Path.home() / ".nvm/versions/node", Path("/root/.nvm/versions/node"), Path("/opt")):
            yield from _in_folders([folder / "bin" for folder in _newest_first(parent, pattern)[:1]], "node")


def _path_folders() -> list[Path]:
    return [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(":") if entry.startswith("/")]


def _in_folders(folders: Iterable[Path], name: str) -> Iterator[Path]:
    """Yield the files of this name, each real file once."""
    seen = set()
    for folder in folders:
        path = folder / name
        try:
            usable = os.access(path, os.X_OK) and path.is_file()
        except OSError:  # a folder that may not be looked into
            continue
        if usable and (real := path.resolve()) not in seen:
            seen.add(real)
            yield path


def _newest_first(parent: Path, pattern: str) -> list[Path]:
    try:
        names = [name for name in os.listdir(parent) if re.fullmatch(pattern, name)]
    except OSError:
        return []
    return [parent / name for name in sorted(names, key=_version_key, reverse=True)]


def _version_key(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]
