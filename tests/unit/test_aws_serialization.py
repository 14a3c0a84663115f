"""Replies: what we write botocore reads, in every protocol, results and errors alike."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.contracts import errors
from lambent_platform.contracts.errors import ApiError
from lambent_platform.gateway.aws.catalog import Service, ServiceCatalog, coverage
from lambent_platform.gateway.aws.errors import error_reply, to_api_error
from lambent_platform.gateway.aws.http import HttpReply
from lambent_platform.gateway.aws.registry import Registry
from lambent_platform.gateway.aws.serialization import reply_json, reply_query, reply_rest

CATALOG = ServiceCatalog()
LAMBDA, LOGS, STS = CATALOG.get("lambda"), CATALOG.get("logs"), CATALOG.get("sts")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
MODEL = ServiceModel(
    {
        "metadata": {"protocol": "query", "apiVersion": "2026-01-01"},
        "operations": {
            name: {"name": name, "http": {"method": "POST", "requestUri": "/"}, "output": {"shape": shape}}
            for name, shape in {"Flat": "Flat", "Headers": "Headers", "Document": "Document"}.items()
        },
        "shapes": {
            "String": {"type": "string"},
            "Blob": {"type": "blob"},
            "Boolean": {"type": "boolean"},
            "Timestamp": {"type": "timestamp"},
            "Strings": {"type": "list", "member": {"shape": "String"}},
            "FlatStrings": {"type": "list", "member": {"shape": "String"}, "flattened": True},
            "Map": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "String"}},
            "FlatMap": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "String"}, "flattened": True},
            "Inner": {"type": "structure", "members": {"A": {"shape": "String"}}},
            "Flat": {
                "type": "structure",
                "members": {
                    "Names": {"shape": "FlatStrings"}, "Plain": {"shape": "Strings"}, "Pairs": {"shape": "Map"},
                    "FlatPairs": {"shape": "FlatMap"}, "Data": {"shape": "Blob"}, "Yes": {"shape": "Boolean"},
                    "When": {"shape": "Timestamp"}, "Inner": {"shape": "Inner"},
                },
            },
            "Headers": {
                "type": "structure",
                "payload": "Body",
                "members": {
                    "When": {"shape": "Timestamp", "location": "header", "locationName": "X-When"},
                    "Meta": {"shape": "Map", "location": "headers", "locationName": "x-meta-"},
                    "Body": {"shape": "Blob", "streaming": False},
                },
            },
            "Document": {"type": "structure", "payload": "Inner", "members": {"Inner": {"shape": "Inner"}}},
        },
    }
)  # fmt: skip


def read_back(protocol: str, operation: OperationModel, reply: HttpReply) -> dict[str, Any]:
    """The result as botocore parses it."""
    response = {"status_code": reply.status, "headers": reply.headers, "body": reply.body}
    parsed: dict[str, Any] = create_parser(protocol).parse(response, operation.output_shape)
    parsed.pop("ResponseMetadata", None)
    return parsed


def test_rest_results() -> None:
    """Status from the model, None left out, empty shown, unknown members dropped, timestamps as numbers."""
    operation = LAMBDA.operation("CreateFunction")
    reply = reply_rest(operation, {"FunctionName": "f", "Timeout": 3, "Handler": None, "Description": "", "Bogus": 1})
    assert (reply.status, reply.headers["Content-Type"]) == (201, "application/json")
    assert json.loads(reply.body) == {"FunctionName": "f", "Timeout": 3, "Description": ""}
    listed = LAMBDA.operation("ListEventSourceMappings")
    reply = reply_rest(listed, {"EventSourceMappings": [{"UUID": "u", "LastModified": MOMENT}]})
    assert json.loads(reply.body) == {"EventSourceMappings": [{"UUID": "u", "LastModified": 1767323045}]}
    assert read_back("rest-json", listed, reply)["EventSourceMappings"][0]["LastModified"] == MOMENT


def test_rest_replies_without_a_body() -> None:
    """204 has no body, whether or not the model has an output."""
    for name in ("DeleteAlias", "TagResource", "DeleteFunctionUrlConfig"):
        reply = reply_rest(LAMBDA.operation(name), {})
        assert (reply.status, reply.body) == (204, b"")
    deleted = LAMBDA.operation("DeleteFunction")
    assert reply_rest(deleted, {"StatusCode": 204}).status == 204


def test_rest_headers_status_and_payload() -> None:
    """Members placed in headers, the status or the payload go there."""
    invoke = LAMBDA.operation("Invoke")
    result = {"StatusCode": 202, "FunctionError": "Unhandled", "ExecutedVersion": "1", "Payload": b"\x00x"}
    reply = reply_rest(invoke, result)
    assert (reply.status, reply.body) == (202, b"\x00x")
    assert reply.headers["X-Amz-Function-Error"] == "Unhandled"
    assert reply.headers["X-Amz-Executed-Version"] == "1"
    own = reply_rest(MODEL.operation_model("Headers"), {"When": MOMENT, "Meta": {"a": "1"}, "Body": b"b"})
    assert own.headers["X-When"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert (own.headers["x-meta-a"], own.body) == ("1", b"b")
    document = reply_rest(MODEL.operation_model("Document"), {"Inner": {"A": "x"}})
    assert json.loads(document.body) == {"A": "x"}
    assert reply_rest(MODEL.operation_model("Document"), {}).body == b""


def test_json_results() -> None:
    """The json protocol writes its version into the content type, and nothing where there is no output."""
    reply = reply_json(LOGS.operation("FilterLogEvents"), {"events": [{"message": "m", "timestamp": 5}]}, "1.1")
    assert reply.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert json.loads(reply.body) == {"events": [{"message": "m", "timestamp": 5}]}
    assert reply_json(LOGS.operation("DeleteLogGroup"), {}, "1.1").body == b""


@given(
    names=st.lists(TEXT.filter(str.strip), min_size=1, max_size=3),
    pairs=st.dictionaries(TEXT.filter(str.strip), TEXT.filter(str.strip), min_size=1, max_size=3),
    data=st.binary(min_size=1, max_size=20),
)
def test_query_results(names: list[str], pairs: dict[str, str], data: bytes) -> None:
    """Lists and maps, flattened or not, blobs, booleans and times are read back by botocore."""
    result = {
        "Names": names, "Plain": names, "Pairs": pairs, "FlatPairs": pairs, "Data": data, "Yes": True, "When": MOMENT,
        "Inner": {"A": "x"},
    }  # fmt: skip
    operation = MODEL.operation_model("Flat")
    reply = reply_query(operation, result, "urn:x", "id-1")
    assert reply.headers["Content-Type"] == "text/xml"
    assert read_back("query", operation, reply) == result


def test_query_results_have_wrapper_and_request_id() -> None:
    """The envelope is that of the service's namespace, with the request id in it."""
    reply = reply_query(STS.operation("GetCallerIdentity"), {"Account": "1\x002"}, "urn:sts", "id-1")
    root = ET.fromstring(reply.body)
    assert root.tag == "{urn:sts}GetCallerIdentityResponse"
    assert root.findtext("{urn:sts}GetCallerIdentityResult/{urn:sts}Account") == "1\ufffd2"
    assert root.findtext("{urn:sts}ResponseMetadata/{urn:sts}RequestId") == "id-1"


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (errors.ResourceNotFound("gone"), 404, {"Type": "User", "Message": "gone"}),
        (errors.ResourceConflict("there"), 409, {"Type": "User", "message": "there"}),
        (errors.InvalidParameterValue("bad"), 400, {"Type": "User", "message": "bad"}),
        (errors.PreconditionFailed("old"), 412, {"Type": "User", "message": "old"}),
        (errors.ValidationFailed("1 error"), 400, {"message": "1 error"}),
        (errors.NotImplementedByUs("no"), 501, {"message": "no"}),
        (
            errors.TooManyRequests("Rate Exceeded.", Reason="ConcurrentInvocationLimitExceeded"),
            429,
            {"Type": "User", "message": "Rate Exceeded.", "Reason": "ConcurrentInvocationLimitExceeded"},
        ),
        (errors.ServiceException("broke"), 500, {"Type": "Service", "Message": "broke"}),
        (errors.ResourceNotFound("gone", Type="Other"), 404, {"Type": "Other", "Message": "gone"}),
    ],
)
def test_lambda_errors(error: ApiError, status: int, body: dict[str, str]) -> None:
    """An error has the members of its shape in the model, spelled as there; others have a message alone."""
    reply = error_reply(error, LAMBDA, "id-1")
    assert (reply.status, json.loads(reply.body)) == (status, body)
    assert reply.headers["x-amzn-ErrorType"] == error.code
    assert reply.headers["x-amzn-RequestId"] == "id-1"


@pytest.mark.parametrize(
    ("service", "error", "status"),
    [
        (LAMBDA, ApiError("m", code="SomeException", status=409), 409),
        (LOGS, ApiError("m", code="SomeException", status=404), 400),
        (LOGS, ApiError("m", code="SomeException", status=413), 413),
        (LOGS, ApiError("m", code="SomeException", status=501), 501),
        (STS, ApiError("m", code="SomeException", status=403), 403),
        (STS, ApiError("m<\x01&", code="SomeException", status=500), 500),
        (None, ApiError("m", code="SomeException", status=404), 404),
    ],
)
def test_errors_in_every_protocol(service: Service | None, error: ApiError, status: int) -> None:
    """Botocore reads the code and the message of an error of every protocol."""
    reply = error_reply(error, service, "id-1")
    protocol = service.protocol if service is not None else "rest-json"
    shape = (service or LAMBDA).operation(sorted((service or LAMBDA).operation_names)[0]).output_shape
    response = {"status_code": reply.status, "headers": _lower(reply), "body": reply.body}
    parsed = create_parser(protocol).parse(response, shape)
    assert reply.status == status
    assert parsed["Error"]["Code"] == "SomeException"
    assert parsed["Error"]["Message"] == error.message.replace("\x01", "\ufffd")


def test_what_clients_are_told_of_other_exceptions() -> None:
    """A store that is away is 503 with Retry-After; anything else says nothing of its own text."""
    away = to_api_error(errors.StoreUnavailable("redis://secret@host"))
    reply = error_reply(away, LAMBDA, "id-1")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    broken = error_reply(to_api_error(KeyError("secret")), LAMBDA, "id-1")
    assert (broken.status, broken.headers["x-amzn-ErrorType"]) == (500, "ServiceException")
    assert b"secret" not in reply.body + broken.body


def test_coverage_lists_what_is_served_and_what_is_not() -> None:
    """Each operation of a served service is in exactly one of the two lists; a misspelt one is refused."""

    async def run(context: Any, params: Any) -> dict[str, Any]:
        return {}

    registry = Registry()
    registry.add("sts", "GetCallerIdentity", run)
    ((served, missing),) = coverage(CATALOG, registry).values()
    assert served == ["GetCallerIdentity"]
    assert "AssumeRole" in missing
    assert sorted([*served, *missing]) == sorted(STS.operation_names)
    with pytest.raises(ValueError, match="twice"):
        registry.add("sts", "GetCallerIdentity", run)
    registry.add("sts", "GetCallerIdentify", run)
    with pytest.raises(ValueError, match="GetCallerIdentify"):
        coverage(CATALOG, registry)


def test_registering_an_object_without_operations_is_a_mistake() -> None:
    """An object whose methods lost their marks is noticed at start."""
    with pytest.raises(ValueError, match="no operations"):
        Registry().serve("lambda", object())


def _lower(reply: HttpReply) -> dict[str, str]:
    return {name.lower(): value for name, value in reply.headers.items()}
