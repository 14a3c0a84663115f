"""The operations on event source mappings, by boto3 over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambent_platform.contracts.queues import QueueRecord

ACCOUNT = "000000000000"
FN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def arn(name: str) -> str:
    """The ARN of a queue."""
    return f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """Return code and message of what a call is refused with."""
    with pytest.raises(ClientError) as raised:
        call()
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


def settled(client: Any, uuid: str) -> dict[str, Any] | None:
    """Wait until a mapping is what it was asked to be; None where it is gone."""
    deadline = time.monotonic() + 5
    while True:
        try:
            found: dict[str, Any] = client.get_event_source_mapping(UUID=uuid)
        except client.exceptions.ResourceNotFoundException:
            return None
        if found["State"] in ("Enabled", "Disabled"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


@pytest.fixture
def client(lambda_api: Any) -> Any:
    """A client of a platform with the functions f (version 1, alias live) and g, and some queues."""
    names = ("q", "r", "f.fifo")
    lambda_api.queues += [
        QueueRecord(
            account=ACCOUNT, region="us-east-1", name=name, attributes={"FifoQueue": "true"} if "." in name else {}
        )
        for name in names
    ]
    lambda_api.create(Publish=True)
    lambda_api.create("g")
    lambda_api.client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    return lambda_api.client


def test_a_mappings_life(client: Any) -> None:
    """It is Creating, then Enabled; Updating, then Disabled; Deleting, then gone."""
    made = client.create_event_source_mapping(EventSourceArn=arn("q"), FunctionName="f", Tags={"team": "a"})
    uuid = made["UUID"]
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    del made["ResponseMetadata"]
    assert abs(made.pop("LastModified").timestamp() - time.time()) < 30
    assert made == {
        "UUID": uuid,
        "EventSourceMappingArn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:event-source-mapping:{uuid}",
        "EventSourceArn": arn("q"),
        "FunctionArn": f"{FN}:f",
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
        "LastProcessingResult": "No records processed",
    }
    found = settled(client, uuid)
    assert found is not None
    assert found["State"] == "Enabled"

    given = {
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 5,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 7},
        "FilterCriteria": {"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]},
        "FunctionName": "g",
    }
    updated = client.update_event_source_mapping(UUID=uuid, Enabled=False, **given)
    assert updated["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert updated["State"] == "Updating"
    found = settled(client, uuid)
    assert found is not None
    assert (found["State"], found["FunctionArn"]) == ("Disabled", f"{FN}:g")
    assert {name: found[name] for name in given if name != "FunctionName"} == {
        name: value for name, value in given.items() if name != "FunctionName"
    }

    deleted = client.delete_event_source_mapping(UUID=uuid)
    assert (deleted["ResponseMetadata"]["HTTPStatusCode"], deleted["State"]) == (202, "Deleting")
    while settled(client, uuid) is not None:
        time.sleep(0.01)
    code, message = refused(lambda: client.delete_event_source_mapping(UUID=uuid))
    assert (code, message) == ("ResourceNotFoundException", "The resource you requested does not exist.")


def test_made_disabled(client: Any) -> None:
    """With Enabled=False a mapping becomes Disabled."""
    made = client.create_event_source_mapping(EventSourceArn=arn("q"), FunctionName="f", Enabled=False)
    assert made["State"] == "Creating"
    found = settled(client, made["UUID"])
    assert found is not None
    assert found["State"] == "Disabled"


def test_what_is_on_its_way_is_in_use(client: Any, lambda_api: Any) -> None:
    """A mapping that is being made can be neither changed nor deleted."""
    lambda_api.holding = True
    uuid = client.create_event_source_mapping(EventSourceArn=arn("q"), FunctionName="f")["UUID"]
    code, message = refused(lambda: client.update_event_source_mapping(UUID=uuid, BatchSize=1))
    assert (code, message) == ("ResourceInUseException", "Cannot update the event source mapping because it is in use.")
    code, message = refused(lambda: client.delete_event_source_mapping(UUID=uuid))
    assert (code, message) == ("ResourceInUseException", "Cannot delete the event source mapping because it is in use.")


def test_a_pair_has_one_mapping(client: Any) -> None:
    """The same queue and function again is a conflict that names the first mapping; a qualifier is another function."""
    first = client.create_event_source_mapping(EventSourceArn=arn("q"), FunctionName="f")["UUID"]
    again = {"EventSourceArn": arn("q"), "FunctionName": f"{FN}:f"}
    code, message = refused(lambda: client.create_event_source_mapping(**again))
    assert code == "ResourceConflictException"
    assert message == (
        f'An event source mapping with SQS arn (" {arn("q")} ") and function (" f ") already exists. '
        f"Please update or delete the existing mapping with UUID {first}"
    )
    other = client.create_event_source_mapping(EventSourceArn=arn("q"), FunctionName="f:live")
    assert other["FunctionArn"] == f"{FN}:f:live"
    settled(client, other["UUID"])
    code, _ = refused(lambda: client.update_event_source_mapping(UUID=other["UUID"], FunctionName="f"))
    assert code == "ResourceConflictException"


INVALID = "InvalidParameterValueException"


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"EventSourceArn": arn("none")}, INVALID, "AWS.SimpleQueueService.NonExistentQueue"),
        ({"FunctionName": "none"}, INVALID, "Function does not exist"),
        ({"FunctionName": "f:none"}, "ResourceNotFoundException", f"Function not found: {FN}:f:none"),
        ({"FunctionName": "slow"}, INVALID, "Queue visibility timeout: 30 seconds is less than Function timeout: 31"),
        ({"BatchSize": 11}, INVALID, "Maximum batch window in seconds must be greater than 0"),
        ({"BatchSize": 10_001}, "ValidationException", "less than or equal to 10000"),
        ({"MaximumBatchingWindowInSeconds": 301}, "ValidationException", "less than or equal to 300"),
        ({"ScalingConfig": {"MaximumConcurrency": 1001}}, "ValidationException", "less than or equal to 1000"),
        ({"FunctionResponseTypes": ["Other"]}, "ValidationException", "enum value set"),
        ({"EventSourceArn": arn("f.fifo"), "BatchSize": 11}, INVALID, "FIFO"),
        ({"EventSourceArn": arn("f.fifo"), "MaximumBatchingWindowInSeconds": 1}, INVALID, "not supported for FIFO"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{"}]}}, INVALID, "Invalid filter pattern definition"),
        ({"EventSourceArn": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s"}, INVALID, "Kinesis streams are not"),
        ({"StartingPosition": "LATEST"}, INVALID, "StartingPosition is not supported for sqs"),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": arn("r")}}},
            INVALID,
            "DestinationConfig is not supported",
        ),
        ({"Tags": {"aws:x": "y"}}, INVALID, "System tags"),
        ({"EventSourceArn": "queue"}, "ValidationException", "regular expression pattern"),
    ],
)
def test_bad_input(client: Any, lambda_api: Any, given: dict[str, Any], code: str, words: str) -> None:
    """What is not acceptable is refused with AWS's code, and nothing is made."""
    if given.get("FunctionName") == "slow":
        lambda_api.create("slow", Timeout=31)
    request = {"EventSourceArn": arn("q"), "FunctionName": "f", **given}
    said, message = refused(lambda: client.create_event_source_mapping(**request))
    assert said == code
    assert words in message
    assert client.list_event_source_mappings()["EventSourceMappings"] == []


def test_an_update_is_checked_like_a_new_one(client: Any) -> None:
    """A change that would make a mapping that could not be made is refused, and the mapping stays as it was."""
    uuid = client.create_event_source_mapping(EventSourceArn=arn("q"), FunctionName="f")["UUID"]
    before = settled(client, uuid)
    code, message = refused(lambda: client.update_event_source_mapping(UUID=uuid, BatchSize=11))
    assert code == INVALID
    assert "Maximum batch window" in message
    assert refused(lambda: client.update_event_source_mapping(UUID=uuid, FunctionName="none"))[0] == INVALID
    after = client.get_event_source_mapping(UUID=uuid)
    assert before is not None
    assert {**after, "ResponseMetadata": 0} == {**before, "ResponseMetadata": 0}
    for call in (client.get_event_source_mapping, client.update_event_source_mapping):
        assert refused(lambda call=call: call(UUID=UNKNOWN))[0] == "ResourceNotFoundException"


def test_lists(client: Any) -> None:
    """Mappings are listed by function, by qualified function, by source and by both, in pages."""
    pairs = [("q", "f"), ("q", "g"), ("r", "f"), ("r", "f:live"), ("f.fifo", "f")]
    made = {
        pair: client.create_event_source_mapping(EventSourceArn=arn(pair[0]), FunctionName=pair[1])["UUID"]
        for pair in pairs
    }

    def listed(**by: Any) -> set[str]:
        pages = client.get_paginator("list_event_source_mappings").paginate(**by, PaginationConfig={"PageSize": 2})
        uuids = [one["UUID"] for page in pages for one in page["EventSourceMappings"]]
        assert len(set(uuids)) == len(uuids)
        return set(uuids)

    assert listed() == set(made.values())
    assert listed(FunctionName="f") == {made["q", "f"], made["r", "f"], made["f.fifo", "f"]}
    assert listed(FunctionName=f"{FN}:f:live") == {made["r", "f:live"]}
    assert listed(EventSourceArn=arn("q")) == {made["q", "f"], made["q", "g"]}
    assert listed(EventSourceArn=arn("q"), FunctionName="g") == {made["q", "g"]}
    assert listed(EventSourceArn=arn("f.fifo"), FunctionName="g") == set()
    assert "NextMarker" not in client.list_event_source_mappings()


def test_mappings_have_tags(client: Any) -> None:
    """The operations on tags take a mapping's ARN."""
    made = client.create_event_source_mapping(EventSourceArn=arn("q"), FunctionName="f", Tags={"a": "1"})
    resource = made["EventSourceMappingArn"]
    settled(client, made["UUID"])
    client.tag_resource(Resource=resource, Tags={"b": "2"})
    assert client.list_tags(Resource=resource)["Tags"] == {"a": "1", "b": "2"}
    client.untag_resource(Resource=resource, TagKeys=["a"])
    assert client.list_tags(Resource=resource)["Tags"] == {"b": "2"}
    assert client.get_event_source_mapping(UUID=made["UUID"])["State"] == "Enabled"
    assert refused(lambda: client.list_tags(Resource=resource[:-1] + "x"))[0] in (
        "ResourceNotFoundException",
        "ValidationException",
    )


def test_a_mapping_outlives_its_function(client: Any) -> None:
    """Deleting a function leaves its mappings, as on Lambda."""
    uuid = client.create_event_source_mapping(EventSourceArn=arn("q"), FunctionName="g")["UUID"]
    settled(client, uuid)
    client.delete_function(FunctionName="g")
    assert client.get_event_source_mapping(UUID=uuid)["FunctionArn"] == f"{FN}:g"
    client.delete_event_source_mapping(UUID=uuid)
