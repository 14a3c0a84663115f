"""Which image a runtime runs in, and what it is built from.

The tag carries a hash of everything that goes into the image, so a changed Dockerfile, bootstrap or init is a
different image, and one that is there under its tag never has to be built again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lambent_platform.contracts.runtimes import Runtime

REPOSITORY = "lambent"
_HASH_HEX = 12
_IGNORED = frozenset({"__pycache__", "node_modules"})


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image: its name, and how to build it where an engine does not have it."""

    tag: str
    context_dir: Path
    dockerfile: str
    """Below `context_dir`."""
    buildargs: Mapping[str, str] = field(default_factory=dict)


class ImagePlans:
    """The images of one installation.

    `image_map` points runtimes at images of AWS's shape: runtime name → image, such as
    `{"python3.13": "public.ecr.aws/lambda/python:3.13"}`; they get our init and keep their own entry script and
    runtime client. The files below `runtimes_dir` are read once, here.
    """

    def __init__(self, runtimes_dir: Path, image_map: Mapping[str, str] | None = None) -> None:
        self.runtimes_dir = runtimes_dir
        self.image_map = dict(image_map or {})
        self._hashes: dict[str, bytes] = {}

    def plan(self, runtime: Runtime) -> ImagePlan:
        """Describe the image that runs `runtime`."""
        base = self.image_map.get(runtime.name)
        if base is not None:
            return self._plan(f"mapped-{runtime.name}", "", ("mapped", "init"), {"BASE": base})
        folders = (runtime.language, "init")
        return self._plan(runtime.language, runtime.version, folders, {"RUNTIME_VERSION": runtime.version})

    def tools(self) -> ImagePlan:
        """Describe the image with the packet filter's program."""
        return self._plan("tools", "", ("tools",), {})

    def is_mapped(self, runtime: Runtime) -> bool:
        """Whether the operator pointed this runtime at an image of another make."""
        return runtime.name in self.image_map

    def _plan(self, name: str, version: str, folders: Sequence[str], buildargs: Mapping[str, str]) -> ImagePlan:
        digest = hashlib.sha256()
        for folder in folders:
            digest.update(self._folder_hash(folder))
        for key, value in sorted(buildargs.items()):
            digest.update(f"{key}={value}\0".encode())
        mark = digest.hexdigest()[:_HASH_HEX]
        return ImagePlan(
            tag=f"{REPOSITORY}/{name}:{version}-{mark}" if version else f"{REPOSITORY}/{name}:{mark}",
            context_dir=self.runtimes_dir,
            dockerfile=f"{folders[0]}/Dockerfile",
            buildargs=dict(buildargs),
        )

    def _folder_hash(self, folder: str) -> bytes:
        known = self._hashes.get(folder)
        if known is None:
            digest = hashlib.sha256()
            root = self.runtimes_dir / folder
            for path in sorted(root.rglob("*")):
                if path.is_file() and path.suffix != ".md" and not _IGNORED.intersection(path.relative_to(root).parts):
                    digest.update(f"{path.relative_to(root)}\0{path.stat().st_mode & 0o111:o}\0".encode())
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
            known = self._hashes[folder] = digest.digest()
        return known
