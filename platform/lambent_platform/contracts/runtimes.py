"""The runtimes that Lambent serves, and what each needs of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Language = Literal["python", "nodejs", "provided"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime identifier of Lambda's API.

    `language` names the folder below `workers/runtimes/`; `version` is the argument `RUNTIME_VERSION` of its
    Dockerfile. A `native` runtime has a bootstrap of ours that speaks frames on its channel and can wait as a stem
    with its interpreter already running; any other speaks the Runtime API and is started when it is claimed.
    """

    name: str
    language: Language
    version: str

    @property
    def native(self) -> bool:
        """Whether our own bootstrap runs the handler."""
        return self.language != "provided"


RUNTIMES: Final[dict[str, Runtime]] = {
    runtime.name: runtime
    for runtime in (
        *(Runtime(f"python{v}", "python", v) for v in ("3.11", "3.12", "3.13", "3.14")),
        *(Runtime(f"nodejs{v}.x", "nodejs", v) for v in ("20", "22", "24")),
        Runtime("provided.al2023", "provided", "al2023"),
    )
}
