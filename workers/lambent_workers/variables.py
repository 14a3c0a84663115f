"""The environment variables that a runtime's process gets. Pure.

Source: AWS Lambda Developer Guide, "Working with Lambda environment variables", its "Defined runtime" ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lambent_platform.contracts.function import FunctionVersion
from lambent_platform.contracts.runtimes import Runtime

_HEAP_SHARE: Final = 0.9
_PLACEHOLDER: Final = "lambent"
"""Signatures are not verified: an SDK only needs credentials that are there."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a sandbox says of itself."""

    task_root: str
    runtime_api_address: str
    endpoint_url: str


def base_variables(runtime: Runtime, place: Place) -> dict[str, str]:
    """Return what does not depend on the function: a stem's process starts with it."""
    root = place.task_root
    found = {
        "LAMBDA_TASK_ROOT": root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_LAMBDA_RUNTIME_API": place.runtime_api_address,
        "TZ": ":UTC",
        "LANG": "en_US.UTF-8",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LD_LIBRARY_PATH": f"/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:{root}:{root}/lib:/opt/lib",
    }
    if runtime.language == "python":
        found["PYTHONPATH"] = "/var/runtime"
    elif runtime.language == "nodejs":
        major = runtime.version.partition(".")[0]
        found["NODE_PATH"] = (
            f"/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:{root}"
        )
    return found


def function_variables(version: FunctionVersion, runtime: Runtime, place: Place, log_stream: str) -> dict[str, str]:
    """Return all of a function's variables: the changeable defaults, its own over them, the reserved ones over all."""
    found = base_variables(runtime, place)
    fixed = {name: found[name] for name in ("LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "AWS_LAMBDA_RUNTIME_API")}
    found["AWS_ENDPOINT_URL"] = place.endpoint_url
    found["AWS_XRAY_CONTEXT_MISSING"] = "LOG_ERROR"
    found.update(version.environment)
    found.update(fixed)
    found.update(
        _HANDLER=version.handler,
        AWS_REGION=version.region,
        AWS_DEFAULT_REGION=version.region,
        AWS_LAMBDA_FUNCTION_NAME=version.name,
        AWS_LAMBDA_FUNCTION_VERSION=version.version,
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE=str(version.memory_mb),
        AWS_LAMBDA_LOG_GROUP_NAME=log_group(version),
        AWS_LAMBDA_LOG_STREAM_NAME=log_stream,
        AWS_LAMBDA_INITIALIZATION_TYPE="on-demand",
        AWS_ACCESS_KEY_ID=_PLACEHOLDER,
        AWS_SECRET_ACCESS_KEY=_PLACEHOLDER,
        AWS_SESSION_TOKEN=_PLACEHOLDER,
    )
    if runtime.language != "provided":
        found["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{version.runtime}"
    return found


def process_variables(variables: Mapping[str, str], runtime: Runtime, memory_mb: int) -> dict[str, str]:
    """Return what the interpreter itself is started with: Node.js needs its heap's limit, the function's own wins."""
    found = dict(variables)
    if runtime.language == "nodejs":
        heap = f"--max-old-space-size={int(memory_mb * _HEAP_SHARE)}"
        found["NODE_OPTIONS"] = f"{heap} {found.get('NODE_OPTIONS', '')}".strip()
    return found


def log_group(version: FunctionVersion) -> str:
    """Name the log group of a function."""
    return f"/aws/lambda/{version.name}"


def log_stream(version: FunctionVersion, environment_id: str, date: str) -> str:
    """Name the log stream of one environment; `date` is `YYYY/MM/DD`."""
    return f"{date}/[{version.version}]{environment_id}"
