"""Resource policies of functions. They are kept and shown as Lambda does; calls are not judged by them yet.

Source: Lambda API reference, `AddPermission`, `RemovePermission`, `GetPolicy`; texts as Lambda replies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lambent_platform.contracts.errors import ApiError, ResourceConflict, ResourceNotFound
from lambent_platform.contracts.function import FunctionRecord
from lambent_platform.contracts.names import LATEST, FunctionRef
from lambent_platform.core.configuration import invalid
from lambent_platform.gateway.aws.registry import Params, RequestContext, Result, operation
from lambent_platform.gateway.lambda_api.access import (
    LambdaServices,
    change,
    check_qualifier,
    check_revision,
    named,
    new_revision_id,
    read,
)

POLICY_BYTES_MAX: Final = 20_480
_STRING_CONDITIONS: Final = {
    "SourceAccount": "AWS:SourceAccount",
    "PrincipalOrgID": "aws:PrincipalOrgID",
    "FunctionUrlAuthType": "lambda:FunctionUrlAuthType",
    "EventSourceToken": "lambda:EventSourceToken",
}
_ACCOUNT = re.compile(r"\d{12}")
_SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(\.cn)?|[a-z0-9-]+\.alexa\.com")


class PolicyOperations:
    """Serves the operations on policies."""

    def __init__(self, services: LambdaServices) -> None:
        self._functions = services.functions

    @operation("AddPermission")
    async def add_permission(self, context: RequestContext, params: Params) -> Result:
        """Add a statement to the policy of a function, version or alias."""
        ref = named(context, params)
        if ref.qualifier == LATEST:
            raise invalid("We currently do not support adding policies for $LATEST.")
        statement = _statement(params, ref)

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            check_qualifier(record, ref)
            policy = _policy(record, ref)
            check_revision(params.get("RevisionId"), policy["RevisionId"], "GetPolicy")
            sid = statement["Sid"]
            if any(one["Sid"] == sid for one in policy["Statement"]):
                raise ResourceConflict(
                    f"The statement id ({sid}) provided already exists. Please provide a new statement id, or remove "
                    "the existing statement.",
                    Type="User",
                )
            return _with(record, ref, [*policy["Statement"], statement]), None

        await change(self._functions, ref, decide)
        return {"Statement": _compact(statement)}

    @operation("RemovePermission")
    async def remove_permission(self, context: RequestContext, params: Params) -> Result:
        """Take a statement out of a policy."""
        ref = named(context, params)
        sid = params["StatementId"]

        def decide(record: FunctionRecord) -> tuple[FunctionRecord, None]:
            check_qualifier(record, ref)
            policy = _policy(record, ref)
            if not policy["Statement"]:
                raise ResourceNotFound("No policy is associated with the given resource.", Type="User")
            check_revision(params.get("RevisionId"), policy["RevisionId"], "GetPolicy")
            kept = [one for one in policy["Statement"] if one["Sid"] != sid]
            if len(kept) == len(policy["Statement"]):
                raise ResourceNotFound(f"Statement {sid} is not found in resource policy.", Type="User")
            return _with(record, ref, kept), None

        await change(self._functions, ref, decide)
        return {}

    @operation("GetPolicy")
    async def get_policy(self, context: RequestContext, params: Params) -> Result:
        """Return the policy of a function, version or alias."""
        ref = named(context, params)
        policy = _policy(await read(self._functions, ref), ref)
        if not policy["Statement"]:
            raise ResourceNotFound("The resource you requested does not exist.", Type="User")
        return {"Policy": _document(policy["Statement"]), "RevisionId": policy["RevisionId"]}


def _policy(record: FunctionRecord, ref: FunctionRef) -> Mapping[str, Any]:
    return record.policies.get(ref.qualifier or "", {"RevisionId": "", "Statement": []})


def _with(record: FunctionRecord, ref: FunctionRef, statements: list[Any]) -> FunctionRecord:
    if len(_document(statements)) > POLICY_BYTES_MAX:
        error = ApiError(
            f"The final policy size ({len(_document(statements))}) is bigger than the limit ({POLICY_BYTES_MAX}).",
            code="PolicyLengthExceededException",
            status=400,
            Type="User",
        )
        error.message_key = "message"
        raise error
    policies = {key: policy for key, policy in record.policies.items() if key != (ref.qualifier or "")}
    if statements:
        policies[ref.qualifier or ""] = {"RevisionId": new_revision_id(), "Statement": statements}
    return replace(record, policies=policies)


def _document(statements: list[Any]) -> str:
    return _compact({"Version": "2012-10-17", "Id": "default", "Statement": statements})


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _statement(params: Params, ref: FunctionRef) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Sid": params["StatementId"],
        "Effect": "Allow",
        "Principal": _principal(params["Principal"]),
        "Action": params["Action"],
        "Resource": ref.named_arn,
    }
    equals = {key: params[name] for name, key in _STRING_CONDITIONS.items() if name in params}
    condition: dict[str, Any] = {}
    if equals:
        condition["StringEquals"] = equals
    if "SourceArn" in params:
        condition["ArnLike"] = {"AWS:SourceArn": params["SourceArn"]}
    if params.get("InvokedViaFunctionUrl") is not None:
        condition["Bool"] = {"lambda:InvokedViaFunctionUrl": str(params["InvokedViaFunctionUrl"]).lower()}
    if condition:
        statement["Condition"] = condition
    return statement


def _principal(principal: str) -> Any:
    if principal == "*":
        return "*"
    if _ACCOUNT.fullmatch(principal):
        return {"AWS": f"arn:aws:iam::{principal}:root"}
    if principal.startswith("arn:"):
        return {"AWS": principal}
    if _SERVICE.fullmatch(principal):
        return {"Service": principal}
    raise invalid("The provided principal was invalid. Please check the principal and try again.")
