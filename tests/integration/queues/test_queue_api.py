"""Operations on queues, with boto3 as the client."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import START_MS, QueueApi, sqs_client


async def test_a_queue_is_created_once(api: QueueApi) -> None:
    """Creating it again just so answers with its URL at the host asked; otherwise it is refused."""
    url = await api.create("q", VisibilityTimeout=5)
    assert url == f"{api.url}/000000000000/q"
    assert await api.create("q", VisibilityTimeout=5) == await api.create("q") == url
    code, message = await api.refused("create_queue", QueueName="q", Attributes={"VisibilityTimeout": "6"})
    assert code == "QueueAlreadyExists"
    assert "VisibilityTimeout" in message
    assert (await api.call("get_queue_url", QueueName="q"))["QueueUrl"] == url
    await api.call("delete_queue", QueueUrl=url)
    for method, params in (("get_queue_url", {"QueueName": "q"}), ("delete_queue", {"QueueUrl": url})):
        assert (await api.refused(method, **params))[0] == "AWS.SimpleQueueService.NonExistentQueue"


async def test_errors_have_the_classes_of_the_model(api: QueueApi) -> None:
    """boto3 raises its own exception for the model's name, beside the older code."""
    with pytest.raises(api.client.exceptions.QueueDoesNotExist) as caught:
        await api.call("receive_message", QueueUrl=f"{api.url}/000000000000/none")
    error = caught.value.response["Error"]
    assert error["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert error["QueryErrorCode"] == "QueueDoesNotExist"


async def test_names(api: QueueApi) -> None:
    """Names have letters, digits, hyphens and underscores; .fifo is for FIFO queues and they need it."""
    for name, attributes in (
        ("a.b", {}),
        ("x" * 81, {}),
        ("", {}),
        ("a.fifo", {}),
        ("a", {"FifoQueue": "true"}),
        ("é", {}),
    ):
        code, _ = await api.refused("create_queue", QueueName=name, Attributes=attributes)
        assert code == "InvalidParameterValue"
    await api.create("x" * 80)
    await api.create("x" * 75 + ".fifo")


async def test_attributes_are_shown_with_their_defaults(api: QueueApi) -> None:
    """All attributes of a new queue are those that SQS shows."""
    url = await api.create("q")
    api.timer.time_ms += 5_000
    await api.call("set_queue_attributes", QueueUrl=url, Attributes={"DelaySeconds": "3"})
    shown = (await api.call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    assert shown == {
        "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q",
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "CreatedTimestamp": str(START_MS // 1000),
        "LastModifiedTimestamp": str(START_MS // 1000 + 5),
        "VisibilityTimeout": "30",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "DelaySeconds": "3",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
    }
    fifo = await api.create("q.fifo")
    shown = (await api.call("get_queue_attributes", QueueUrl=fifo, AttributeNames=["All"]))["Attributes"]
    assert shown["FifoQueue"] == "true"
    assert shown["DeduplicationScope"] == "queue"
    assert "Attributes" not in await api.call("get_queue_attributes", QueueUrl=url)
    assert (await api.refused("get_queue_attributes", QueueUrl=url, AttributeNames=["Nope"]))[
        0
    ] == "InvalidAttributeName"


async def test_listing(api: QueueApi) -> None:
    """Queues of one region by name, by prefix, and in pages."""
    for name in ("b", "a-1", "a-2", "a-3", "c"):
        await api.create(name)
    await api.call("create_queue", QueueName="elsewhere")
    await asyncio.to_thread(sqs_client(api.url, "eu-west-1").create_queue, QueueName="a-4")

    async def names(**params: object) -> list[str]:
        got = await api.call("list_queues", **params)
        return [url.rsplit("/", 1)[1] for url in got.get("QueueUrls", [])]

    assert await names() == ["a-1", "a-2", "a-3", "b", "c", "elsewhere"]
    assert await names(QueueNamePrefix="a-") == ["a-1", "a-2", "a-3"]
    assert await names(QueueNamePrefix="none") == []
    first = await api.call("list_queues", QueueNamePrefix="a", MaxResults=2)
    rest = await names(QueueNamePrefix="a", MaxResults=2, NextToken=first["NextToken"])
    assert (len(first["QueueUrls"]), rest) == (2, ["a-3"])
    assert (await api.refused("list_queues", MaxResults=0))[0] == "InvalidParameterValue"
    assert (await api.refused("list_queues", MaxResults=1, NextToken="%"))[0] == "InvalidParameterValue"
    pages = api.client.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 4})
    assert [len(page["QueueUrls"]) for page in await asyncio.to_thread(list, pages)] == [4, 2]


async def test_redrive_policies(api: QueueApi) -> None:
    """A dead-letter queue exists, is of the same kind, and allows its sources; it knows them."""
    dead = await api.create("dead")
    fifo = await api.create("dead.fifo")
    arn = await api.attribute(dead, "QueueArn")
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "3"})
    url = await api.create("q", RedrivePolicy=policy)
    assert await api.attribute(url, "RedrivePolicy") == policy
    sources = await api.call("list_dead_letter_source_queues", QueueUrl=dead)
    assert sources["queueUrls"] == [url]
    other = await api.create("other")
    for bad in (
        "nonsense",
        "[]",
        json.dumps({"deadLetterTargetArn": arn}),
        json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 0}),
        json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1001}),
        json.dumps({"deadLetterTargetArn": arn + "x", "maxReceiveCount": 1}),
        json.dumps({"deadLetterTargetArn": await api.attribute(fifo, "QueueArn"), "maxReceiveCount": 1}),
        json.dumps({"deadLetterTargetArn": await api.attribute(other, "QueueArn"), "maxReceiveCount": 1}),
    ):
        code, message = await api.refused("set_queue_attributes", QueueUrl=other, Attributes={"RedrivePolicy": bad})
        assert code == "InvalidParameterValue"
        assert "RedrivePolicy" in message
    allow = json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [await api.attribute(url, "QueueArn")]})
    await api.call("set_queue_attributes", QueueUrl=dead, Attributes={"RedriveAllowPolicy": allow})
    assert (await api.refused("set_queue_attributes", QueueUrl=other, Attributes={"RedrivePolicy": policy}))[0]
    await api.call("set_queue_attributes", QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert (await api.call("list_dead_letter_source_queues", QueueUrl=dead))["queueUrls"] == []
    await api.call("set_queue_attributes", QueueUrl=url, Attributes={"RedrivePolicy": policy})


async def test_tags(api: QueueApi) -> None:
    """Tags are added, replaced, listed and taken away."""
    url = (await api.call("create_queue", QueueName="q", tags={"a": "1"}))["QueueUrl"]
    await api.call("tag_queue", QueueUrl=url, Tags={"a": "2", "b": ""})
    assert (await api.call("list_queue_tags", QueueUrl=url))["Tags"] == {"a": "2", "b": ""}
    await api.call("untag_queue", QueueUrl=url, TagKeys=["a", "none"])
    assert (await api.call("list_queue_tags", QueueUrl=url))["Tags"] == {"b": ""}
    many = {f"k{n}": "" for n in range(50)}
    assert (await api.refused("tag_queue", QueueUrl=url, Tags=many))[0] == "InvalidParameterValue"


async def test_permissions(api: QueueApi) -> None:
    """Statements are added to the policy under a label, once, and removed by it."""
    url = await api.create()
    add = {"QueueUrl": url, "Label": "l", "AWSAccountIds": ["123456789012"], "Actions": ["SendMessage"]}
    await api.call("add_permission", **add)
    policy = json.loads(await api.attribute(url, "Policy"))
    assert policy["Statement"] == [
        {
            "Sid": "l",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
            "Action": "SQS:SendMessage",
            "Resource": "arn:aws:sqs:us-east-1:000000000000:q",
        }
    ]
    assert (await api.refused("add_permission", **add))[0] == "InvalidParameterValue"
    assert (await api.refused("add_permission", **{**add, "Label": "m", "Actions": ["CreateQueue"]}))[0]
    assert (await api.refused("add_permission", **{**add, "Label": "m", "Actions": ["*"] * 8}))[0] == "OverLimit"
    await api.call("remove_permission", QueueUrl=url, Label="l")
    assert (await api.refused("remove_permission", QueueUrl=url, Label="l"))[0] == "InvalidParameterValue"
    shown = (await api.call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    assert "Policy" not in shown


async def test_purging(api: QueueApi) -> None:
    """All messages go, wherever they are; once in 60 seconds."""
    url = await api.create(VisibilityTimeout=5)
    for n in range(3):
        await api.call("send_message", QueueUrl=url, MessageBody=str(n), DelaySeconds=n // 2 * 5)
    assert len(await api.receive(url, 1)) == 1
    await api.call("purge_queue", QueueUrl=url)
    await api.timer.move(59)
    assert await api.bodies(url) == []
    assert (await api.refused("purge_queue", QueueUrl=url))[0] == "AWS.SimpleQueueService.PurgeQueueInProgress"
    await api.timer.move(1)
    await api.call("purge_queue", QueueUrl=url)


async def test_any_address_of_a_queue(api: QueueApi) -> None:
    """Whatever host a URL names, and a bare name too, the queue is found; a region keeps its own."""
    await api.create("q")
    for url in (
        "http://elsewhere:1/000000000000/q",
        "q",
        "000000000000/q",
        "https://sqs.us-east-1.amazonaws.com/000000000000/q",
    ):
        await api.call("send_message", QueueUrl=url, MessageBody="x")
    assert await api.attribute("q", "ApproximateNumberOfMessages") == "4"
    for url in ("http://h/000000000001/q", "http://h/q/000000000000", "http://h/", "a b"):
        assert (await api.refused("send_message", QueueUrl=url, MessageBody="x"))[0].endswith("NonExistentQueue")


async def test_the_aws_cli(api: QueueApi) -> None:
    """The command creates, sends, receives and counts; a message's text reaches it whole."""

    async def aws(*words: str) -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("aws")), "--endpoint-url", api.url, "sqs", *words]
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=os.environ | keys)
        out, _ = await process.communicate()
        assert process.returncode == 0
        found: dict[str, Any] = json.loads(out or b"{}")
        return found

    url = (await aws("create-queue", "--queue-name", "q"))["QueueUrl"]
    attributes = json.dumps({"a": {"DataType": "String", "StringValue": "b"}})
    sent = await aws("send-message", "--queue-url", url, "--message-body", "hällo", "--message-attributes", attributes)
    got = await aws("receive-message", "--queue-url", url, "--message-attribute-names", "All")
    (message,) = got["Messages"]
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "hällo")
    assert message["MessageAttributes"]["a"]["StringValue"] == "b"
    await aws("delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
    shown = await aws("get-queue-attributes", "--queue-url", url, "--attribute-names", "All")
    assert shown["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"


async def test_permissions_beside_a_policy_of_any_form(api: QueueApi) -> None:
    """Statements are added to and removed from whatever policy was set, and it stays within its limit."""
    url = await api.create("q", Policy='{"Statement":["odd"]}')
    grant = {"QueueUrl": url, "Label": "l", "Actions": ["SendMessage"]}
    await api.call("add_permission", **grant, AWSAccountIds=["111122223333"])
    await api.call("remove_permission", QueueUrl=url, Label="l")
    assert json.loads(await api.attribute(url, "Policy"))["Statement"] == ["odd"]
    code, _ = await api.refused("add_permission", **grant, AWSAccountIds=["111122223333"] * 300)
    assert code == "OverLimit"
