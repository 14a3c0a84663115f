"""What the client hands back: functions, environments, results and log lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lambent.errors import FunctionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One version of a function, as `GetFunctionConfiguration` describes it."""

    name: str
    arn: str
    version: str
    runtime: str
    handler: str
    memory_mb: int
    timeout_s: int
    ephemeral_mb: int
    description: str
    environment: Mapping[str, str] = field(default_factory=dict)
    code_sha256: str
    code_bytes: int
    last_modified: str
    state: str
    state_reason: str
    state_reason_code: str
    update_status: str
    update_reason: str
    update_reason_code: str

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> Self:
        """Read Lambda's `FunctionConfiguration`, where empty fields are left out."""
        return cls(
            name=data["FunctionName"],
            arn=data.get("FunctionArn", ""),
            version=data.get("Version", "$LATEST"),
            runtime=data.get("Runtime", ""),
            handler=data.get("Handler", ""),
            memory_mb=data.get("MemorySize", 128),
            timeout_s=data.get("Timeout", 3),
            ephemeral_mb=data.get("EphemeralStorage", {}).get("Size", 512),
            description=data.get("Description", ""),
            environment=data.get("Environment", {}).get("Variables", {}),
            code_sha256=data.get("CodeSha256", ""),
            code_bytes=data.get("CodeSize", 0),
            last_modified=data.get("LastModified", ""),
            # ListFunctions leaves the states out.
            state=data.get("State", ""),
            state_reason=data.get("StateReason", ""),
            state_reason_code=data.get("StateReasonCode", ""),
            update_status=data.get("LastUpdateStatus", ""),
            update_reason=data.get("LastUpdateStatusReason", ""),
            update_reason_code=data.get("LastUpdateStatusReasonCode", ""),
        )

    @property
    def busy(self) -> bool:
        """Whether the platform is still preparing what was deployed last."""
        return self.state == "Pending" or self.update_status == "InProgress"

    @property
    def failure(self) -> tuple[str, str] | None:
        """(reason, reason code) where the last deployment failed."""
        if self.state == "Failed":
            return self.state_reason, self.state_reason_code
        if self.update_status == "Failed":
            return self.update_reason, self.update_reason_code
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive:
    """How long an idle function is kept, and how that does. Times in seconds since its last call."""

    function: str
    policy: str
    """`history`; `default`, where too little is known of the function yet; or `fixed`."""
    from_s: float
    """0, or when an environment is brought up again after the one that was called has gone, at `linger_s`."""
    until_s: float
    linger_s: float
    observations: int
    """How many pauses between its calls are known."""
    warm: int
    """Calls after a pause that found an environment."""
    cold: int
    """Calls that found none."""
    hit_rate: float | None
    idle_s: float | None
    """How long ago its last call ended."""

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> Self:
        """Read the platform's answer."""
        return cls(**{name: data[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One execution environment, or a stem: one that waits for any function, and so has none."""

    function: str | None
    version: str | None
    state: str
    worker: str
    age_s: float
    memory_mb: int
    container: str

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> Self:
        """Read one element of the platform's list."""
        return cls(
            function=data.get("function"),
            version=data.get("version"),
            state=data["state"],
            worker=data.get("worker", ""),
            age_s=float(data.get("age_s", 0)),
            memory_mb=int(data.get("memory_mb", 0)),
            container=data.get("container") or "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """One line of a function's log."""

    id: str
    timestamp_ms: int
    message: str
    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationResult:
    """A synchronous invocation's whole answer."""

    request_id: str
    payload: bytes
    function_error: str = ""
    """`Unhandled` where the function failed; `payload` is then an object that says how."""
    executed_version: str = ""
    log: str = ""
    """The last 4 KB of its log, where that was asked for."""

    def value(self) -> Any:
        """Return what the function returned, as a Python value; text where it is not JSON.

        Raises:
            FunctionError: the function failed.
        """
        if self.function_error:
            raise self.error()
        if not self.payload:
            return None
        try:
            return json.loads(self.payload)
        except ValueError:
            return self.payload.decode(errors="replace")

    def error(self) -> FunctionError:
        """Return the failure that `payload` describes."""
        try:
            data = json.loads(self.payload)
        except ValueError:
            data = {"errorMessage": self.payload.decode(errors="replace")}
        fields: dict[str, Any] = data if isinstance(data, dict) else {"errorMessage": data}
        # Node.js calls it `trace`, Python `stackTrace`.
        trace = fields.get("stackTrace") or fields.get("trace") or []
        return FunctionError(
            str(fields.get("errorMessage") or ""),
            type=str(fields.get("errorType") or self.function_error),
            trace=[str(line) for line in trace] if isinstance(trace, list) else [str(trace)],
            request_id=self.request_id,
            log=self.log,
        )
