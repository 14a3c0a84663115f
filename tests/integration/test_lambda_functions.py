"""Functions by boto3 over HTTP: created, read, updated, deleted and listed, with the states and texts of Lambda."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
ROLE = "arn:aws:iam::000000000000:role/r"
ZipOf = Callable[[dict[str, str]], bytes]


def refused(call: Callable[[], Any]) -> tuple[str, int, str]:
    """Return code, status and message of what a call is refused with."""
    with pytest.raises(ClientError) as raised:
        call()
    answer = raised.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_create_answers_as_lambda_does(lambda_api: Any, zip_of: ZipOf) -> None:
    """A new function is pending, with every default and without what Lambda leaves out."""
    lambda_api.holding = True
    package = zip_of({"app.py": "x = 1"})
    made = lambda_api.create(active=False, Code={"ZipFile": package})
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 201
    uuid.UUID(made.pop("RevisionId"))
    assert made.pop("LastModified").endswith("+0000")
    assert made.pop("RuntimeVersionConfig")["RuntimeVersionArn"].startswith("arn:aws:lambda:us-east-1::runtime:")
    assert made == {
        "FunctionName": "f",
        "FunctionArn": ARN,
        "Runtime": "python3.13",
        "Role": ROLE,
        "Handler": "app.handler",
        "CodeSize": len(package),
        "CodeSha256": base64.b64encode(hashlib.sha256(package).digest()).decode(),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
    }


def test_code_location_downloads_the_package(lambda_api: Any, zip_of: ZipOf) -> None:
    """`Code.Location` is at the gateway that was asked and yields the very bytes; what it has not is a 404."""
    package = zip_of({"app.py": "y = 2"})
    lambda_api.create(Code={"ZipFile": package}, Tags={"team": "a"})
    found = lambda_api.client.get_function(FunctionName=ARN)
    assert found["Tags"] == {"team": "a"}
    assert "Concurrency" not in found
    assert found["Configuration"]["State"] == "Active"
    assert found["Configuration"]["LastUpdateStatus"] == "Successful"
    assert found["Code"]["RepositoryType"] == "S3"
    url = found["Code"]["Location"]
    assert url.startswith(f"http://127.0.0.1:{lambda_api.port}/_lambent/code/")
    with urllib.request.urlopen(url, timeout=5) as response:
        assert response.headers["Content-Type"] == "application/zip"
        assert response.read() == package
    for other in (url.replace(".zip", "0.zip"), url.rpartition("/")[0] + "/" + "0" * 64 + ".zip"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(other, timeout=5)


def test_the_older_waiters_work_too(lambda_api: Any) -> None:
    """`function_exists`, `function_active` and `function_updated` end once the function is prepared."""
    lambda_api.create(active=False)
    lambda_api.wait("function_exists")
    lambda_api.wait("function_active")
    lambda_api.client.update_function_configuration(FunctionName="f", Description="d")
    lambda_api.wait("function_updated")
    lambda_api.wait("function_updated_v2")


def test_failed_creation_says_why(lambda_api: Any) -> None:
    """A function that cannot be prepared is Failed with the reason, and new code gives it another chance."""
    lambda_api.refusals["f"] = "No matching distribution found for nonesuch"
    lambda_api.create(active=False)
    with pytest.raises(WaiterError):
        lambda_api.wait("function_active_v2")
    shown = lambda_api.client.get_function_configuration(FunctionName="f")
    assert (shown["State"], shown["StateReason"]) == ("Failed", "No matching distribution found for nonesuch")
    lambda_api.refusals.clear()
    lambda_api.client.update_function_configuration(FunctionName="f", Timeout=5)
    lambda_api.wait("function_active_v2")


def test_failed_update_keeps_what_was_deployed(lambda_api: Any, zip_of: ZipOf) -> None:
    """An update that cannot be prepared leaves the function active, and says so in LastUpdateStatus."""
    lambda_api.create()
    lambda_api.refusals["f"] = "broken"
    lambda_api.client.update_function_code(FunctionName="f", ZipFile=zip_of({"app.py": "worse"}))
    with pytest.raises(WaiterError):
        lambda_api.wait("function_updated_v2")
    shown = lambda_api.client.get_function_configuration(FunctionName="f")
    assert shown["State"] == "Active"
    assert (shown["LastUpdateStatus"], shown["LastUpdateStatusReason"]) == ("Failed", "broken")


def test_update_code_goes_through_in_progress(lambda_api: Any, zip_of: ZipOf) -> None:
    """New code is InProgress at first and stays Active; meanwhile no other update passes."""
    before = lambda_api.create()
    lambda_api.holding = True
    client = lambda_api.client
    code = zip_of({"app.py": "z = 3"})
    updated = client.update_function_code(FunctionName="f", ZipFile=code)
    assert (updated["State"], updated["LastUpdateStatus"]) == ("Active", "InProgress")
    assert updated["LastUpdateStatusReasonCode"] == "Creating"
    assert updated["CodeSha256"] != before["CodeSha256"]
    assert updated["RevisionId"] != before["RevisionId"]
    busy = f"The operation cannot be performed at this time. An update is in progress for resource: {ARN}"
    for call in (
        lambda: client.update_function_code(FunctionName="f", ZipFile=code),
        lambda: client.update_function_configuration(FunctionName="f", Timeout=9),
        lambda: client.publish_version(FunctionName="f"),
    ):
        assert refused(call) == ("ResourceConflictException", 409, busy)
    lambda_api.holding = False
    lambda_api.wait("function_updated_v2")
    shown = client.get_function_configuration(FunctionName="f")
    assert shown["LastUpdateStatus"] == "Successful"
    assert "LastUpdateStatusReason" not in shown


def test_nothing_is_updated_while_pending(lambda_api: Any, zip_of: ZipOf) -> None:
    """A function that is being created refuses updates, and can be deleted."""
    lambda_api.holding = True
    lambda_api.create(active=False)
    client = lambda_api.client
    code, status, message = refused(lambda: client.update_function_code(FunctionName="f", ZipFile=zip_of({"a": ""})))
    assert (code, status) == ("ResourceConflictException", 409)
    assert message.endswith("The function is currently in the following state: Pending")
    client.delete_function(FunctionName="f")


def test_dry_run_changes_nothing(lambda_api: Any, zip_of: ZipOf) -> None:
    """A dry run judges the package, shows what would be, and deploys nothing."""
    made = lambda_api.create()
    client = lambda_api.client
    tried = client.update_function_code(FunctionName="f", ZipFile=zip_of({"app.py": "other"}), DryRun=True)
    assert tried["CodeSha256"] != made["CodeSha256"]
    shown = client.get_function_configuration(FunctionName="f")
    assert (shown["CodeSha256"], shown["LastUpdateStatus"]) == (made["CodeSha256"], "Successful")
    bad = refused(lambda: client.update_function_code(FunctionName="f", ZipFile=b"no zip", DryRun=True))
    assert bad[0] == "InvalidParameterValueException"


def test_update_with_publish_makes_a_version(lambda_api: Any, zip_of: ZipOf) -> None:
    """`Publish` answers with the new version, which becomes active with `$LATEST`."""
    lambda_api.create()
    client = lambda_api.client
    shown = client.update_function_code(FunctionName="f", ZipFile=zip_of({"app.py": "p"}), Publish=True)
    assert (shown["Version"], shown["FunctionArn"]) == ("1", f"{ARN}:1")
    lambda_api.wait("function_active_v2", Qualifier="1")


def test_stale_revision_is_refused(lambda_api: Any) -> None:
    """A RevisionId that is not the current one stops an update."""
    made = lambda_api.create()
    client = lambda_api.client
    code, status, message = refused(
        lambda: client.update_function_configuration(FunctionName="f", Timeout=9, RevisionId=made["RevisionId"])
    )
    assert (code, status) == ("PreconditionFailedException", 412)
    assert message.startswith("The Revision Id provided does not match the latest Revision Id.")
    current = client.get_function_configuration(FunctionName="f")["RevisionId"]
    client.update_function_configuration(FunctionName="f", Timeout=9, RevisionId=current)


def test_configuration_update_keeps_what_is_not_given(lambda_api: Any) -> None:
    """Only what a request names changes; an empty environment takes the variables away."""
    lambda_api.create(Environment={"Variables": {"AB": "1"}}, TracingConfig={"Mode": "Active"}, MemorySize=256)
    client = lambda_api.client
    shown = client.update_function_configuration(FunctionName="f", Timeout=9, EphemeralStorage={"Size": 1024})
    assert (shown["Timeout"], shown["MemorySize"], shown["EphemeralStorage"]) == (9, 256, {"Size": 1024})
    assert shown["Environment"] == {"Variables": {"AB": "1"}}
    assert shown["TracingConfig"] == {"Mode": "Active"}
    lambda_api.wait("function_updated_v2")
    assert "Environment" not in client.update_function_configuration(FunctionName="f", Environment={"Variables": {}})


def test_hot_reload_takes_a_folder(lambda_api: Any) -> None:
    """The bucket `hot-reload` stands for folders of the machine; other buckets and relative paths are refused."""
    lambda_api.create(Code={"S3Bucket": "hot-reload", "S3Key": "/srv/app"})
    found = lambda_api.client.get_function(FunctionName="f")
    assert found["Configuration"]["CodeSize"] == 0
    assert found["Code"]["Location"] == "file:///srv/app"
    for bucket, key in (("hot-reload", "srv/app"), ("hot-reload", "/srv/../etc"), ("elsewhere", "a.zip")):
        code = {"S3Bucket": bucket, "S3Key": key}
        assert refused(lambda code=code: lambda_api.create("g", Code=code))[0] == "InvalidParameterValueException"


BAD_CREATIONS = {
    "runtime": ({"Runtime": "python2.7"}, "Value python2.7 at 'runtime' failed to satisfy constraint: Member must"),
    "no runtime's name": ({"Runtime": "cobol"}, "Value cobol at 'runtime' failed to satisfy constraint: Member must"),
    "no zip": ({"Code": {"ZipFile": b"abc"}}, "Could not unzip uploaded file. Please check your file, then try to upl"),
    "empty": ({"Code": {"ZipFile": b""}}, "Uploaded file must be a non-empty zip"),
    "no code": ({"Code": {}}, "Please provide a source for function code."),
    "image": ({"Code": {"ImageUri": "x:1"}, "PackageType": "Image"}, "Container images are not served yet"),
    "layers": ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]}, "Layers are not served yet"),
    "dead letters": (
        {"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"}},
        "The dead letter target arn:aws:sqs:us-east-1:000000000000:q is invalid: the queue does not exist.",
    ),
    "reserved variable": (
        {"Environment": {"Variables": {"AWS_REGION": "x", "LAMBDA_TASK_ROOT": "y"}}},
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
        " contains reserved keys that are currently not supported for modification. Reserved keys used in this request:"
        " AWS_REGION, LAMBDA_TASK_ROOT",
    ),
    "long variables": (
        {"Environment": {"Variables": {"AB": "x" * 5000}}},
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
        ' exceeded the 4KB limit. String measured: {"AB":"xxx',
    ),
}


@pytest.mark.parametrize("case", BAD_CREATIONS)
def test_unacceptable_parameters_are_refused(lambda_api: Any, case: str) -> None:
    """What the model allows and Lambda does not is an InvalidParameterValueException in Lambda's words."""
    more, text = BAD_CREATIONS[case]
    code, status, message = refused(lambda: lambda_api.create(**more))
    assert (code, status) == ("InvalidParameterValueException", 400)
    assert message.startswith(text)
    assert lambda_api.client.list_functions()["Functions"] == []


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"Timeout": 901}, "Value '901' at 'timeout' failed to satisfy constraint: Member must have value less than"),
        ({"MemorySize": 20000}, "Value '20000' at 'memorySize' failed to satisfy constraint: Member must have value"),
        ({"EphemeralStorage": {"Size": 20000}}, "Value '20000' at 'ephemeralStorage.size' failed to satisfy"),
        ({"FunctionName": "x" * 65}, "Value '" + "x" * 65 + "' at 'functionName' failed to satisfy"),
    ],
)
def test_lambdas_own_limits_hold_where_the_model_allows_more(lambda_api: Any, more: dict[str, Any], text: str) -> None:
    """The model's ranges are wider than what functions of this kind get."""
    name = more.pop("FunctionName", "f")
    code, status, message = refused(lambda: lambda_api.create(name, **more))
    assert (code, status) == ("ValidationException", 400)
    assert message.startswith(f"1 validation error detected: {text}")


def test_a_name_is_taken_once(lambda_api: Any) -> None:
    """A second creation under the same name is a conflict."""
    lambda_api.create()
    assert refused(lambda: lambda_api.create()) == ("ResourceConflictException", 409, "Function already exist: f")


def test_what_does_not_exist_is_not_found(lambda_api: Any) -> None:
    """Functions, versions and aliases that are not there are named by their ARN."""
    client = lambda_api.client
    missing = ("ResourceNotFoundException", 404)
    for call in (client.get_function, client.get_function_configuration, client.delete_function):
        assert refused(lambda call=call: call(FunctionName="f")) == (*missing, f"Function not found: {ARN}")
    lambda_api.create()
    for qualifier in ("7", "nobody"):
        answer = refused(lambda qualifier=qualifier: client.get_function(FunctionName="f", Qualifier=qualifier))
        assert answer == (*missing, f"Function not found: {ARN}:{qualifier}")


def test_qualifiers_of_name_and_parameter_must_agree(lambda_api: Any) -> None:
    """A qualified name and another Qualifier do not go together."""
    lambda_api.create()
    code, _, message = refused(lambda: lambda_api.client.get_function(FunctionName="f:$LATEST", Qualifier="1"))
    assert code == "InvalidParameterValueException"
    assert message == "The derived qualifier from the function name does not match the specified qualifier."
    shown = lambda_api.client.get_function_configuration(FunctionName="f:$LATEST", Qualifier="$LATEST")
    assert shown["FunctionArn"] == f"{ARN}:$LATEST"


def test_delete_takes_everything(lambda_api: Any) -> None:
    """After a deletion nothing is left, and the name can be used again with a clean slate."""
    lambda_api.create(Publish=True)
    client = lambda_api.client
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=900)
    client.create_function_url_config(FunctionName="f", AuthType="NONE")
    answer = client.delete_function(FunctionName="f")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(lambda: client.get_function(FunctionName="f"))[0] == "ResourceNotFoundException"
    assert client.get_account_settings()["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    lambda_api.create()
    assert len(client.list_versions_by_function(FunctionName="f")["Versions"]) == 1
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="f")
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=900)


def test_delete_of_qualifiers(lambda_api: Any) -> None:
    """A version goes alone, unless an alias needs it; `$LATEST` and aliases cannot be deleted this way."""
    lambda_api.create(Publish=True)
    client = lambda_api.client
    client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    assert refused(lambda: client.delete_function(FunctionName="f", Qualifier="1")) == (
        "ResourceConflictException",
        409,
        "Unable to delete version because the following aliases reference it: [live]",
    )
    for qualifier, text in (
        ("$LATEST", "$LATEST version cannot be deleted without deleting the function."),
        ("live", "Deletion of aliases is not currently supported."),
    ):
        answer = refused(lambda qualifier=qualifier: client.delete_function(FunctionName="f", Qualifier=qualifier))
        assert answer == ("InvalidParameterValueException", 400, text)
    client.delete_alias(FunctionName="f", Name="live")
    client.delete_function(FunctionName="f", Qualifier="1")
    client.delete_function(FunctionName="f", Qualifier="1")
    assert [v["Version"] for v in client.list_versions_by_function(FunctionName="f")["Versions"]] == ["$LATEST"]


def test_list_pages_by_name(lambda_api: Any) -> None:
    """Lists go by name in pages, without states; the region and its neighbours stay apart."""
    names = [f"fn-{letter}" for letter in "cabed"]
    for name in names:
        lambda_api.create(name)
    client = lambda_api.client
    first = client.list_functions(MaxItems=2)
    assert [f["FunctionName"] for f in first["Functions"]] == ["fn-a", "fn-b"]
    assert not {"State", "LastUpdateStatus", "RuntimeVersionConfig"} & first["Functions"][0].keys()
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    assert [f["FunctionName"] for p in pages for f in p["Functions"]] == sorted(names)
    assert "NextMarker" not in client.list_functions(MaxItems=5)
    assert refused(lambda: client.list_functions(Marker="!!"))[0] == "InvalidParameterValueException"


def test_list_of_all_versions_pages_through_every_one(lambda_api: Any) -> None:
    """With `ALL`, every version of every function is listed once, whatever the size of a page."""
    for name in ("a", "b"):
        lambda_api.create(name, Publish=True)
    lambda_api.create("c")
    client = lambda_api.client
    expected = ["a:$LATEST", "a:1", "b:$LATEST", "b:1", "c:$LATEST"]
    for size in (1, 2, 3, 5, 50):
        pages = client.get_paginator("list_functions").paginate(
            FunctionVersion="ALL", PaginationConfig={"PageSize": size}
        )
        arns = [f["FunctionArn"] for p in pages for f in p["Functions"]]
        assert [arn.partition("function:")[2] for arn in arns] == expected


def test_account_settings_count_what_is_there(lambda_api: Any) -> None:
    """Usage is what functions and their versions really take; unreserved concurrency is what is left."""
    made = lambda_api.create(Publish=True)
    client = lambda_api.client
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=30)
    settings = client.get_account_settings()
    assert settings["AccountUsage"] == {"TotalCodeSize": 2 * made["CodeSize"], "FunctionCount": 1}
    assert settings["AccountLimit"]["ConcurrentExecutions"] == 1000
    assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 970
    assert settings["AccountLimit"]["CodeSizeZipped"] == 52_428_800


def test_code_signing_is_answered_for_a_function_without_one(lambda_api: Any) -> None:
    """Terraform asks this of every zip function and takes an empty ARN for none."""
    lambda_api.create()
    answer = lambda_api.client.get_function_code_signing_config(FunctionName="f")
    assert (answer["CodeSigningConfigArn"], answer["FunctionName"]) == ("", "f")


def test_errors_travel_as_lambda_sends_them(lambda_api: Any) -> None:
    """The error's name is a header, and the body has `Type` and the message under the model's own key."""
    url = f"http://127.0.0.1:{lambda_api.port}/2015-03-31/functions/f"
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(url, timeout=5)
    assert raised.value.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert json.load(io.BytesIO(raised.value.read())) == {"Type": "User", "Message": f"Function not found: {ARN}"}
