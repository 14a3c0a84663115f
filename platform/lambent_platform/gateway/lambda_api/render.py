"""Records in the shapes of Lambda's replies. What Lambda leaves out when it is empty is left out here."""

from __future__ import annotations

import hashlib
from typing import Any

from lambent_platform.contracts.function import Alias, FunctionVersion
from lambent_platform.contracts.names import LATEST, FunctionRef


def configuration(version: FunctionVersion, qualifier: str | None = None) -> dict[str, Any]:
    """Render FunctionConfiguration, under the ARN with the qualifier that the caller gave."""
    shown = listed(version, qualifier)
    shown["State"] = version.state
    optional = {
        "StateReason": version.state_reason,
        "StateReasonCode": version.state_reason_code,
        "LastUpdateStatus": version.last_update_status,
        "LastUpdateStatusReason": version.last_update_reason,
        "LastUpdateStatusReasonCode": version.last_update_reason_code,
    }
    shown |= {name: value for name, value in optional.items() if value}
    digest = hashlib.sha256(version.runtime.encode()).hexdigest()
    shown["RuntimeVersionConfig"] = {"RuntimeVersionArn": f"arn:aws:lambda:{version.region}::runtime:{digest}"}
    return shown


def listed(version: FunctionVersion, qualifier: str | None = None) -> dict[str, Any]:
    """Render FunctionConfiguration as lists show it: without states and the runtime's version."""
    ref = FunctionRef(version.name, qualifier, version.account, version.region)
    kept = version.passthrough
    shown: dict[str, Any] = {
        "FunctionName": version.name,
        "FunctionArn": ref.qualified_arn if qualifier else ref.arn,
        "Runtime": version.runtime,
        "Role": version.role,
        "Handler": version.handler,
        "CodeSize": version.code.size_bytes,
        "CodeSha256": version.code.sha256,
        "Description": version.description,
        "Timeout": version.timeout_s,
        "MemorySize": version.memory_mb,
        "LastModified": version.last_modified,
        "Version": version.version,
        "RevisionId": version.revision_id,
        "PackageType": "Zip",
        "Architectures": [version.architecture],
        "EphemeralStorage": {"Size": version.ephemeral_mb},
        "TracingConfig": {"Mode": "PassThrough"} | kept.get("TracingConfig", {}),
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"} | kept.get("SnapStart", {}),
        "LoggingConfig": _logging(version),
    }
    if version.environment:
        shown["Environment"] = {"Variables": dict(version.environment)}
    if version.dead_letter_arn:
        shown["DeadLetterConfig"] = {"TargetArn": version.dead_letter_arn}
    if kept.get("KMSKeyArn"):
        shown["KMSKeyArn"] = kept["KMSKeyArn"]
    vpc = kept.get("VpcConfig", {})
    if vpc.get("SubnetIds") or vpc.get("SecurityGroupIds"):
        shown["VpcConfig"] = vpc
    return shown


def _logging(version: FunctionVersion) -> dict[str, Any]:
    given = version.passthrough.get("LoggingConfig", {})
    levels = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"} if given.get("LogFormat") == "JSON" else {}
    return {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{version.name}", **levels, **given}


def alias(one: Alias, ref: FunctionRef) -> dict[str, Any]:
    """Render AliasConfiguration."""
    shown: dict[str, Any] = {
        "AliasArn": ref.at(one.name).qualified_arn,
        "Name": one.name,
        "FunctionVersion": one.version,
        "Description": one.description,
        "RevisionId": one.revision_id,
    }
    if one.weights:
        shown["RoutingConfig"] = {"AdditionalVersionWeights": dict(one.weights)}
    return shown


def version_order(number: str) -> str:
    """Sort versions as Lambda lists them: `$LATEST`, then from the oldest to the newest."""
    return f"{0 if number == LATEST else int(number):020d}"
