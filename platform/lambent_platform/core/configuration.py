"""A function's configuration as a request gives it: checked beyond the service model, and turned into fields.

Source: Lambda API reference, `CreateFunction` and `UpdateFunctionConfiguration`; Lambda Developer Guide, "Defined
runtime environment variables"; texts as Lambda replies. The service model allows more memory and time than Lambda
gives to functions of this kind; the limits here are `contracts.limits`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from lambent_platform.contracts import limits
from lambent_platform.contracts.errors import InvalidParameterValue, ValidationFailed
from lambent_platform.contracts.runtimes import RUNTIMES

RESERVED_VARIABLES: Final = frozenset(
    {
        "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
    }
)  # fmt: skip
_ENVIRONMENT: Final = "Lambda was unable to configure your environment variables because the environment variables"
TAGS_MAX: Final = 50

_PLAIN: Final = {
    "Runtime": "runtime",
    "Handler": "handler",
    "Role": "role",
    "Description": "description",
    "Timeout": "timeout_s",
    "MemorySize": "memory_mb",
}
_SHOWN_ONLY: Final = ("VpcConfig", "KMSKeyArn", "TracingConfig", "SnapStart", "LoggingConfig")
_NOT_SERVED: Final = {
    "Layers": "Layers are not served yet: put what the layers hold into the package.",
    "FileSystemConfigs": "File systems are not served: a function has its package and /tmp.",
    "ImageConfig": "Container images are not served yet: give the code as a zip package.",
    "CodeSigningConfigArn": "Code signing is not served.",
    "TenancyConfig": "Tenant isolation is not served.",
    "CapacityProviderConfig": "Capacity providers are not served.",
    "DurableConfig": "Durable functions are not served.",
    "RuntimeConfig": "Custom runtime configurations are not served.",
    "AcceleratorConfig": "Accelerators are not served.",
    "PublishTo": "Publishing to $LATEST.PUBLISHED is not served: publish a numbered version.",
}


def invalid(message: str) -> InvalidParameterValue:
    """Make the error for a parameter that is of the right shape but not acceptable."""
    return InvalidParameterValue(message, Type="User")


def out_of_range(value: object, field: str, constraint: str) -> ValidationFailed:
    """Make the error for a value that breaks a constraint; `constraint` goes on from "Member must"."""
    return ValidationFailed(
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: "
        f"Member must {constraint}"
    )


def refuse_unserved(params: Mapping[str, Any]) -> None:
    """Refuse settings that would change what runs and are not served.

    Raises:
        InvalidParameterValue: one was given, and says more than "none".
    """
    for name, text in _NOT_SERVED.items():
        if params.get(name):
            raise invalid(text)


def configuration_fields(params: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `FunctionVersion` that a request sets; `shown` is its `passthrough` before.

    Raises:
        InvalidParameterValue, ValidationFailed: a value is not acceptable.
    """
    refuse_unserved(params)
    _check_runtime(params.get("Runtime"))
    _check_range(params.get("Timeout"), "timeout", 1, limits.TIMEOUT_S_MAX)
    _check_range(params.get("MemorySize"), "memorySize", limits.MEMORY_MB_MIN, limits.MEMORY_MB_MAX)
    fields: dict[str, Any] = {ours: params[theirs] for theirs, ours in _PLAIN.items() if theirs in params}
    if "EphemeralStorage" in params:
        size = params["EphemeralStorage"]["Size"]
        _check_range(size, "ephemeralStorage.size", limits.EPHEMERAL_MB_MIN, limits.EPHEMERAL_MB_MAX)
        fields["ephemeral_mb"] = size
    if "Environment" in params:
        variables = params["Environment"].get("Variables", {})
        check_variables(variables)
        fields["environment"] = variables
    if "DeadLetterConfig" in params:
        fields["dead_letter_arn"] = params["DeadLetterConfig"].get("TargetArn", "")
    if "Architectures" in params:
        fields["architecture"] = params["Architectures"][0]
    kept = {**shown, **{name: params[name] for name in _SHOWN_ONLY if name in params}}
    fields["passthrough"] = {name: value for name, value in kept.items() if value}
    return fields


def _check_range(value: int | None, field: str, low: int, high: int) -> None:
    if value is not None and value < low:
        raise out_of_range(value, field, f"have value greater than or equal to {low}")
    if value is not None and value > high:
        raise out_of_range(value, field, f"have value less than or equal to {high}")


def _check_runtime(runtime: str | None) -> None:
    if runtime is not None and runtime not in RUNTIMES:
        raise invalid(
            f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
            f"[{', '.join(RUNTIMES)}] or be a valid ARN"
        )


def check_variables(variables: Mapping[str, str]) -> None:
    """Check a function's environment variables.

    Raises:
        InvalidParameterValue: a name is Lambda's own, or all of them are too long together.
    """
    reserved = [name for name in variables if name in RESERVED_VARIABLES]
    if reserved:
        raise invalid(
            f"{_ENVIRONMENT} you have provided contains reserved keys that are currently not supported for "
            f"modification. Reserved keys used in this request: {', '.join(reserved)}"
        )
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode("utf-8", "surrogatepass")) > limits.ENVIRONMENT_VARIABLES_BYTES:
        raise invalid(f"{_ENVIRONMENT} you have provided exceeded the 4KB limit. String measured: {measured}")


def check_tags(tags: Mapping[str, str]) -> None:
    """Check all the tags that a function would have.

    Raises:
        InvalidParameterValue: they are too many, or one has a name that only AWS gives.
    """
    if len(tags) > TAGS_MAX:
        raise invalid("Number of tags exceeds resource tag limit.")
    if any(name.lower().startswith("aws:") for name in tags):
        raise invalid("System tags cannot be added/updated by requester.")
