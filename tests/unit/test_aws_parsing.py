"""Requests: what botocore writes we read, in every protocol, and what nobody should write we refuse."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.model import OperationModel, ServiceModel
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from lambent_platform.contracts.errors import ApiError
from lambent_platform.gateway.aws.catalog import ServiceCatalog
from lambent_platform.gateway.aws.http import HttpRequest, split_query
from lambent_platform.gateway.aws.parsing import parse_json, parse_query, parse_rest

CATALOG = ServiceCatalog()
LAMBDA, LOGS, STS = CATALOG.get("lambda"), CATALOG.get("logs"), CATALOG.get("sts")
TEXT = st.text(max_size=20)
MODEL = ServiceModel(
    {
        "metadata": {"protocol": "rest-json", "apiVersion": "2026-01-01"},
        "operations": {
            name: {"name": name, "http": {"method": "POST", "requestUri": "/x"}, "input": {"shape": name}}
            for name in ("Headers", "Document", "Text", "Flat")
        },
        "shapes": {
            "String": {"type": "string"},
            "Integer": {"type": "integer"},
            "Timestamp": {"type": "timestamp"},
            "Strings": {"type": "list", "member": {"shape": "String"}},
            "FlatStrings": {"type": "list", "member": {"shape": "String"}, "flattened": True},
            "Map": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "String"}},
            "FlatMap": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "Integer"}, "flattened": True},
            "Inner": {"type": "structure", "members": {"A": {"shape": "Integer"}}},
            "Headers": {
                "type": "structure",
                "members": {
                    "Meta": {"shape": "Map", "location": "headers", "locationName": "x-meta-"},
                    "When": {"shape": "Timestamp", "location": "header", "locationName": "X-When"},
                    "Count": {"shape": "Integer", "location": "header", "locationName": "X-Count"},
                    "Keys": {"shape": "Strings", "location": "querystring", "locationName": "key"},
                    "Rest": {"shape": "Map", "location": "querystring"},
                },
            },
            "Document": {"type": "structure", "payload": "Body", "members": {"Body": {"shape": "Inner"}}},
            "Text": {"type": "structure", "payload": "Body", "members": {"Body": {"shape": "String"}}},
            "Flat": {
                "type": "structure",
                "members": {
                    "Names": {"shape": "FlatStrings"},
                    "Ages": {"shape": "FlatMap"},
                    "Plain": {"shape": "Strings"},
                    "Pairs": {"shape": "Map"},
                    "Inner": {"shape": "Inner"},
                },
            },
        },
    }
)


def rest(service: Any, name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters after botocore wrote them and we read them."""
    operation = service.operation(name)
    sent = create_serializer("rest-json", include_validation=False).serialize_to_request(params, operation)
    query = split_query(urlencode(sent["query_string"], doseq=True))
    body = sent["body"] if isinstance(sent["body"], bytes) else b""
    match = service.router.find(sent["method"], sent["url_path"].partition("?")[0], query)
    assert match is not None
    assert match.operation == name
    headers = {key.lower(): str(value) for key, value in sent["headers"].items()}
    return parse_rest(operation, HttpRequest(method="POST", path="", headers=headers, body=body), match.labels, query)


def own(name: str) -> OperationModel:
    """An operation of the model above."""
    return MODEL.operation_model(name)


def refusal(operation: OperationModel, body: bytes) -> ApiError:
    """The error that a body meets."""
    with pytest.raises(ApiError) as caught:
        parse_rest(operation, HttpRequest(method="POST", path="/x", body=body), {}, [])
    return caught.value


@given(
    name=st.from_regex(r"[a-zA-Z0-9-_]{1,64}", fullmatch=True),
    code=st.binary(max_size=200),
    variables=st.dictionaries(TEXT, TEXT, max_size=4),
    timeout=st.integers(-(2**31), 2**31 - 1),
    layers=st.lists(TEXT, max_size=3),
    publish=st.booleans(),
)
def test_rest_bodies(
    name: str, code: bytes, variables: dict[str, str], timeout: int, layers: list[str], publish: bool
) -> None:
    """A CreateFunction of botocore's arrives as it was given: blobs, maps, lists, numbers, any text."""
    params = {
        "FunctionName": name, "Role": "r", "Code": {"ZipFile": code}, "Environment": {"Variables": variables},
        "Timeout": timeout, "Layers": layers, "Publish": publish,
    }  # fmt: skip
    assert rest(LAMBDA, "CreateFunction", params) == params


@given(resource=TEXT.filter(bool), keys=st.lists(TEXT, min_size=1, max_size=4))
def test_rest_labels_and_query_lists(resource: str, keys: list[str]) -> None:
    """Any label and any repeated query field arrive as they were given."""
    params = {"Resource": resource, "TagKeys": keys}
    assert rest(LAMBDA, "UntagResource", params) == params


def test_rest_headers_payload_and_numbers_in_paths() -> None:
    """Headers, a streamed payload, and numbers in a path or a query become members."""
    invoke = {"FunctionName": "f", "InvocationType": "Event", "LogType": "Tail", "Qualifier": "1", "Payload": b"\x00{"}
    assert rest(LAMBDA, "Invoke", invoke) == invoke
    listed = {"LayerName": "l", "VersionNumber": 7}
    assert rest(LAMBDA, "GetLayerVersion", listed) == listed
    assert rest(LAMBDA, "ListFunctions", {"MaxItems": 9, "Marker": "a b&c"}) == {"MaxItems": 9, "Marker": "a b&c"}


def test_rest_header_maps_times_and_the_rest_of_the_query() -> None:
    """Header maps go by prefix, header times are HTTP dates, a query map takes what no member names."""
    headers = {"x-meta-a": "1", "x-meta-b-c": "2", "x-when": "Fri, 02 Jan 2026 03:04:05 GMT", "x-count": "4"}
    request = HttpRequest(method="POST", path="/x", headers=headers)
    params = parse_rest(own("Headers"), request, {}, [("key", "a"), ("other", "b"), ("key", "c")])
    assert params.pop("When").timestamp() == 1767323045
    assert params == {"Meta": {"a": "1", "b-c": "2"}, "Count": 4, "Keys": ["a", "c"], "Rest": {"other": "b"}}
    assert parse_rest(own("Headers"), HttpRequest(method="POST", path="/x"), {}, []) == {}


def test_rest_payload_members() -> None:
    """A payload member is the whole body: a document, or text as it is."""
    document = HttpRequest(method="POST", path="/x", body=b'{"A": 1}')
    assert parse_rest(own("Document"), document, {}, []) == {"Body": {"A": 1}}
    assert parse_rest(own("Text"), document, {}, []) == {"Body": '{"A": 1}'}
    assert parse_rest(own("Document"), HttpRequest(method="POST", path="/x"), {}, []) == {}


@pytest.mark.parametrize("body", [b"{", b"[1,", b'{"a": NaN}', b"\xff\xfe", b"{} x", b"[" * 5000])
def test_rest_bodies_that_are_not_json(body: bytes) -> None:
    """Malformed JSON is InvalidRequestContentException in Lambda's words."""
    error = refusal(LAMBDA.operation("CreateFunction"), body)
    assert (error.code, error.status) == ("InvalidRequestContentException", 400)
    assert error.message.startswith("Could not parse request body into json: ")


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b'{"Timeout": "3"}', b'{"Code": []}'])
def test_rest_bodies_of_wrong_types(body: bytes) -> None:
    """JSON that is not an object of the model's types is SerializationException."""
    assert refusal(LAMBDA.operation("CreateFunction"), body).code == "SerializationException"


def test_json_protocol() -> None:
    """The json protocol's body is the input; no body is an empty one, and anything else is refused."""
    put = LOGS.operation("PutLogEvents")
    params = {"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "é"}]}
    sent = create_serializer("json").serialize_to_request(params, put)
    assert parse_json(put, sent["body"]) == params
    assert parse_json(put, b"") == {}
    for body in (b"{", b"[]", b"null", b'{"logGroupName": 1}'):
        with pytest.raises(ApiError) as caught:
            parse_json(put, body)
        assert caught.value.code == "SerializationException"


@given(
    policies=st.lists(st.fixed_dictionaries({"arn": TEXT}), min_size=1, max_size=12),
    tags=st.lists(st.fixed_dictionaries({"Key": TEXT, "Value": TEXT}), min_size=1, max_size=3),
    seconds=st.integers(0, 10**6),
)
def test_query_protocol(policies: list[dict[str, str]], tags: list[dict[str, str]], seconds: int) -> None:
    """An AssumeRole of botocore's arrives as it was given, more than nine elements in their order included."""
    operation = STS.operation("AssumeRole")
    params = {"RoleArn": "r", "DurationSeconds": seconds, "PolicyArns": policies, "Tags": tags}
    sent = create_serializer("query", include_validation=False).serialize_to_request(params, operation)
    fields = split_query(urlencode(sent["body"]))
    assert ("Action", "AssumeRole") in fields
    assert parse_query(operation, fields) == params


def test_query_lists_and_maps_in_both_forms() -> None:
    """Flattened and wrapped lists and maps are read, and an empty list is one."""
    fields = {
        "Names.1": "a", "Names.2": "b", "Ages.1.key": "x", "Ages.1.value": "7", "Plain.member.2": "d",
        "Plain.member.1": "c", "Pairs.entry.1.key": "k", "Pairs.entry.1.value": "v", "Inner.A": "3", "Unknown.1": "u",
    }  # fmt: skip
    expected = {"Names": ["a", "b"], "Ages": {"x": 7}, "Plain": ["c", "d"], "Pairs": {"k": "v"}, "Inner": {"A": 3}}
    assert parse_query(own("Flat"), list(fields.items())) == expected
    assert parse_query(own("Flat"), [("Names", "")]) == {"Names": []}


@pytest.mark.parametrize(
    "fields",
    [
        [("Inner", "x")],
        [("Inner.A", "x")],
        [("Inner.A.B", "1")],
        [("Inner", "x"), ("Inner.A", "1")],
        [("Inner.A", "1"), ("Inner", "x")],
        [("Plain.member", "x")],
        [("." * 10_000, "x"), ("Inner.A", "y")],
    ],
)
def test_query_fields_that_make_no_sense(fields: list[tuple[str, str]]) -> None:
    """Fields of the wrong shape are SerializationException, never a failure of ours."""
    with pytest.raises(ApiError) as caught:
        parse_query(own("Flat"), fields)
    assert caught.value.code == "SerializationException"


def test_a_query_has_a_bound() -> None:
    """More fields than any real request has are refused before they are split."""
    with pytest.raises(ApiError) as caught:
        split_query("&".join(["a=1"] * 20_000))
    assert caught.value.code == "SerializationException"


@given(st.lists(st.tuples(st.text(st.sampled_from("ab.1member"), max_size=12), TEXT), max_size=8))
def test_any_form_is_read_or_refused(fields: list[tuple[str, str]]) -> None:
    """No field, however odd, makes the parser fail in any other way than by its own error."""
    # Any other exception than the parser's own fails this test.
    with contextlib.suppress(ApiError):
        parse_query(own("Flat"), [(f"{name}{key}", text) for key, text in fields for name in ("Names.", "Inner")])
