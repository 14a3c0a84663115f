"""A function as the platform keeps it: its versions, aliases and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from lambent_platform.contracts import limits
from lambent_platform.contracts.names import LATEST, FunctionRef, target_id

State = Literal["Pending", "Active", "Inactive", "Failed"]
RecursiveLoop = Literal["Terminate", "Allow"]
UpdateStatus = Literal["", "InProgress", "Successful", "Failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePackage:
    """Where a version's code is.

    `source_key` is what was uploaded, `runnable_key` what environments mount: the same object, or what the builder
    made of it (empty until then). `hot_reload_path` replaces both: a folder of the machine, copied at each start.
    Keys are `code/<sha256 hex>.zip` in the object store.
    """

    sha256: str = ""
    """Base64 of the uploaded zip's SHA-256, as `CodeSha256` shows it."""
    size_bytes: int = 0
    source_key: str = ""
    runnable_key: str = ""
    hot_reload_path: str = ""
    needs_build: bool = False
    """The package names dependencies (`requirements.txt`, `package.json`) that are not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionVersion:
    """One version's code and configuration. `$LATEST` changes; a published one never does."""

    account: str
    region: str
    name: str
    version: str = LATEST
    revision: str
    """Short random id; new with every change that environments must see (code or configuration)."""
    runtime: str
    handler: str = ""
    role: str = ""
    description: str = ""
    timeout_s: int = limits.TIMEOUT_S_DEFAULT
    memory_mb: int = limits.MEMORY_MB_DEFAULT
    ephemeral_mb: int = limits.EPHEMERAL_MB_MIN
    environment: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "x86_64"
    code: CodePackage = field(default_factory=CodePackage)
    dead_letter_arn: str = ""
    pool: str = "default"
    """The worker pool that runs it (tag `lambent:pool` of the function)."""
    state: State = "Pending"
    state_reason: str = ""
    state_reason_code: str = ""
    last_update_status: UpdateStatus = ""
    last_update_reason: str = ""
    last_update_reason_code: str = ""
    last_modified: str = ""
    revision_id: str = ""
    """Lambda's own RevisionId (a UUID), new with every write, also of what environments do not see."""
    passthrough: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Lambda's FunctionConfiguration that are kept and shown but change nothing here."""
    published_as: str = ""
    """Fingerprint of what was published, by which `PublishVersion` sees that nothing changed since."""
    previous: Mapping[str, Any] = field(default_factory=dict)
    """`to_dict` of what goes on being called while an update is in progress, and after one failed; else empty."""

    @property
    def ref(self) -> FunctionRef:
        """This version by name."""
        return FunctionRef(self.name, self.version, self.account, self.region)

    @property
    def target(self) -> str:
        """What environments are made for; see `names.target_id`."""
        return target_id(self.ref.ident, self.version, self.revision)

    @property
    def serving(self) -> Self:
        """What calls run now: this, or what was deployed before an update that is not done or failed."""
        return type(self).from_dict(self.previous) if self.previous else self

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Undo `to_dict`; fields that this release does not know are left out."""
        known = {f.name for f in fields(cls)}
        values = {k: v for k, v in data.items() if k in known}
        values["code"] = CodePackage(
            **{k: v for k, v in data["code"].items() if k in {f.name for f in fields(CodePackage)}}
        )
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name for a version, with an optional share of calls going to a second one."""

    name: str
    version: str
    description: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Other versions and the share (0 to 1) of invocations that each gets."""
    revision_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRecord:
    """Everything about one function, as read in one go and written back against `generation`.

    `url_configs` and `event_invoke_configs` go by qualifier (`$LATEST` or an alias) and hold Lambda's own shapes;
    `policies` hold a list of statements by qualifier ("" for the function itself).
    """

    versions: Mapping[str, FunctionVersion]
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    url_configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    event_invoke_configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reserved_concurrency: int | None = None
    recursive_loop: RecursiveLoop = "Terminate"
    """What becomes of an invocation that is part of a loop (`core.lineage`)."""
    next_version: int = 1
    generation: int = 0

    @property
    def latest(self) -> FunctionVersion:
        """The version that every function has."""
        return self.versions[LATEST]

    def deployed(self, version: str, revision: str) -> FunctionVersion | None:
        """Return the state of a version that goes by this revision: what is served, or what an update brings."""
        found = self.versions.get(version)
        if found is None:
            return None
        return next((v for v in (found, found.serving) if v.revision == revision), None)
