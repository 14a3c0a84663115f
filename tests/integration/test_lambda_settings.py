"""Versions, aliases, tags, policies, concurrency, URLs and settings of asynchronous calls, by boto3 over HTTP."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

FN = "arn:aws:lambda:us-east-1:000000000000:function"
ARN = f"{FN}:f"
ZipOf = Callable[[dict[str, str]], bytes]


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """Return code and message of what a call is refused with."""
    with pytest.raises(ClientError) as raised:
        call()
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


def redeploy(lambda_api: Any, **more: Any) -> dict[str, Any]:
    """Change the configuration and publish a version."""
    client = lambda_api.client
    client.update_function_configuration(FunctionName="f", **more)
    lambda_api.wait("function_updated_v2")
    published: dict[str, Any] = client.publish_version(FunctionName="f")
    return published


@pytest.fixture
def client(lambda_api: Any) -> Any:
    """A client of a platform with the function f, whose version 1 is published."""
    lambda_api.create(Publish=True)
    return lambda_api.client


# Versions


def test_publish_only_what_changed(lambda_api: Any, client: Any) -> None:
    """Publishing again without a change returns the last version; a changed description makes a new one."""
    again = client.publish_version(FunctionName="f", Description="ignored")
    assert (again["Version"], again["FunctionArn"], again["State"]) == ("1", f"{ARN}:1", "Active")
    assert redeploy(lambda_api, Description="second")["Version"] == "2"
    redeploy(lambda_api, Description="third")
    client.delete_function(FunctionName="f", Qualifier="3")
    assert redeploy(lambda_api, Description="fourth")["Version"] == "4"


def test_published_versions_do_not_change(lambda_api: Any, client: Any) -> None:
    """An update of `$LATEST` leaves a version as it was."""
    redeploy(lambda_api, Timeout=11)
    assert client.get_function_configuration(FunctionName="f", Qualifier="1")["Timeout"] == 3
    assert client.get_function_configuration(FunctionName="f", Qualifier="2")["Timeout"] == 11


def test_publish_checks_hash_and_revision(client: Any) -> None:
    """A CodeSha256 or a RevisionId of another state stops it."""
    sha = client.get_function_configuration(FunctionName="f")["CodeSha256"]
    code, message = refused(lambda: client.publish_version(FunctionName="f", CodeSha256="other"))
    assert code == "InvalidParameterValueException"
    assert message.startswith(f"CodeSHA256 (other) is different from current CodeSHA256 in $LATEST ({sha}).")
    assert refused(lambda: client.publish_version(FunctionName="f", RevisionId="x"))[0] == "PreconditionFailedException"


def test_versions_list_from_latest_to_newest(lambda_api: Any, client: Any) -> None:
    """`$LATEST` is first and the newest last, also past nine; Terraform's page size is taken."""
    for number in range(2, 12):
        redeploy(lambda_api, Description=f"d{number}")
    listed = client.list_versions_by_function(FunctionName="f", MaxItems=10000)
    assert [v["Version"] for v in listed["Versions"]] == ["$LATEST", *map(str, range(1, 12))]
    assert listed["Versions"][0]["FunctionArn"] == f"{ARN}:$LATEST"
    assert "NextMarker" not in listed
    pages = client.get_paginator("list_versions_by_function").paginate(
        FunctionName="f", PaginationConfig={"PageSize": 1}
    )
    assert [v["Version"] for p in pages for v in p["Versions"]] == ["$LATEST", *map(str, range(1, 12))]


# Aliases


def test_alias_lifecycle(lambda_api: Any, client: Any) -> None:
    """An alias is made, read, pointed elsewhere with a weight, and deleted."""
    redeploy(lambda_api, Description="second")
    made = client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["AliasArn"] == f"{ARN}:live"
    assert made["Description"] == ""
    assert "RoutingConfig" not in made
    weighted = client.update_alias(
        FunctionName="f", Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.2}}, Description="d"
    )
    assert weighted["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 0.2}}
    assert weighted["RevisionId"] != made["RevisionId"]
    assert client.get_alias(FunctionName="f", Name="live")["Description"] == "d"
    cleared = client.update_alias(FunctionName="f", Name="live", FunctionVersion="2", RoutingConfig={})
    assert "RoutingConfig" not in cleared
    shown = client.get_function_configuration(FunctionName="f", Qualifier="live")
    assert (shown["FunctionArn"], shown["Version"]) == (f"{ARN}:live", "2")
    assert client.delete_alias(FunctionName="f", Name="live")["ResponseMetadata"]["HTTPStatusCode"] == 204
    code, message = refused(lambda: client.get_alias(FunctionName="f", Name="live"))
    assert (code, message) == ("ResourceNotFoundException", f"Cannot find alias arn: {ARN}:live")


def test_aliases_list_by_version(lambda_api: Any, client: Any) -> None:
    """Aliases are listed by name, all or those of one version, in pages."""
    redeploy(lambda_api, Description="second")
    for name, version in (("b", "1"), ("a", "2"), ("c", "1")):
        client.create_alias(FunctionName="f", Name=name, FunctionVersion=version)
    pages = client.get_paginator("list_aliases").paginate(FunctionName="f", PaginationConfig={"PageSize": 2})
    assert [a["Name"] for p in pages for a in p["Aliases"]] == ["a", "b", "c"]
    listed = client.list_aliases(FunctionName="f", FunctionVersion="1")["Aliases"]
    assert [a["Name"] for a in listed] == ["b", "c"]


@pytest.mark.parametrize(
    ("version", "weights", "code", "text"),
    [
        ("9", {}, "ResourceNotFoundException", f"Function not found: {ARN}:9"),
        ("1", {"9": 0.1}, "ResourceNotFoundException", f"Function not found: {ARN}:9"),
        (
            "1",
            {"1": 0.1},
            "InvalidParameterValueException",
            "Invalid function version 1. Function version 1 is already",
        ),
        ("1", {"2": 0.1, "3": 0.1}, "InvalidParameterValueException", "Number of items in AdditionalVersionWeights"),
        ("$LATEST", {"1": 0.1}, "InvalidParameterValueException", "$LATEST is not supported for an alias pointing"),
        ("1", {"2": 1.5}, "ValidationException", "1 validation error detected"),
    ],
)
def test_aliases_that_make_no_sense(client: Any, version: str, weights: dict[str, float], code: str, text: str) -> None:
    """Versions that are not there and weights that cannot be are refused."""
    routing = {"AdditionalVersionWeights": weights}
    answer = refused(
        lambda: client.create_alias(FunctionName="f", Name="a", FunctionVersion=version, RoutingConfig=routing)
    )
    assert answer[0] == code
    assert answer[1].startswith(text)


def test_alias_names_are_taken_once_and_revisions_checked(client: Any) -> None:
    """A second alias of a name is a conflict, and a stale RevisionId stops an update."""
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="$LATEST")
    assert refused(lambda: client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")) == (
        "ResourceConflictException",
        f"Alias already exists: {ARN}:live",
    )
    stale = refused(lambda: client.update_alias(FunctionName="f", Name="live", FunctionVersion="1", RevisionId="x"))
    assert stale[0] == "PreconditionFailedException"


# Tags


def test_tags(client: Any) -> None:
    """Tags are added, changed, shown and taken away, and change the RevisionId."""
    before = client.get_function_configuration(FunctionName="f")["RevisionId"]
    client.tag_resource(Resource=ARN, Tags={"a": "1", "b": "2"})
    client.tag_resource(Resource=ARN, Tags={"b": "3", "c": "4"})
    assert client.get_function(FunctionName="f")["Tags"] == {"a": "1", "b": "3", "c": "4"}
    client.untag_resource(Resource=ARN, TagKeys=["a", "c", "none"])
    assert client.list_tags(Resource=ARN)["Tags"] == {"b": "3"}
    client.untag_resource(Resource=ARN, TagKeys=["b"])
    assert client.list_tags(Resource=ARN)["Tags"] == {}
    assert client.get_function_configuration(FunctionName="f")["RevisionId"] != before


def test_tags_that_cannot_be(client: Any) -> None:
    """Only functions have tags, at most fifty, and none of AWS's own."""
    invalid = "InvalidParameterValueException"
    assert refused(lambda: client.tag_resource(Resource=f"{ARN}:1", Tags={"a": "1"}))[0] == invalid
    assert refused(lambda: client.tag_resource(Resource=ARN, Tags={"aws:x": "1"}))[0] == invalid
    many = {f"k{n}": "v" for n in range(51)}
    assert refused(lambda: client.tag_resource(Resource=ARN, Tags=many)) == (
        invalid,
        "Number of tags exceeds resource tag limit.",
    )
    assert refused(lambda: client.list_tags(Resource=f"{FN}:none"))[0] == "ResourceNotFoundException"


# Policies


def test_policy_statements_are_lambdas(client: Any) -> None:
    """A statement has Lambda's form, and the policy holds it until it is removed."""
    added = client.add_permission(
        FunctionName="f",
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::bucket",
        SourceAccount="111111111111",
    )
    statement = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": ARN,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": "111111111111"},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
        },
    }
    assert json.loads(added["Statement"]) == statement
    policy = client.get_policy(FunctionName="f")
    assert json.loads(policy["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [statement]}
    client.remove_permission(FunctionName="f", StatementId="s3", RevisionId=policy["RevisionId"])
    assert refused(lambda: client.get_policy(FunctionName="f")) == (
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    )


@pytest.mark.parametrize(
    ("principal", "shown"),
    [
        ("*", "*"),
        ("222222222222", {"AWS": "arn:aws:iam::222222222222:root"}),
        ("arn:aws:iam::222222222222:role/r", {"AWS": "arn:aws:iam::222222222222:role/r"}),
    ],
)
def test_principals(client: Any, principal: str, shown: Any) -> None:
    """Accounts, roles and everybody are written as in IAM; a qualifier has a policy of its own."""
    added = client.add_permission(
        FunctionName="f", Qualifier="1", StatementId="s", Action="lambda:*", Principal=principal,
        FunctionUrlAuthType="NONE",
    )  # fmt: skip
    statement = json.loads(added["Statement"])
    assert statement["Principal"] == shown
    assert statement["Resource"] == f"{ARN}:1"
    assert statement["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}
    assert refused(lambda: client.get_policy(FunctionName="f"))[0] == "ResourceNotFoundException"


def test_policies_that_cannot_be(client: Any) -> None:
    """Taken ids, unknown principals and qualifiers, and `$LATEST` are refused in Lambda's words."""

    def add(**more: Any) -> Any:
        given = {"FunctionName": "f", "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"}
        return client.add_permission(**{**given, **more})

    add()
    assert refused(add)[1].startswith("The statement id (s) provided already exists.")
    assert refused(lambda: add(Principal="nobody.example.com"))[1].startswith("The provided principal was invalid.")
    assert refused(lambda: add(Qualifier="$LATEST"))[1] == "We currently do not support adding policies for $LATEST."
    assert refused(lambda: add(Qualifier="none"))[1] == f"Cannot find alias arn: {ARN}:none"
    assert refused(lambda: add(Qualifier="9"))[1] == f"Function not found: {ARN}:9"
    assert refused(lambda: add(StatementId="t", RevisionId="x"))[0] == "PreconditionFailedException"
    assert (
        refused(lambda: client.remove_permission(FunctionName="f", StatementId="t"))[0] == "ResourceNotFoundException"
    )


# Concurrency


def test_concurrency_leaves_a_hundred(lambda_api: Any, client: Any) -> None:
    """Functions may reserve 900 of 1000 together; what one gives back another may have."""
    lambda_api.create("g")
    put = client.put_function_concurrency
    assert put(FunctionName="f", ReservedConcurrentExecutions=600)["ReservedConcurrentExecutions"] == 600
    code, message = refused(lambda: put(FunctionName="g", ReservedConcurrentExecutions=301))
    assert code == "InvalidParameterValueException"
    assert message.endswith("below its minimum value of [100].")
    put(FunctionName="f", ReservedConcurrentExecutions=599)
    put(FunctionName="g", ReservedConcurrentExecutions=301)
    assert client.get_function(FunctionName="g")["Concurrency"] == {"ReservedConcurrentExecutions": 301}
    assert client.get_function_concurrency(FunctionName="g:$LATEST")["ReservedConcurrentExecutions"] == 301
    client.delete_function_concurrency(FunctionName="f")
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="f")
    put(FunctionName="g", ReservedConcurrentExecutions=0)
    assert client.get_function(FunctionName="g")["Concurrency"] == {"ReservedConcurrentExecutions": 0}
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 1000


# Function URLs


def test_url_config_lifecycle(lambda_api: Any, client: Any) -> None:
    """A URL is made for the port that was asked, kept through updates, listed and taken away."""
    cors = {"AllowOrigins": ["*"], "AllowMethods": ["GET"], "MaxAge": 60}
    made = client.create_function_url_config(FunctionName="f", AuthType="NONE", Cors=cors)
    assert re.fullmatch(
        rf"http://[a-z0-9]{{32}}\.lambda-url\.us-east-1\.localhost:{lambda_api.port}/", made["FunctionUrl"]
    )
    assert (made["FunctionArn"], made["AuthType"], made["Cors"]) == (ARN, "NONE", cors)
    assert made["InvokeMode"] == "BUFFERED"
    assert "LastModifiedTime" not in made
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    other = client.create_function_url_config(FunctionName="f", Qualifier="live", AuthType="NONE")
    assert (other["FunctionArn"], other["FunctionUrl"] != made["FunctionUrl"]) == (f"{ARN}:live", True)
    assert "Cors" not in other
    updated = client.update_function_url_config(FunctionName="f", Cors={"AllowOrigins": ["http://a.example"]})
    assert updated["FunctionUrl"] == made["FunctionUrl"]
    got = client.get_function_url_config(FunctionName="f")
    assert got["Cors"] == {"AllowOrigins": ["http://a.example"]}
    assert got["CreationTime"] == made["CreationTime"] <= got["LastModifiedTime"]
    listed = client.list_function_url_configs(FunctionName="f")["FunctionUrlConfigs"]
    assert {one["FunctionArn"] for one in listed} == {ARN, f"{ARN}:live"}
    client.delete_function_url_config(FunctionName="f")
    client.delete_alias(FunctionName="f", Name="live")
    assert client.list_function_url_configs(FunctionName="f")["FunctionUrlConfigs"] == []
    assert refused(lambda: client.get_function_url_config(FunctionName="f")) == (
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    )


def test_url_follows_the_name_that_was_asked(lambda_api: Any, client: Any) -> None:
    """Who comes by a name gets a URL below that name."""
    client.create_function_url_config(FunctionName="f", AuthType="NONE")
    request = urllib.request.Request(
        f"http://127.0.0.1:{lambda_api.port}/2021-10-31/functions/f/url", headers={"Host": "faas.example:8080"}
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        assert json.load(response)["FunctionUrl"].endswith(".lambda-url.us-east-1.faas.example:8080/")


def test_urls_that_cannot_be(client: Any) -> None:
    """A second URL, one for nothing and one with signatures are refused."""
    create = client.create_function_url_config
    code, message = refused(lambda: create(FunctionName="f", AuthType="AWS_IAM"))
    assert code == "InvalidParameterValueException"
    assert "not served yet" in message
    missing = ("ResourceNotFoundException", "Function does not exist")
    assert refused(lambda: create(FunctionName="none", AuthType="NONE")) == missing
    assert refused(lambda: create(FunctionName="f", Qualifier="none", AuthType="NONE")) == missing
    create(FunctionName="f", AuthType="NONE")
    code, message = refused(lambda: create(FunctionName="f", AuthType="NONE"))
    assert code == "ResourceConflictException"
    assert message.startswith(f"Failed to create function url config for [functionArn = {ARN}].")


# Settings of asynchronous calls


def test_event_invoke_config_lifecycle(lambda_api: Any, client: Any) -> None:
    """Settings are put, merged by an update, listed for every qualifier, and taken away."""
    lambda_api.create("g")
    destinations = {"OnFailure": {"Destination": f"{FN}:g"}}
    put = client.put_function_event_invoke_config(
        FunctionName="f", MaximumRetryAttempts=1, DestinationConfig=destinations
    )
    assert put["FunctionArn"] == f"{ARN}:$LATEST"
    assert put["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": f"{FN}:g"}}
    assert "MaximumEventAgeInSeconds" not in put
    assert put["LastModified"].year >= 2024
    merged = client.update_function_event_invoke_config(FunctionName="f", MaximumEventAgeInSeconds=60)
    assert (merged["MaximumRetryAttempts"], merged["MaximumEventAgeInSeconds"]) == (1, 60)
    assert merged["DestinationConfig"]["OnFailure"] == {"Destination": f"{FN}:g"}
    client.put_function_event_invoke_config(FunctionName="f", Qualifier="1", MaximumRetryAttempts=0)
    listed = client.list_function_event_invoke_configs(FunctionName="f")["FunctionEventInvokeConfigs"]
    assert [one["FunctionArn"] for one in listed] == [f"{ARN}:$LATEST", f"{ARN}:1"]
    again = client.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=0)
    assert "MaximumEventAgeInSeconds" not in again
    client.delete_function_event_invoke_config(FunctionName="f")
    assert refused(lambda: client.get_function_event_invoke_config(FunctionName="f")) == (
        "ResourceNotFoundException",
        f"The function {ARN}:$LATEST doesn't have an EventInvokeConfig",
    )


def test_event_invoke_configs_of_nothing(client: Any) -> None:
    """Without a setting, or for a function or qualifier that is not there, there is nothing to put."""
    put = client.put_function_event_invoke_config
    assert refused(lambda: put(FunctionName="f"))[1].startswith("You must specify at least one of error handling")
    missing = ("ResourceNotFoundException", "The function doesn't exist.")
    assert refused(lambda: put(FunctionName="none", MaximumRetryAttempts=1)) == missing
    assert refused(lambda: put(FunctionName="f", Qualifier="none", MaximumRetryAttempts=1)) == missing
