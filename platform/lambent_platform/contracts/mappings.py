"""An event source mapping: what is polled, which function is called with it, and by which rules.

Source: Lambda API reference, `CreateEventSourceMapping` and `EventSourceMappingConfiguration`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, Self

from lambent_platform.contracts.names import FunctionRef

MappingState = Literal["Creating", "Enabled", "Disabled", "Updating", "Deleting"]

NO_RECORDS: Final = "No records processed"
PROCESSED: Final = "OK"
CALL_FAILED: Final = "PROBLEM: Function call failed"
THROTTLED: Final = "PROBLEM: Function call was throttled"
LOOP_STOPPED: Final = "PROBLEM: Lambda detected an infinite loop, and stopped it."
INTERNAL: Final = "PROBLEM: internal error. The platform's log says more."

_ARN = re.compile(
    r"^arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):event-source-mapping:(?P<uuid>[0-9a-f-]{36})$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRecord:
    """One mapping, as read in one go and written back against `generation`.

    Which settings mean something depends on the source; see `core/mapping_sources.py`.
    """

    uuid: str
    account: str
    region: str
    source_arn: str
    """What is polled; it never changes."""
    function_arn: str
    """As the caller named the function: with a qualifier where one was given, else without."""
    state: MappingState = "Creating"
    enabled: bool = True
    """What the mapping is wanted to be; `state` says what it is."""
    batch_size: int
    window_s: int = 0
    """How long a batch may be gathered."""
    filters: tuple[str, ...] = ()
    """Patterns (JSON); a record is taken where one of them matches. Empty: every record is."""
    report_item_failures: bool = False
    concurrency_max: int | None = None
    """Most calls at the same time; None where only the function's and the account's limits count."""
    starting_position: str = ""
    """Streams: `TRIM_HORIZON`, `LATEST` or `AT_TIMESTAMP`."""
    starting_position_ms: int | None = None
    parallelization: int = 1
    """Streams: batches of one shard that may run at the same time."""
    bisect: bool = False
    """Streams: split a batch that failed, and try the halves."""
    retries_max: int = -1
    """Streams: how often a failing batch is tried again; -1: until its records are too old."""
    record_age_max_s: int = -1
    """Streams: records older than this are given up; -1: none is."""
    tumbling_window_s: int = 0
    on_failure_arn: str = ""
    """Streams: where it is told of records that were given up; empty: nowhere."""
    tags: Mapping[str, str] = field(default_factory=dict)
    passthrough: Mapping[str, Any] = field(default_factory=dict)
    """Members of Lambda's shape that are kept and shown but change nothing here."""
    last_modified_ms: int = 0
    last_result: str = NO_RECORDS
    """Kept beside the record on Redis, and written by its poller alone."""
    generation: int = 0

    @property
    def arn(self) -> str:
        """The mapping's own ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account}:event-source-mapping:{self.uuid}"

    @property
    def function(self) -> FunctionRef:
        """The function to call."""
        ref = FunctionRef.parse(self.function_arn, account=self.account, region=self.region)
        if ref is None:
            raise ValueError(f"not a function: {self.function_arn}")
        return ref

    @property
    def changing(self) -> bool:
        """Whether the scheduler has not yet made of it what it is wanted to be."""
        return self.state in ("Creating", "Updating", "Deleting")

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON, without what is kept beside it."""
        data = asdict(self)
        del data["last_result"], data["generation"]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, generation: int = 0, last_result: str = NO_RECORDS) -> Self:
        """Undo `to_dict`; fields that this release does not know are left out."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        values["filters"] = tuple(values.get("filters", ()))
        return cls(**{**values, "generation": generation, "last_result": last_result})


def mapping_uuid(arn: str) -> str | None:
    """Return the UUID in a mapping's ARN; None where the text is no such ARN."""
    match = _ARN.match(arn)
    return match["uuid"] if match else None
