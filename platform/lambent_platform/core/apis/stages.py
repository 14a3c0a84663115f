"""Stages and deployments: what of an API is served, and under which name.

A deployment keeps what the API was when it was made. Stages with AutoDeploy follow a deployment without such a copy:
it is what the API is now, and gets its copy when a stage stops following it.

Source: API Gateway v2 API reference, `CreateStage`, `CreateDeployment`; Developer Guide, "Publish HTTP APIs".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.apis import DEFAULT_STAGE, DEPLOYMENTS_MAX, HTTP, STAGES_MAX, ApiRecord, Item
from lambent_platform.core.apis.problems import bad_request, conflict, limit_reached, not_found
from lambent_platform.core.apis.tags import check_tags

ID_CHARACTERS: Final = 6
_STORED: Final = (
    "AccessLogSettings",
    "AutoDeploy",
    "ClientCertificateId",
    "DefaultRouteSettings",
    "DeploymentId",
    "Description",
    "RouteSettings",
    "StageVariables",
)
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_VARIABLE_NAME: Final = re.compile(r"[a-zA-Z0-9_]{1,64}")
_VARIABLE_VALUE: Final = re.compile(r"[A-Za-z0-9\-._~:/?#&=,]{0,512}")
_AUTO: Final = "Automatic deployment triggered by changes to the Api configuration"

NewId = Callable[[int], str]


def create_stage(record: ApiRecord, params: Mapping[str, Any], *, now: str, new_id: NewId) -> tuple[ApiRecord, Item]:
    """Return the API with one stage more, and the stage.

    Raises:
        ApiError: BadRequestException, ConflictException, NotFoundException, TooManyRequestsException.
    """
    name = params["StageName"]
    if name == DEFAULT_STAGE:
        if record.protocol != HTTP:
            raise bad_request("Stage name $default is supported only for HTTP APIs")
    elif not _NAME.fullmatch(name):
        raise bad_request(f"Invalid stage name {name[:128]}: it can have letters, digits, hyphens and underscores")
    if name in record.stages:
        raise conflict(f"Stage {name} already exists for this API")
    if len(record.stages) >= STAGES_MAX:
        raise limit_reached("stages", STAGES_MAX)
    check_tags(params.get("Tags", {}))
    stage = {
        "AutoDeploy": False,
        "CreatedDate": now,
        "DefaultRouteSettings": {"DetailedMetricsEnabled": False},
        "RouteSettings": {},
        "StageName": name,
        "StageVariables": {},
        "Tags": params.get("Tags", {}),
    }
    return _put(record, stage, params, now=now, new_id=new_id)


def update_stage(
    record: ApiRecord, name: str, params: Mapping[str, Any], *, now: str, new_id: NewId
) -> tuple[ApiRecord, Item]:
    """Return the API with one stage changed in what was given, and the stage.

    Raises:
        ApiError: BadRequestException, NotFoundException.
    """
    return _put(record, find_stage(record, name), params, now=now, new_id=new_id)


def _put(
    record: ApiRecord, before: Item, params: Mapping[str, Any], *, now: str, new_id: NewId
) -> tuple[ApiRecord, Item]:
    given = {name: params[name] for name in _STORED if name in params}
    name, stage = before["StageName"], {**before, **given, "LastUpdatedDate": now}
    for key, value in stage["StageVariables"].items():
        if not _VARIABLE_NAME.fullmatch(key) or not _VARIABLE_VALUE.fullmatch(value):
            raise bad_request(f"Invalid stage variable {key[:64]}")
    if "DeploymentId" in given:
        if stage["AutoDeploy"]:
            raise bad_request(f"Deployment ID cannot be set on stage {name}: its AutoDeploy is enabled")
        find_deployment(record, given["DeploymentId"])
    if before["AutoDeploy"] and not stage["AutoDeploy"]:
        record = _kept(record, before.get("DeploymentId"))
    after = replace(record, stages={**record.stages, name: stage})
    if stage["AutoDeploy"] and not before["AutoDeploy"]:
        after = auto_deployed(after, now=now, new_id=new_id)
    return after, after.stages[name]


def delete_stage(record: ApiRecord, name: str) -> ApiRecord:
    """Return the API without a stage.

    Raises:
        ApiError: NotFoundException.
    """
    find_stage(record, name)
    return replace(record, stages={k: v for k, v in record.stages.items() if k != name})


def without_route_settings(record: ApiRecord, name: str, route_key: str) -> ApiRecord:
    """Return the API with a stage that has no settings of its own for a route.

    Raises:
        ApiError: NotFoundException.
    """
    stage = find_stage(record, name)
    if route_key not in stage["RouteSettings"]:
        raise not_found("route settings", route_key)
    settings = {k: v for k, v in stage["RouteSettings"].items() if k != route_key}
    return replace(record, stages={**record.stages, name: {**stage, "RouteSettings": settings}})


def without_access_log(record: ApiRecord, name: str) -> ApiRecord:
    """Return the API with a stage that has no settings for an access log.

    Raises:
        ApiError: NotFoundException.
    """
    stage = {k: v for k, v in find_stage(record, name).items() if k != "AccessLogSettings"}
    return replace(record, stages={**record.stages, name: stage})


def find_stage(record: ApiRecord, name: str) -> Item:
    """Return a stage.

    Raises:
        ApiError: NotFoundException.
    """
    found = record.stages.get(name)
    if found is None:
        raise not_found("stage", name)
    return found


def create_deployment(
    record: ApiRecord, params: Mapping[str, Any], *, now: str, new_id: NewId
) -> tuple[ApiRecord, Item]:
    """Return the API with what it is now deployed, to a stage where one is named, and the deployment.

    Raises:
        ApiError: BadRequestException, NotFoundException, TooManyRequestsException.
    """
    if not record.routes:
        raise bad_request("At least one route is required before deploying the Api.")
    if len(record.deployments) >= DEPLOYMENTS_MAX:
        raise limit_reached("deployments", DEPLOYMENTS_MAX)
    deployment = _deployment(now, new_id, auto=False, description=params.get("Description"))
    key = deployment["DeploymentId"]
    after = _kept(replace(record, deployments={**record.deployments, key: deployment}), key)
    name = params.get("StageName")
    if name is not None:
        after, _ = update_stage(after, name, {"DeploymentId": key}, now=now, new_id=new_id)
    return after, deployment


def update_deployment(record: ApiRecord, deployment_id: str, params: Mapping[str, Any]) -> tuple[ApiRecord, Item]:
    """Return the API with a deployment described differently, and the deployment.

    Raises:
        ApiError: NotFoundException.
    """
    given = {name: params[name] for name in ("Description",) if name in params}
    item = {**find_deployment(record, deployment_id), **given}
    return replace(record, deployments={**record.deployments, deployment_id: item}), item


def delete_deployment(record: ApiRecord, deployment_id: str) -> ApiRecord:
    """Return the API without a deployment.

    Raises:
        ApiError: NotFoundException; BadRequestException where a stage serves it.
    """
    find_deployment(record, deployment_id)
    users = [name for name, stage in record.stages.items() if stage.get("DeploymentId") == deployment_id]
    if users:
        raise bad_request(
            f"Active stages with current deployment pointing to {deployment_id} cannot be deleted: {', '.join(users)}"
        )
    return replace(
        record,
        deployments={k: v for k, v in record.deployments.items() if k != deployment_id},
        snapshots={k: v for k, v in record.snapshots.items() if k != deployment_id},
    )


def find_deployment(record: ApiRecord, deployment_id: str) -> Item:
    """Return a deployment.

    Raises:
        ApiError: NotFoundException.
    """
    found = record.deployments.get(deployment_id)
    if found is None:
        raise not_found("deployment", deployment_id)
    return found


def auto_deployed(record: ApiRecord, *, now: str, new_id: NewId) -> ApiRecord:
    """Return the API after a change, with a new deployment on every stage that follows changes."""
    following = [name for name, stage in record.stages.items() if stage["AutoDeploy"]]
    if not following or not record.routes:
        return record
    deployment = _deployment(now, new_id, auto=True, description=_AUTO)
    key = deployment["DeploymentId"]
    # Those before it were never copied, and nobody serves them any more.
    kept = {k: v for k, v in record.deployments.items() if k in record.snapshots}
    said = {
        "DeploymentId": key,
        "LastDeploymentStatusMessage": f"Successfully deployed stage with deployment ID '{key}'",
    }
    stages = {name: {**stage, **said} if name in following else stage for name, stage in record.stages.items()}
    return replace(record, stages=stages, deployments={**kept, key: deployment})


def served(record: ApiRecord, name: str) -> ApiRecord | None:
    """Return the API as a stage serves it: what it is now, or was when it was deployed; None where nothing was."""
    stage = record.stages.get(name)
    if stage is None:
        return None
    if stage["AutoDeploy"]:
        return record
    snapshot = record.snapshots.get(stage.get("DeploymentId", ""))
    return None if snapshot is None else replace(record, **snapshot)


def _deployment(now: str, new_id: NewId, *, auto: bool, description: str | None) -> dict[str, Any]:
    return {
        "AutoDeployed": auto,
        "CreatedDate": now,
        "DeploymentId": new_id(ID_CHARACTERS),
        "DeploymentStatus": "DEPLOYED",
        **({"Description": description} if description is not None else {}),
    }


def _kept(record: ApiRecord, deployment_id: str | None) -> ApiRecord:
    """Keep what the API is now with a deployment that has no copy yet."""
    if deployment_id is None or deployment_id in record.snapshots:
        return record
    snapshot = {
        "settings": record.settings,
        "routes": record.routes,
        "responses": record.responses,
        "integrations": record.integrations,
    }
    return replace(record, snapshots={**record.snapshots, deployment_id: snapshot})
