"""What an operator decides about containers; users of the platform decide nothing of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Literal

PLATFORM_LABEL = "lambent.platform"
ENVIRONMENT_LABEL = "lambent.environment"
_PLATFORM_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """Settings of one driver.

    Raises:
        ValueError: the platform's id cannot be part of a name, or an allowed range is not an IPv4 range.
    """

    platform_id: str
    """In the label of everything that is made here, and in names; two platforms never share one."""
    gateway_address: tuple[str, int]
    """Where the platform's public API listens, as the worker reaches it."""
    egress: Literal["internet", "none"] = "internet"
    """What functions reach: public addresses, as on Lambda, or nothing but the platform's API."""
    allowed_cidrs: Sequence[str] = ()
    """Private ranges that functions may reach all the same."""
    engine_runtime: str = ""
    """The engine's own runtime, such as `runsc`; empty for its default."""
    runtime_share_mb: int = 64
    """What a container may hold beyond the function's memory and its `/tmp`: init, page tables, cached files."""
    user: str = "993:990"
    pids_max: int = 1024
    files_max: int = 1024
    extra_labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _PLATFORM_ID.fullmatch(self.platform_id):
            raise ValueError(f"not a platform id: {self.platform_id!r}")
        for cidr in self.allowed_cidrs:
            IPv4Network(cidr)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of everything that belongs to this platform."""
        return {**self.extra_labels, PLATFORM_LABEL: self.platform_id}

    @property
    def mark(self) -> str:
        """Ten hex digits of the id, for names that must be short."""
        return hashlib.sha256(self.platform_id.encode()).hexdigest()[:10]
