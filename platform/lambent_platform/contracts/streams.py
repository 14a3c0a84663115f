"""Redis streams as event sources: their ARN, and an entry as producers wrote it.

    arn:aws:redis-streams:<region>:<account>:stream/<key>

The key is everything after `stream/`, to the byte. Region and account are those of the mapping and only name it: a
Redis has one stream of a name. The service is Lambent's own; the form is what Lambda's API accepts as an ARN.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lambent_platform.contracts.limits import DEFAULT_ACCOUNT, DEFAULT_REGION

KEY_CHARS_MAX: Final = 1024
RESERVED_PREFIXES: Final = ("l1:{", "rq:")
"""Keys of the platform and of its builder, which may live on the same Redis: no stream is made there."""

_ARN: Final = re.compile(
    r"^arn:aws[a-zA-Z-]*:redis-streams:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):stream/(?P<key>.+)$"
)


@dataclass(frozen=True, slots=True)
class StreamRef:
    """A stream as a mapping names it."""

    key: str
    account: str = DEFAULT_ACCOUNT
    region: str = DEFAULT_REGION

    @classmethod
    def parse(cls, arn: str) -> StreamRef | None:
        """Read an ARN; None where it is none of a stream that may be read."""
        match = _ARN.match(arn)
        if match is None or len(match["key"]) > KEY_CHARS_MAX or match["key"].startswith(RESERVED_PREFIXES):
            return None
        return cls(match["key"], match["account"], match["region"])

    @property
    def arn(self) -> str:
        """The ARN."""
        return f"arn:aws:redis-streams:{self.region}:{self.account}:stream/{self.key}"


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry, its fields in the order in which they were added; names may repeat, and nothing need be text."""

    id: str
    """`<ms>-<n>`: when the server took it, unless its producer chose otherwise."""
    fields: tuple[tuple[bytes, bytes], ...]

    @property
    def arrived_ms(self) -> int:
        """The time in the id."""
        return entry_order(self.id)[0]


def entry_order(entry_id: str) -> tuple[int, int]:
    """What orders the ids of a stream."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)
