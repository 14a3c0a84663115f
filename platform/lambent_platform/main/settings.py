"""Every setting of the platform: its name, unit, default, bounds and what it does.

A setting is given as a flag (`--idle-timeout-s 60`), else as a variable (`LAMBENT_IDLE_TIMEOUT_S=60`), else it has
the default written here. Roles get plain values from their wiring; nothing else in the project reads a variable.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lambent_platform.contracts import limits
from lambent_platform.contracts.build import INSTALL_DISK_MB, INSTALL_MEMORY_MB, INSTALL_TIMEOUT_S
from lambent_platform.contracts.runtimes import RUNTIMES

PREFIX: Final = "LAMBENT_"
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"


class SettingsError(ValueError):
    """A setting is not acceptable; the text is one line for the operator."""


class Settings(BaseSettings):
    """All settings, validated. Raises pydantic's `ValidationError`; `load` turns that into one line."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True)

    host: str = Field("127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(
        limits.DEFAULT_PORT, ge=0, le=65535, description="Port the gateway listens on; 0 picks a free one."
    )
    data_dir: Path = Field(Path("~/.lambent"), description="Folder for everything that must outlive a restart.")
    redis: str = Field("", description="Redis or Valkey to use (redis://, rediss://, unix://), not the embedded one.")
    jobs_redis: str = Field("", description="Redis for background jobs, a single node; the same one by default.")
    streams_redis: str = Field("", description="Redis whose streams may trigger functions; the same one by default.")
    partitions: int = Field(1, ge=1, le=1024, description="Partitions of the keys; fixed for the life of the data.")
    objects: str = Field(
        "", description="Object store URL (file:///…, s3://bucket/prefix); <data-dir>/objects if empty."
    )
    durability: Literal["everysec", "always"] = Field(
        "everysec", description="When an accepted event is on disk: within a second, or before the answer."
    )
    clock: Literal["real", "virtual"] = Field(
        "real",
        description="Event time: the machine's, or one that `lambent clock` moves ahead. The same for all roles.",
    )
    sandbox: Literal["auto", "docker", "process"] = Field(
        "auto", description="How functions are walled in; auto takes docker where an engine answers."
    )
    docker_runtime: str = Field("", description="OCI runtime for function containers (runsc for gVisor).")
    runtime_images: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict, description="Images to use in place of our own: python3.13=IMAGE,nodejs20.x=IMAGE."
    )
    egress_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Private networks that functions may reach: 10.1.0.0/16,192.168.7.9/32."
    )
    hot_reload_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders below which functions may run from a folder: /srv/apps,/home/me/src; any if empty."
    )
    keep_alive: Literal["history", "fixed"] = Field(
        "history", description="How long idle functions are kept: by each one's own history, or --idle-timeout-s."
    )
    idle_timeout_s: float = Field(
        300,
        ge=0,
        le=86_400,
        description="Last call until its environment is gone; by history, while too little is known of its function.",
    )
    cold_start_worth_s: float = Field(
        2400, ge=1, le=86_400, description="By history: a cold start is as bad as keeping a function so long in vain."
    )
    freeze_after_s: float = Field(10, ge=0, le=86_400, description="Last call until its environment is frozen.")
    stem_idle_timeout_s: float = Field(300, ge=0, le=86_400, description="Last call of a runtime until its stems go.")
    stems: int = Field(1, ge=0, le=64, description="Sandboxes kept started ahead, for each runtime in use.")
    capacity_mb: int = Field(
        0, ge=0, description="Memory that functions may be promised here; 0 takes the machine's times the overcommit."
    )
    capacity_overcommit: float = Field(
        1.5, ge=0.1, le=16, description="Promised memory over real memory, as most functions use less than they ask."
    )
    capacity_wait_s: float = Field(10, ge=0, le=900, description="How long a call waits for capacity before a 429.")
    async_retry_delays_s: Annotated[tuple[float, ...], NoDecode] = Field(
        (60.0, 120.0), description="Waits before an event's second and third attempt."
    )
    async_max_age_s: int = Field(
        limits.ASYNC_MAX_AGE_S_DEFAULT,
        ge=limits.ASYNC_MAX_AGE_S_MIN,
        le=limits.ASYNC_MAX_AGE_S_DEFAULT,
        description="Age at which an event is given up, unless its function says otherwise.",
    )
    worker_lease_s: float = Field(10, ge=2, le=300, description="Silence after which a worker is given up.")
    install_timeout_s: int = Field(
        int(INSTALL_TIMEOUT_S), ge=10, le=1500, description="How long a dependency install may take."
    )
    install_memory_mb: int = Field(INSTALL_MEMORY_MB, ge=128, description="Memory of a dependency install.")
    install_disk_mb: int = Field(
        INSTALL_DISK_MB, ge=64, description="Disk of a dependency install: package, downloads, what they become."
    )
    log_retention_days: int = Field(7, ge=1, le=3653, description="Days that functions' logs are kept.")
    janitor_pause_s: float = Field(
        60, ge=0.1, le=86_400, description="Between steps of removing logs, packages and counts past their time."
    )
    log_rate_kb_s: int = Field(4096, ge=1, description="Log output a function may write; the rest is dropped, visibly.")
    account: str = Field(limits.DEFAULT_ACCOUNT, pattern=r"^\d{12}$", description="Account id in ARNs.")
    region: str = Field(
        limits.DEFAULT_REGION, pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="Region where a request names none."
    )
    pool: str = Field("default", pattern=_NAME, description="The pool this worker joins.")
    worker_id: str = Field("", description="Beginning of this worker's id; made from the data folder if empty.")
    public_url: str = Field("", description="The gateway as workers reach it; made from host and port if empty.")
    drain_s: float = Field(4, ge=0, le=900, description="How long running calls may take to end at shutdown.")
    websocket_idle_s: float = Field(
        600, ge=1, le=86_400, description="Silence after which a client's WebSocket is closed."
    )
    websocket_max_s: float = Field(7_200, ge=1, le=604_800, description="How long a client's WebSocket may last.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of the roles' logs."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Form of the roles' logs; auto is console on a terminal and json elsewhere."
    )
    alive_file: Path | None = Field(None, description="A file that the role touches while it works, for health checks.")
    unsafe: bool = Field(False, description="Listen beyond loopback although requests are not authenticated.")

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("redis", "jobs_redis", "streams_redis")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in _REDIS_SCHEMES or not (parts.netloc or parts.path)):
            raise ValueError("must be a URL like redis://host:6379/0 or unix:///path/to/socket")
        return value

    @field_validator("objects")
    @classmethod
    def _object_url(cls, value: str) -> str:
        if value and not urlsplit(value).scheme:
            raise ValueError("must be a URL like file:///folder or s3://bucket/prefix")
        return value

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("must be a URL like http://gateway:4566")
        return value.rstrip("/")

    @field_validator("runtime_images", mode="before")
    @classmethod
    def _image_map(cls, value: object) -> object:
        return _pairs(value) if isinstance(value, str) else value

    @field_validator("runtime_images")
    @classmethod
    def _known_runtimes(cls, value: dict[str, str]) -> dict[str, str]:
        for name, image in value.items():
            if name not in RUNTIMES:
                raise ValueError(f"{name!r} is not a runtime; there are {', '.join(RUNTIMES)}")
            if not image or any(c.isspace() for c in image):
                raise ValueError(f"{image!r} is not the name of an image")
        return value

    @field_validator("egress_allow", "async_retry_delays_s", "hot_reload_roots", mode="before")
    @classmethod
    def _listed(cls, value: object, info: ValidationInfo) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("hot_reload_roots")
    @classmethod
    def _roots(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        roots = tuple(root.expanduser() for root in value)
        for root in roots:
            if not root.is_absolute():
                raise ValueError(f"{root} is not an absolute path")
        return roots

    @field_validator("egress_allow")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(network)) for network in value)

    @field_validator("async_retry_delays_s")
    @classmethod
    def _delays(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not 1 <= len(value) <= 8 or not all(0 <= delay <= 86_400 for delay in value):
            raise ValueError("takes 1 to 8 delays of 0 to 86400 seconds")
        return value

    @model_validator(mode="after")
    def _loopback_only(self) -> Self:
        if not self.unsafe and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from outside, and requests are not authenticated: "
                "whoever connects can run code here. Use 127.0.0.1, or say --unsafe"
            )
        return self

    def of_capacity_mb(self) -> int:
        """Memory that environments may be promised on this machine, in MB."""
        return self.capacity_mb or int(machine_memory_mb() * self.capacity_overcommit)

    def of_objects(self) -> str:
        """URL of the object store."""
        return self.objects or f"file://{self.data_dir / 'objects'}"

    def of_private_folders(self) -> tuple[Path, ...]:
        """Folders of this machine that hold what no function may read."""
        url = self.of_objects()
        local = url.removeprefix("file://")
        return (self.data_dir, Path(local)) if local != url else (self.data_dir,)

    def of_jobs_redis(self) -> str:
        """URL of the Redis for background jobs."""
        return self.jobs_redis or self.redis

    def of_streams_redis(self) -> str:
        """URL of the Redis that producers of streams write to."""
        return self.streams_redis or self.redis

    def of_public_url(self) -> str:
        """The gateway as a worker on this machine reaches it."""
        if self.public_url:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.port}"

    def to_environ(self) -> dict[str, str]:
        """The variables from which a child process reads these very settings."""
        environ = {}
        for name, value in self.model_dump(mode="json", exclude_none=True).items():
            if isinstance(value, list):
                text = ",".join(map(str, value))
            else:
                text = json.dumps(value) if isinstance(value, dict | bool) else str(value)
            environ[f"{PREFIX}{name.upper()}"] = text
        return environ


def load(given: Mapping[str, Any]) -> Settings:
    """Read the settings: what is given (flags), then variables, then defaults.

    Raises:
        SettingsError: something is not acceptable; one line that names the setting and says why.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        reason = first["msg"].removeprefix("Value error, ")
        if not name:
            raise SettingsError(reason) from error
        where = flag(name) if name in given else f"{PREFIX}{name.upper()}"
        shown = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
        raise SettingsError(f"{where}: {reason[:1].lower()}{reason[1:]}{shown}") from error


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return f"--{name.replace('_', '-')}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def machine_memory_mb() -> int:
    """Physical memory of the machine, in MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // limits.MIB


def _pairs(text: str) -> object:
    """Read `a=b,c=d`, or a JSON object."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError("is not a JSON object") from None
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("must look like python3.13=IMAGE,nodejs20.x=IMAGE")
    return {name.strip(): image.strip() for name, _, image in pairs}
